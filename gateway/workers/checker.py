"""The health checker: asks every worker how it is, each at its own time, never more than so many at once.

It only observes: results go to the registry with the revision they were asked for. When to ask next is
`health.next_probe_in`'s; what an answer means is the registry's rules'.
"""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from types import TracebackType
from typing import Self

from gateway.tasks import Scope, supervise
from gateway.workers import facts
from gateway.workers.ask import Ask
from gateway.workers.entry import Entry
from gateway.workers.facts import Cause, Event
from gateway.workers.health import QUICK_S, ProbeResult, next_probe_in
from gateway.workers.model import Health, Worker, WorkerId
from gateway.workers.probing import Found, Prober
from gateway.workers.registry import Registry

CAUSE = Cause("health checker")
HEAP_SLACK = 16


class _Schedule:
    """What the checker remembers of one worker."""

    __slots__ = ("again", "due", "revision", "since", "task")

    def __init__(self, revision: int, now: float) -> None:
        self.revision = revision
        self.due = now
        self.since = now
        """Monotonic seconds since when the worker has had no healthy verdict."""
        self.task: asyncio.Task[None] | None = None
        self.again = False
        """Probe once more as soon as the present probe is over: it was asked for after that one began."""


class HealthChecker:
    """Probes the registry's workers. `start_cap_s` bounds the pause between probes of a registering worker;
    without a `prober`, they are asked over HTTP only."""

    def __init__(
        self,
        registry: Registry,
        ask: Ask,
        *,
        mono: Callable[[], float],
        rng: Random,
        concurrency: int = 128,
        start_cap_s: float = 30.0,
        prober: Prober | None = None,
    ) -> None:
        self._registry = registry
        self._prober = prober or Prober(ask)
        self._mono = mono
        self._rng = rng
        self._concurrency = concurrency
        self._start_cap_s = start_cap_s
        self._schedules: dict[WorkerId, _Schedule] = {}
        self._heap: list[tuple[float, WorkerId]] = []
        self._running = 0
        self._changed = asyncio.Event()
        self._scope = Scope("health")
        self.probes_ok = 0
        self.probes_failed = 0

    async def __aenter__(self) -> Self:
        self._registry.watch(self._on_event)
        for entry in self._registry.entries.values():
            self._schedule_new(entry.worker)
        self._scope.spawn(supervise("health scheduler", self._run), name="scheduler")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()

    def probe_now(self, worker_id: WorkerId) -> None:
        """Probe this worker as soon as there is room; if a probe is under way, once more after it."""
        schedule = self._schedules.get(worker_id)
        if schedule is None:
            return
        if schedule.task is not None:
            schedule.again = True
        else:
            self._set_due(worker_id, schedule, self._mono())

    # --- what to probe, and when ---

    def _on_event(self, event: Event) -> None:
        fact = event.fact
        if isinstance(fact, facts.Registered | facts.RegistrationRestarted | facts.SpecPatched):
            self._schedule_new(self._registry.entries[fact.worker].worker)
        elif isinstance(fact, facts.HealthChanged):
            if (schedule := self._schedules.get(fact.worker)) is not None and fact.old is Health.HEALTHY:
                schedule.since = self._mono()
        elif fact.worker is not None and fact.worker not in self._registry.entries:
            self._forget(fact.worker)

    def _schedule_new(self, worker: Worker) -> None:
        schedule = self._schedules.get(worker.id)
        if self._registry.health_settings(worker).disabled:
            self._forget(worker.id)
            return
        if schedule is None or schedule.revision != worker.revision:
            self._forget(worker.id)
            schedule = self._schedules[worker.id] = _Schedule(worker.revision, self._mono())
        if schedule.task is None:
            self._set_due(worker.id, schedule, self._mono())
        else:
            schedule.again = True  # what is under way asks with the old settings

    def _forget(self, worker_id: WorkerId) -> None:
        self._prober.forget(worker_id)
        schedule = self._schedules.pop(worker_id, None)
        if schedule is not None and schedule.task is not None:
            schedule.task.cancel()

    def _set_due(self, worker_id: WorkerId, schedule: _Schedule, due: float) -> None:
        schedule.due = due
        if len(self._heap) > 2 * len(self._schedules) + HEAP_SLACK:  # early probes leave outdated places behind
            self._heap = [(s.due, known) for known, s in self._schedules.items() if s.task is None]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, (due, worker_id))
        self._changed.set()

    # --- probing ---

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            self._start_due(self._mono())
            if self._heap and self._running < self._concurrency:
                pause = max(0.0, self._heap[0][0] - self._mono())
                try:
                    async with asyncio.timeout(pause):
                        await self._changed.wait()
                except TimeoutError:
                    pass
            else:
                await self._changed.wait()

    def _start_due(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now and self._running < self._concurrency:
            due, worker_id = heapq.heappop(self._heap)
            schedule = self._schedules.get(worker_id)
            entry = self._registry.entries.get(worker_id)
            if schedule is None or entry is None or schedule.task is not None or schedule.due != due:
                continue  # an outdated place in the heap
            self._running += 1
            schedule.task = self._scope.spawn(self._probe(entry, schedule), name=f"probe {entry.worker.name}")
            schedule.task.add_done_callback(partial(self._probe_over, worker_id, schedule))

    def _probe_over(self, worker_id: WorkerId, schedule: _Schedule, task: "asyncio.Task[None]") -> None:
        self._running -= 1
        self._changed.set()
        if schedule.task is task:  # it crashed before it had planned the next one; the scope has logged why
            schedule.task = None
            if self._schedules.get(worker_id) is schedule:
                self._set_due(worker_id, schedule, self._mono() + QUICK_S)

    async def _probe(self, entry: Entry, schedule: _Schedule) -> None:
        worker = entry.worker
        result = await self._asked(worker)
        if result.ok:
            self.probes_ok += 1
        else:
            self.probes_failed += 1
        self._registry.observe_probe(worker.id, worker.revision, result, CAUSE)
        if self._schedules.get(worker.id) is not schedule:
            return  # removed or replaced meanwhile
        now = self._mono()
        pause = 0.0 if schedule.again else self._pause(entry, schedule, now)
        schedule.again = False
        schedule.task = None
        self._set_due(worker.id, schedule, now + pause)

    def _pause(self, entry: Entry, schedule: _Schedule, now: float) -> float:
        worker = entry.worker
        return next_probe_in(
            worker.state,
            entry.health.counter,
            self._registry.health_settings(worker),
            down_s=now - schedule.since,
            chance=self._rng.random(),
            cap_s=self._start_cap_s,
        )

    async def _asked(self, worker: Worker) -> ProbeResult:
        began = self._mono()
        found = await self._prober.probe(worker, self._registry.health_settings(worker))
        took = self._mono() - began
        if not found.problem:
            self._changed_protocol(worker, found)
        return ProbeResult(not found.problem, took, found.problem)

    def _changed_protocol(self, worker: Worker, found: Found) -> None:
        """A worker that is in use answers over another protocol than before: requests must know at once. What it
        serves is then asked anew."""
        if worker.discovered and worker.connection is not found.connection:
            told = replace(worker.capabilities, connection=found.connection)
            self._registry.observe_capabilities(worker.id, worker.revision, told, CAUSE)
