"""The sampler: once a second it turns meters into rates, percentiles and history, for everybody at once.

Works in slices that yield to the loop. An idle worker costs a comparison a second and no history.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gateway.tasks import Scope, supervise
from gateway.telemetry.samples import Measure, Series, WorkerSample
from gateway.workers.entry import Entry
from gateway.workers.latency import NOTHING, Percentiles, Total, percentiles_of, summed
from gateway.workers.model import WorkerId
from gateway.workers.registry import Registry

PERIOD_S = 1.0
SLICE = 20
RATE_OVER = 3
"""Samples a rate is taken over."""
MINUTE_STEP = 5
STALE_AFTER = 75
"""Samples without a request after which an idle worker's window is surely empty, and has been looked at since."""

IDLE = WorkerSample()
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class FleetSample:
    """The fleet as of the last sample."""

    requests_per_s: float = 0.0
    errors_per_s: float = 0.0
    in_flight: int = 0
    response: Percentiles = Percentiles()  # noqa: RUF009 - frozen


class _Tracked:
    """What the sampler keeps of one worker."""

    __slots__ = ("answered", "counts", "idle_for", "minute", "requests", "sample", "series")

    def __init__(self, now: float) -> None:
        self.counts: deque[tuple[float, int, int]] = deque(maxlen=RATE_OVER + 1)
        """(time, ended, errors) of the last samples; there had been nothing a sample ago."""
        self.counts.append((now - PERIOD_S, 0, 0))
        self.requests = 0
        self.minute: deque[tuple[int, int]] = deque(maxlen=60 // MINUTE_STEP)
        """(ended, errors) every few samples of the last minute."""
        self.answered = NOTHING
        """Response times of the last minute, for the fleet's percentiles."""
        self.sample = IDLE
        self.series = Series()
        self.idle_for = 0


class Sampler:
    """Samples the registry's workers while entered. `mono` is the clock that meters use."""

    def __init__(self, registry: Registry, *, mono: Callable[[], float]) -> None:
        self._registry = registry
        self._mono = mono
        self._tracked: dict[WorkerId, _Tracked] = {}
        self._fleet_series = Series()
        self._scope = Scope("sampler")
        self.fleet = FleetSample()
        self.taken = 0

    async def __aenter__(self) -> Self:
        self._scope.spawn(supervise("sampler", self._run), name="sample")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()

    def sample(self, worker_id: WorkerId) -> WorkerSample:
        """The worker's last sample."""
        tracked = self._tracked.get(worker_id)
        return tracked.sample if tracked is not None else IDLE

    def series(self, worker_id: WorkerId | None = None) -> Series | None:
        """The history of the fleet (None) or of a worker; None for one that never had a request."""
        if worker_id is None:
            return self._fleet_series
        tracked = self._tracked.get(worker_id)
        return tracked.series if tracked is not None else None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + PERIOD_S, loop.time())
            await asyncio.sleep(due - loop.time())
            await self.take()

    async def take(self) -> None:
        """Take one sample of everything."""
        now = self._mono()
        answered = NOTHING
        requests = errors = 0.0
        in_flight = 0
        for number, entry in enumerate(list(self._registry.entries.values())):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            in_flight += entry.meters.in_flight
            if not entry.meters.requests:
                continue
            tracked = self._take_one(entry, now)
            requests += tracked.sample.requests_per_s
            errors += tracked.sample.errors_per_s
            answered = Total(answered + tracked.answered)
        for gone in self._tracked.keys() - self._registry.entries.keys():
            del self._tracked[gone]
        response = percentiles_of(answered)
        self.fleet = FleetSample(requests, errors, in_flight, response)
        self._fleet_series.append(
            {
                Measure.REQUESTS: requests,
                Measure.IN_FLIGHT: in_flight,
                Measure.P50: _or_nan(response.p50),
                Measure.P99: _or_nan(response.p99),
            }
        )
        self.taken += 1

    def _take_one(self, entry: Entry, now: float) -> _Tracked:
        meters = entry.meters
        tracked = self._tracked.get(entry.worker.id)
        if tracked is None:
            tracked = self._tracked[entry.worker.id] = _Tracked(now)
        ended = meters.ok + meters.errors
        busy = bool(meters.in_flight) or meters.requests != tracked.requests or ended != tracked.counts[-1][1]
        tracked.idle_for = 0 if busy else tracked.idle_for + 1
        tracked.requests = meters.requests
        tracked.counts.append((now, ended, meters.errors))
        # once the rates have come to rest, only age changes anything, and that is looked at now and then
        resting = tracked.idle_for > RATE_OVER
        if not resting or (tracked.idle_for < STALE_AFTER and self.taken % MINUTE_STEP == 0):
            tracked.answered = summed(meters.response.counts(now))
            tracked.sample = self._sample(tracked, entry, now)
        sample = tracked.sample
        tracked.series.append(
            {
                Measure.REQUESTS: sample.requests_per_s,
                Measure.IN_FLIGHT: meters.in_flight,
                Measure.P50: _or_nan(sample.response.p50),
                Measure.P99: _or_nan(sample.response.p99),
                Measure.TTFT: _or_nan(sample.ttft.p50),
            }
        )
        return tracked

    def _sample(self, tracked: _Tracked, entry: Entry, now: float) -> WorkerSample:
        first, last = tracked.counts[0], tracked.counts[-1]
        over_s = max(last[0] - first[0], PERIOD_S)
        if self.taken % MINUTE_STEP == 0 or not tracked.minute:
            tracked.minute.append(last[1:] if tracked.minute else (0, 0))
        ended = last[1] - tracked.minute[0][0]
        failed = last[2] - tracked.minute[0][1]
        return WorkerSample(
            requests_per_s=(last[1] - first[1]) / over_s,
            errors_per_s=(last[2] - first[2]) / over_s,
            error_rate=failed / ended if ended else None,
            response=percentiles_of(tracked.answered),
            ttft=entry.meters.ttft.percentiles(now),
        )


def _or_nan(value: float | None) -> float:
    return NAN if value is None else value
