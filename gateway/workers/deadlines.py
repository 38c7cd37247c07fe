"""Deadlines in a worker's life: how long it may take to come up, a drain may take, and a breaker stays open.

One heap and one task for all workers. Deadlines run on the monotonic clock from the moment of their fact, so
that a wall clock that jumps neither cuts a drain nor prolongs it.
"""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from types import TracebackType
from typing import Self

from gateway.tasks import Scope, supervise
from gateway.workers import facts
from gateway.workers.facts import Cause, Event
from gateway.workers.model import State
from gateway.workers.registry import Registry

CAUSE = Cause("deadline")


class Deadlines:
    """Tells the registry when time is up. `startup_s`: `--worker-startup-timeout-secs`."""

    def __init__(self, registry: Registry, *, mono: Callable[[], float], startup_s: float) -> None:
        self._registry = registry
        self._mono = mono
        self._startup_s = startup_s
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._changed = asyncio.Event()
        self._scope = Scope("deadlines")

    async def __aenter__(self) -> Self:
        self._registry.watch(self._on_event)
        self._scope.spawn(supervise("deadlines", self._run), name="timer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()

    def _on_event(self, event: Event) -> None:
        fact, registry = event.fact, self._registry
        if isinstance(fact, facts.Registered | facts.RegistrationRestarted) or (
            # drained before it was up, and resumed: the first deadline may have passed meanwhile
            isinstance(fact, facts.StateChanged) and fact.old is State.DRAINING and fact.new is State.REGISTERING
        ):
            worker_id, revision = fact.worker, registry.entries[fact.worker].worker.revision

            def timeout() -> None:
                registry.registration_timeout(worker_id, revision, self._startup_s, CAUSE)

            self._at(event.mono + self._startup_s, timeout)
        elif isinstance(fact, facts.DrainChanged) and fact.drain is not None and fact.drain.deadline is not None:
            drained_id, deadline = fact.worker, fact.drain.deadline
            self._at(
                event.mono + max(0.0, deadline - event.at),
                lambda: registry.drain_deadline(drained_id, deadline, CAUSE),
            )
        elif isinstance(fact, facts.BreakerChanged) and fact.breaker.until is not None:
            broken_id, until = fact.worker, fact.breaker.until
            self._at(event.mono + max(0.0, until - event.at), lambda: registry.breaker_waited(broken_id, until, CAUSE))

    def _at(self, mono: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (mono, next(self._order), act))
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            while self._heap and self._heap[0][0] <= self._mono():
                heapq.heappop(self._heap)[2]()
            try:
                async with asyncio.timeout(self._heap[0][0] - self._mono() if self._heap else None):
                    await self._changed.wait()
            except TimeoutError:
                pass
