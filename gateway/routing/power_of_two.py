"""The policy `power_of_two`: of two random candidates the one where a request will wait less.

Where both engines report a fresh queue depth, the expected wait is that queue, plus what was sent there since
the report, plus a penalty that grows steeply as the KV cache fills. A report ages for seconds while requests
come by the thousand; without the middle term all of them would follow the last report to one worker. Where
either engine is silent, the requests in flight from here decide: half a comparison would favour the silent one.
"""

from collections.abc import Collection, Sequence
from random import Random
from typing import Final

from gateway.routing.policy import C, Candidate, Explanation, Query, narrowed
from gateway.workers.model import WorkerId

PRESSURE_WEIGHT = 0.15
"""SMG's weight for usage k: 0.15 * k / (1 - k); a cache 87 % full weighs like one waiting request."""
FULLEST = 0.99


class PowerOfTwo:
    name: Final = "power_of_two"
    reads_text: Final = False

    def __init__(self, rng: Random, fresh_s: float = 30.0) -> None:
        self._rng = rng
        self._fresh_s = fresh_s

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        candidates = narrowed(candidates, avoid)
        count = len(candidates)
        if count == 1:
            return candidates[0]
        first = int(self._rng.random() * count)
        second = int(self._rng.random() * (count - 1))
        if second >= first:
            second += 1
        return better(candidates[first], candidates[second], now - self._fresh_s)

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        state = self._rng.getstate()
        chosen = self.choose(candidates, query, now)
        self._rng.setstate(state)
        return Explanation(chosen.worker.id, "the shorter wait of two drawn by lot")

    def forget(self, worker_id: WorkerId) -> None:
        """Nothing is remembered."""

    def tend(self, now: float) -> None:
        """Nothing is remembered."""


def better(one: C, other: C, fresh_since: float) -> C:
    """The one with the shorter expected wait; on a tie the one with fewer in flight, then the first."""
    waits = expected_waits(one, other, fresh_since)
    if waits is not None and waits[0] != waits[1]:
        return one if waits[0] < waits[1] else other
    return one if one.meters.in_flight <= other.meters.in_flight else other


def expected_waits(one: Candidate, other: Candidate, fresh_since: float) -> tuple[float, float] | None:
    """Both waits, in requests; None unless both engines reported a queue depth since that moment."""
    a, b = one.load, other.load
    if a is None or b is None or a.waiting is None or b.waiting is None:
        return None
    if a.at < fresh_since or b.at < fresh_since:
        return None
    wait_a = a.waiting + max(0, one.meters.in_flight - a.waiting - (a.running or 0))
    wait_b = b.waiting + max(0, other.meters.in_flight - b.waiting - (b.running or 0))
    if a.kv_usage is None or b.kv_usage is None:
        return float(wait_a), float(wait_b)
    return wait_a + pressure(a.kv_usage), wait_b + pressure(b.kv_usage)


def pressure(kv_usage: float) -> float:
    """What a KV cache used to this share (0..1) weighs, in waiting requests."""
    used = min(max(kv_usage, 0.0), FULLEST)
    return PRESSURE_WEIGHT * used / (1.0 - used)
