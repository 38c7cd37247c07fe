"""The load monitor: polls engines for their queue depth and KV usage, at a steady, spread-out pace.

A worker is polled from the moment it is ready until it is neither ready nor draining, and what comes later is
dropped: a worker that does not report, or is not up, has no load rather than an old one. The place where a
worker reports is looked for once and kept while it answers. What replies mean is `gateway.engines.loads`' and,
over gRPC, the engine client's.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable
from random import Random
from types import TracebackType
from typing import Self

from gateway.engines.generation import EngineError
from gateway.engines.grpc_engines import Engines
from gateway.engines.loads import METRICS, SOURCES, load_of, metrics_load
from gateway.tasks import Scope, supervise
from gateway.workers import facts
from gateway.workers.ask import Ask, Unreachable
from gateway.workers.facts import Event
from gateway.workers.meters import EngineLoad
from gateway.workers.model import Connection, Engine, State, Worker, WorkerId
from gateway.workers.registry import Registry

logger = logging.getLogger(__name__)

TIMEOUT_S = 5.0
MIN_INTERVAL_S = 1.0
CONCURRENCY = 64
MAX_BYTES = 4 * 1024 * 1024
LOOK_AGAIN = 30
"""Polls that a worker which said it has no load is left alone: an engine may be upgraded one day."""
LOST_AFTER = 3
"""Failed polls in a row after which its source is looked for anew."""
TEMPORARY = (429, 500, 502, 503, 504)
"""Statuses that say nothing about whether the source exists."""


class _Silent(Exception):
    """No answer, or one that says nothing about whether the source exists."""


class _Polled:
    """What the monitor remembers of one worker while it polls it."""

    __slots__ = ("due", "engine", "failed", "polls", "rest", "source", "under_way")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.due: float | None = None
        self.under_way = False
        self.source: str | None = None
        self.polls = 0
        self.failed = 0
        """Failed polls of the source in a row."""
        self.rest = 0
        """Polls to leave out because the worker has no source."""


class LoadMonitor:
    """Polls ready workers every `interval_s` (a worker's own `load_interval_s` wins)."""

    def __init__(
        self,
        registry: Registry,
        ask: Ask,
        *,
        mono: Callable[[], float],
        rng: Random,
        interval_s: float,
        engines: Engines | None = None,
    ) -> None:
        self._registry = registry
        self._ask = ask
        self._engines = engines
        self._mono = mono
        self._rng = rng
        self._interval_s = interval_s
        self._heap: list[tuple[float, WorkerId]] = []
        self._polled: dict[WorkerId, _Polled] = {}
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

    # --- whom to poll, and when ---

    def _on_event(self, event: Event) -> None:
        fact = event.fact
        if isinstance(fact, facts.StateChanged):
            if fact.new is State.READY:
                self._begin(fact.worker)
            elif fact.new is not State.DRAINING:  # a draining worker still works on what it has
                self._end(fact.worker)
        elif isinstance(fact, facts.RegistrationRestarted):
            self._end(fact.worker)
        elif isinstance(fact, facts.Discovered) and (polled := self._polled.get(fact.worker)) is not None:
            engine = self._registry.entries[fact.worker].worker.engine
            if engine is not polled.engine:
                polled.engine, polled.source, polled.rest = engine, None, 0

    def _begin(self, worker_id: WorkerId) -> None:
        if worker_id not in self._polled:
            polled = self._polled[worker_id] = _Polled(self._registry.entries[worker_id].worker.engine)
            self._set_due(worker_id, polled, self._mono())

    def _end(self, worker_id: WorkerId) -> None:
        self._polled.pop(worker_id, None)
        self._registry.forget_load(worker_id)

    def _set_due(self, worker_id: WorkerId, polled: _Polled, due: float) -> None:
        polled.due = due
        heapq.heappush(self._heap, (due, worker_id))
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            now = self._mono()
            while self._heap and self._heap[0][0] <= now:
                due, worker_id = heapq.heappop(self._heap)
                polled, entry = self._polled.get(worker_id), self._registry.entries.get(worker_id)
                if polled is not None and entry is not None and polled.due == due and not polled.under_way:
                    polled.under_way = True
                    self._scope.spawn(self._poll(entry.worker, polled), name=f"poll {entry.worker.name}")
            try:
                async with asyncio.timeout(self._heap[0][0] - self._mono() if self._heap else None):
                    await self._changed.wait()
            except TimeoutError:
                pass

    # --- polling ---

    async def _poll(self, worker: Worker, polled: _Polled) -> None:
        try:
            if polled.rest:
                polled.rest -= 1
                return
            async with self._room:
                load = await self._load(worker, polled)
            if load is None:
                self.polls_failed += 1
            else:
                self.polls_ok += 1
            if self._polled.get(worker.id) is polled:
                self._registry.observe_load(worker.id, worker.revision, load)
        finally:  # also where a poll crashed, which the scope logs
            polled.under_way = False
            if self._polled.get(worker.id) is polled:
                self._set_due(worker.id, polled, self._mono() + self._pause(worker, polled))

    def _pause(self, worker: Worker, polled: _Polled) -> float:
        """Seconds until the next poll. The first pause is of any length, to part workers that came up together."""
        interval = max(MIN_INTERVAL_S, worker.spec.load_interval_s or self._interval_s)
        polled.polls += 1
        share = self._rng.random()
        return interval * (share if polled.polls == 1 else 1.0 - 0.1 * share)

    async def _load(self, worker: Worker, polled: _Polled) -> EngineLoad | None:
        """What the engine reports now; None where it does not."""
        if worker.connection is Connection.GRPC:
            return await self._over_grpc(worker, polled)
        if polled.source is None:
            return await self._look(worker, polled)
        try:
            load = await self._from(worker, polled.source)
        except _Silent:
            load = None
        polled.failed = 0 if load is not None else polled.failed + 1
        if polled.failed >= LOST_AFTER:
            polled.source, polled.failed = None, 0
        return load

    async def _over_grpc(self, worker: Worker, polled: _Polled) -> EngineLoad | None:
        """By GetLoads, which older engines do not have: those are left alone for a while."""
        if self._engines is None:
            return None
        try:
            engine = await self._engines.of(worker)
            load = await engine.loads(now=self._mono(), timeout_s=TIMEOUT_S)
        except EngineError as error:
            logger.debug("load_poll_failed", extra={"fields": {"worker": worker.name, "why": error.message}})
            return None
        if load is None:
            polled.rest = LOOK_AGAIN - 1
        return load

    async def _look(self, worker: Worker, polled: _Polled) -> EngineLoad | None:
        """The load from the first source that has one, which is kept."""
        silent = False
        for path in SOURCES.get(worker.engine, (METRICS,)):
            try:
                load = await self._from(worker, path)
            except _Silent:
                silent = True
                continue
            if load is not None:
                polled.source = path
                return load
        polled.rest = 0 if silent else LOOK_AGAIN - 1
        return None

    async def _from(self, worker: Worker, path: str) -> EngineLoad | None:
        """The load at this path; None where it has none. Raises _Silent."""
        try:
            answer = await self._ask(worker, "GET", path, timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES)
        except Unreachable as error:
            logger.debug("load_poll_failed", extra={"fields": {"worker": worker.name, "why": str(error)}})
            raise _Silent from None
        if answer.status in TEMPORARY:
            raise _Silent
        if not answer.ok:
            return None
        if path == METRICS:
            return metrics_load(answer.body, self._mono())
        try:
            return load_of(path, answer.json(), self._mono())
        except ValueError:
            return None
