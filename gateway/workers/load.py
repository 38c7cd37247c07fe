"""The load monitor: polls engines for their queue depth and KV usage, at a steady, spread-out pace.

Reports go to the registry with the revision they were asked for; a worker that does not report, or is no
longer ready, has no load rather than an old one. What replies mean is `gateway.engines.loads`'.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable
from random import Random
from types import TracebackType
from typing import Self

import msgspec

from gateway.engines.loads import METRICS, SOURCES, load_of, metrics_load
from gateway.tasks import Scope, supervise
from gateway.workers import facts
from gateway.workers.ask import Ask, Unreachable
from gateway.workers.facts import Event
from gateway.workers.meters import EngineLoad
from gateway.workers.model import State, Worker, WorkerId
from gateway.workers.registry import Registry

logger = logging.getLogger(__name__)

TIMEOUT_S = 5.0
MIN_INTERVAL_S = 1.0
CONCURRENCY = 64
LOOK_AGAIN = 30
"""Polls without any source before all of them are tried again: an engine may have been upgraded."""


class LoadMonitor:
    """Polls ready workers every `interval_s` (a worker's own `load_interval_s` wins)."""

    def __init__(
        self, registry: Registry, ask: Ask, *, mono: Callable[[], float], rng: Random, interval_s: float
    ) -> None:
        self._registry = registry
        self._ask = ask
        self._mono = mono
        self._rng = rng
        self._interval_s = interval_s
        self._heap: list[tuple[float, WorkerId]] = []
        self._due: dict[WorkerId, float] = {}
        self._sources: dict[tuple[WorkerId, int], str] = {}
        self._silent: dict[tuple[WorkerId, int], int] = {}
        self._changed = asyncio.Event()
        self._room = asyncio.Semaphore(CONCURRENCY)
        self._scope = Scope("load")
        self.polls_ok = 0
        self.polls_failed = 0

    async def __aenter__(self) -> Self:
        self._registry.watch(self._on_event)
        self._scope.spawn(supervise("load scheduler", self._run), name="scheduler")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()

    def _on_event(self, event: Event) -> None:
        fact = event.fact
        if isinstance(fact, facts.StateChanged):
            if fact.new is State.READY:
                self._set_due(fact.worker, self._mono())
            else:
                self._clear(fact.worker, keep_polling=fact.new is State.DRAINING)
        elif isinstance(fact, facts.RegistrationRestarted):
            self._clear(fact.worker, keep_polling=False)

    def _clear(self, worker_id: WorkerId, *, keep_polling: bool) -> None:
        """A draining worker still works on what it has, so its queue is still of interest."""
        if keep_polling:
            return
        self._due.pop(worker_id, None)
        for known in (self._sources, self._silent):
            for key in [key for key in known if key[0] == worker_id]:
                del known[key]
        if (entry := self._registry.entries.get(worker_id)) is not None:
            entry.load = None

    def _set_due(self, worker_id: WorkerId, due: float) -> None:
        self._due[worker_id] = due
        heapq.heappush(self._heap, (due, worker_id))
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            now = self._mono()
            while self._heap and self._heap[0][0] <= now:
                due, worker_id = heapq.heappop(self._heap)
                entry = self._registry.entries.get(worker_id)
                if entry is not None and self._due.get(worker_id) == due:
                    self._scope.spawn(self._poll(entry.worker), name=f"poll {entry.worker.name}")
            try:
                async with asyncio.timeout(self._heap[0][0] - self._mono() if self._heap else None):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _poll(self, worker: Worker) -> None:
        async with self._room:
            load = await self.load(worker)
        if load is None:
            self.polls_failed += 1
        else:
            self.polls_ok += 1
        self._registry.observe_load(worker.id, worker.revision, load)
        if worker.id in self._due:
            interval = max(MIN_INTERVAL_S, worker.spec.load_interval_s or self._interval_s)
            self._set_due(worker.id, self._mono() + interval * (1.0 - 0.1 * self._rng.random()))

    async def load(self, worker: Worker) -> EngineLoad | None:
        """What the engine reports now; None where it does not."""
        key = (worker.id, worker.revision)
        known = self._sources.get(key)
        if known is not None:
            return await self._from(worker, known)
        if self._silent.get(key, 0) % LOOK_AGAIN == 0:
            for path in SOURCES.get(worker.engine, (METRICS,)):
                load = await self._from(worker, path)
                if load is not None:
                    self._sources[key] = path
                    return load
        self._silent[key] = self._silent.get(key, 0) + 1
        return None

    async def _from(self, worker: Worker, path: str) -> EngineLoad | None:
        try:
            answer = await self._ask(worker, "GET", path, timeout_s=TIMEOUT_S)
        except Unreachable as error:
            logger.debug("load_poll_failed", extra={"fields": {"worker": worker.name, "why": str(error)}})
            return None
        if not answer.ok:
            return None
        if path == METRICS:
            return metrics_load(answer.body, self._mono())
        try:
            return load_of(path, msgspec.json.decode(answer.body), self._mono())
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
