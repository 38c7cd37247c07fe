"""The sampler: once a second it turns meters into rates, percentiles and history, for everybody at once.

Works in slices that yield to the loop, rolling up included. A worker that never had a request costs a comparison a
second and no history. A model's numbers are those of the workers whose main model it is.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from gateway.tasks import Scope, supervise
from gateway.telemetry.history import SMALL, History
from gateway.telemetry.samples import WorkerSample
from gateway.telemetry.usage import told_of
from gateway.workers.entry import Entry
from gateway.workers.latency import NOTHING, Percentiles, Total, percentiles_of, summed
from gateway.workers.model import WorkerId
from gateway.workers.registry import Registry

PERIOD_S = 1.0
SLICE = 10
RATE_OVER = 3
"""Samples a rate is taken over."""
MINUTE_STEP = 5
STALE_AFTER = 75
"""Samples without a request after which an idle worker's window is surely empty, and has been looked at since."""
GAP_S = 2.0
"""Samples that come up to so much late are no gap: they are numbered on as if they had come in time."""

MODEL_KEPT_S = 3600
"""How long a model is remembered that no worker serves any more: they may be about to be replaced."""

IDLE = WorkerSample()
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class FleetSample:
    """The fleet as of the last sample."""

    requests_per_s: float = 0.0
    errors_per_s: float = 0.0
    in_flight: int = 0
    response: Percentiles = Percentiles()  # noqa: RUF009 - frozen
    ttft: Percentiles = Percentiles()  # noqa: RUF009 - frozen
    queued: int | None = None
    """Requests that wait, in the gateway and in engines that say so; None: nobody can tell."""
    prompt_per_s: float | None = None
    output_per_s: float | None = None


Counts = tuple[float, int, int, float, float]
"""Time, and what there had been by then: ended requests, errors, prompt tokens, output tokens."""


