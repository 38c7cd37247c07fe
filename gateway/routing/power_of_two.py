"""The policy `power_of_two`: of two random candidates the one where a request will wait less.

Where both engines report a fresh queue depth, the expected wait is that queue, and what has begun and ended there
since the report, plus a penalty that grows steeply as the KV cache fills. A report ages for seconds while requests
come by the thousand; without the middle term all of them would follow the last report to one worker. Where
either engine is silent, the requests in flight from here decide: half a comparison would favour the silent one.
Both are divided by the worker's weight, with the request to be placed counted among those in flight, so that
weights count in an idle fleet too.
"""

from collections.abc import Collection, Sequence
from random import Random
from typing import Final

from gateway.routing.policy import C, Candidate, Explanation, Query, Stateless, narrowed
from gateway.routing.weights import Weights, weight

PRESSURE_WEIGHT = 0.15
"""SMG's weight for usage k: 0.15 * k / (1 - k); a cache 87 % full weighs like one waiting request."""
FULLEST = 0.99


class PowerOfTwo(Stateless):
    name: Final = "power_of_two"
    reads_text: Final = False

    def __init__(self, rng: Random, fresh_s: float = 30.0) -> None:
        self._rng = rng
        self._fresh_s = fresh_s
        self._weights: Weights | None = None

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        weights = self._weights
        if weights is None or weights.candidates is not candidates:
            weights = self._weights = Weights.renewed(weights, candidates)
        one, other = self._pair(narrowed(candidates, avoid))
        return self._better(weights, one, other, now)

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        state = self._rng.getstate()
        one, other = self._pair(candidates)
        self._rng.setstate(state)
        if one is other:
            return Explanation(one.worker.id, "it is the only one")
        chosen = self._better(Weights(candidates), one, other, now)
        loser = other if chosen is one else one
        waits = expected_waits(chosen, loser, now - self._fresh_s)
        what = "expected wait" if waits is not None and waits[0] != waits[1] else "in flight"
        mine, its = waits if waits is not None and what != "in flight" else (_in_flight(chosen), _in_flight(loser))
        than = f"{what} {mine:.3g} against {its:.3g} of {loser.worker.name}"
        if (shares := (weight(chosen.worker), weight(loser.worker)))[0] != shares[1]:
            than += f", weights {shares[0]:.3g} and {shares[1]:.3g}"
        return Explanation(chosen.worker.id, f"the better of two drawn by lot: {than}")

    def _pair(self, free: Sequence[C]) -> tuple[C, C]:
        """Two different candidates, or the only one twice."""
        count = len(free)
        if count == 1:
            return free[0], free[0]
        first = int(self._rng.random() * count)
        second = int(self._rng.random() * (count - 1))
        if second >= first:
            second += 1
        return free[first], free[second]

    def _better(self, weights: Weights, one: C, other: C, now: float) -> C:
        if weights.even:
            return better(one, other, now - self._fresh_s)
        return better(one, other, now - self._fresh_s, weight(one.worker), weight(other.worker))


def _in_flight(candidate: Candidate) -> float:
    return float(candidate.meters.in_flight)


def better(one: C, other: C, fresh_since: float, weight_one: float = 1.0, weight_other: float = 1.0) -> C:
    """The one with the shorter expected wait by weight; on a tie the one with fewer in flight, then the first."""
    waits = expected_waits(one, other, fresh_since)
    if waits is not None:
        wait_one, wait_other = waits[0] / weight_one, waits[1] / weight_other
        if wait_one != wait_other:
            return one if wait_one < wait_other else other
    load_one, load_other = (one.meters.in_flight + 1) / weight_one, (other.meters.in_flight + 1) / weight_other
    return one if load_one <= load_other else other


def expected_waits(one: Candidate, other: Candidate, fresh_since: float) -> tuple[float, float] | None:
    """Both waits, in requests; None unless both engines reported a queue depth since that moment."""
    a, b = one.load, other.load
    if a is None or b is None or a.waiting is None or b.waiting is None:
        return None
    if a.at < fresh_since or b.at < fresh_since:
        return None
    wait_a, wait_b = a.waiting_now(one.meters.in_flight), b.waiting_now(other.meters.in_flight)
    if a.kv_usage is None or b.kv_usage is None:
        return float(wait_a), float(wait_b)
    return wait_a + pressure(a.kv_usage), wait_b + pressure(b.kv_usage)


def pressure(kv_usage: float, weight: float = PRESSURE_WEIGHT) -> float:
    """What a KV cache used to this share (0..1) weighs, in waiting requests."""
    used = min(max(0.0, kv_usage), FULLEST)
    return weight * used / (1.0 - used)