class _Tracked:
    """What the sampler keeps of one worker."""

    __slots__ = ("answered", "counts", "first", "history", "idle_for", "minute", "requests", "sample")

    def __init__(self, now: float) -> None:
        self.counts: deque[Counts] = deque(maxlen=RATE_OVER + 1)
        """Those of the last samples; there had been nothing a sample ago."""
        self.counts.append((now - PERIOD_S, 0, 0, 0.0, 0.0))
        self.requests = 0
        self.minute: deque[tuple[int, int]] = deque(maxlen=60 // MINUTE_STEP)
        """(ended, errors) every few samples of the last minute."""
        self.answered = self.first = NOTHING
        """Response times and times to the first byte of the last minute, for the percentiles of more than one."""
        self.sample = IDLE
        self.history = History(SMALL)
        self.idle_for = 0


class _Sum:
    """Several workers' numbers at one sample."""

    __slots__ = ("answered", "errors", "first", "in_flight", "output", "prompt", "queued", "requests")

    def __init__(self, queued: int | None = None) -> None:
        self.requests = self.errors = 0.0
        self.in_flight = 0
        self.answered = self.first = NOTHING
        self.queued = queued
        self.prompt: float | None = None
        self.output: float | None = None

    def wait(self, entry: Entry) -> None:
        """A worker's requests that are under way or wait."""
        self.in_flight += entry.meters.in_flight
        if entry.load is not None:
            self.queued = _plus(self.queued, entry.load.waiting)

    def add(self, tracked: _Tracked) -> None:
        sample = tracked.sample
        self.requests += sample.requests_per_s
        self.errors += sample.errors_per_s
        self.answered = Total(self.answered + tracked.answered)
        self.first = Total(self.first + tracked.first)
        self.prompt = _plus(self.prompt, sample.prompt_per_s)
        self.output = _plus(self.output, sample.output_per_s)

    def sample(self) -> FleetSample:
        return FleetSample(
            self.requests,
            self.errors,
            self.in_flight,
            percentiles_of(self.answered),
            percentiles_of(self.first),
            self.queued,
            self.prompt,
            self.output,
        )


class Sampler:
    """Samples the registry's workers while entered. `mono` is the clock that meters use, `wall` that of people;
    `queued` tells how many requests wait in the gateway."""

    def __init__(
        self,
        registry: Registry,
        *,
        mono: Callable[[], float],
        wall: Callable[[], float] = time.time,
        queued: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._mono = mono
        self._wall = wall
        self._queued = queued
        self._tracked: dict[WorkerId, _Tracked] = {}
        self._fleet_history = History()
        self._models: dict[str, History] = {}
        self._second = 0
        self._scope = Scope("sampler")
        self.fleet = FleetSample()
        self.taken = 0
        """Samples so far: while it stands still, no number here changed."""

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

    def history(self, worker_id: WorkerId | None = None, model: str | None = None) -> History | None:
        """The history of a worker, of a model, or of the fleet; None for one that never had a request."""
        if worker_id is not None:
            tracked = self._tracked.get(worker_id)
            return tracked.history if tracked is not None else None
        return self._fleet_history if model is None else self._models.get(model)

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
        second = self._second = next_second(self._second, self._wall())
        whole, models = _Sum(self._queued()), dict[str, _Sum]()
        for number, entry in enumerate(list(self._registry.entries.values())):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            whole.wait(entry)
            if not entry.meters.requests:
                continue
            tracked = self._take_one(entry, now, second)
            whole.add(tracked)
            name = entry.worker.model_id
            if name is not None:
                model = models.get(name)
                if model is None:
                    model = models[name] = _Sum()
                model.wait(entry)
                model.add(tracked)
        for gone in self._tracked.keys() - self._registry.entries.keys():
            del self._tracked[gone]
        self.fleet = whole.sample()
        self._fleet_history.append(second, _row(self.fleet))
        self._keep_models(models, second)
        self.taken += 1

    def _keep_models(self, models: dict[str, _Sum], second: int) -> None:
        for gone in self._models.keys() - models.keys():
            if self._models[gone].end < second - MODEL_KEPT_S:
                del self._models[gone]
        for name, found in models.items():
            history = self._models.get(name)
            if history is None:
                history = self._models[name] = History()
            history.append(second, _row(found.sample()))

    def _take_one(self, entry: Entry, now: float, second: int) -> _Tracked:
        meters = entry.meters
        tracked = self._tracked.get(entry.worker.id)
        if tracked is None:
            tracked = self._tracked[entry.worker.id] = _Tracked(now)
        ended = meters.ok + meters.errors
        last = tracked.counts[-1]
        busy = bool(meters.in_flight) or meters.requests != tracked.requests or ended != last[1]
        if meters.told:
            prompt, output = told_of(meters.told, ended - last[1])
            meters.told = []
            meters.prompt_tokens += prompt
            meters.output_tokens += output
        tracked.idle_for = 0 if busy else tracked.idle_for + 1
        tracked.requests = meters.requests
        tracked.counts.append((now, ended, meters.errors, meters.prompt_tokens, meters.output_tokens))
        # once the rates have come to rest, only age changes anything, and that is looked at now and then
        resting = tracked.idle_for > RATE_OVER
        if not resting or (tracked.idle_for < STALE_AFTER and self.taken % MINUTE_STEP == 0):
            tracked.answered = summed(meters.response.counts(now))
            tracked.first = summed(meters.ttft.counts(now))
            tracked.sample = self._sample(tracked)
        waiting = entry.load.waiting if entry.load is not None else None
        tracked.history.append(second, _row(tracked.sample, meters.in_flight, waiting))
        return tracked

    def _sample(self, tracked: _Tracked) -> WorkerSample:
        first, last = tracked.counts[0], tracked.counts[-1]
        over_s = max(last[0] - first[0], PERIOD_S)
        if self.taken % MINUTE_STEP == 0 or not tracked.minute:
            tracked.minute.append(last[1:3] if tracked.minute else (0, 0))
        ended = last[1] - tracked.minute[0][0]
        failed = last[2] - tracked.minute[0][1]
        return WorkerSample(
            requests_per_s=(last[1] - first[1]) / over_s,
            errors_per_s=(last[2] - first[2]) / over_s,
            error_rate=failed / ended if ended else None,
            response=percentiles_of(tracked.answered),
            ttft=percentiles_of(tracked.first),
            prompt_per_s=max(0.0, last[3] - first[3]) / over_s if last[3] else None,
            output_per_s=max(0.0, last[4] - first[4]) / over_s if last[4] else None,
        )


def next_second(last: int, wall: float) -> int:
    """The number of this sample: one more than the last, but for a gap in which nothing was sampled.

    A clock that is set back numbers on, so that no second comes twice.
    """
    if last and wall - (last + 1) <= GAP_S:
        return last + 1
    return max(last + 1, int(wall))


def _row(
    sample: WorkerSample | FleetSample, in_flight: float | None = None, queued: float | None = None
) -> tuple[float, ...]:
    """A second's values in the order of `history.MEASURES`. A worker's sample lacks what is of the moment."""
    if isinstance(sample, FleetSample):
        in_flight, queued = sample.in_flight, sample.queued
    response, ttft = sample.response, sample.ttft
    return (
        sample.requests_per_s,
        sample.errors_per_s,
        _or_nan(in_flight),
        _or_nan(queued),
        _or_nan(response.p50),
        _or_nan(response.p95),
        _or_nan(response.p99),
        _or_nan(ttft.p50),
        _or_nan(ttft.p99),
        _or_nan(sample.prompt_per_s),
        _or_nan(sample.output_per_s),
    )


def _or_nan(value: float | None) -> float:
    return NAN if value is None else value


Number = TypeVar("Number", int, float)


def _plus(one: Number | None, other: Number | None) -> Number | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
