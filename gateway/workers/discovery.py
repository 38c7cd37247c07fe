"""Capability discovery: asks a worker what it is and what it serves, and gives up in bounded time.

Runs when a worker turns healthy (or counts as healthy unprobed), again when it recovers (another model may
have been started at its address), and from time to time while its model is unknown or an endpoint that told
something before is silent. What the replies mean is `gateway.engines.capabilities`' and, over gRPC, the engine
client's.
"""

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self

from gateway.engines.capabilities import (
    MODEL_INFO,
    MODELS,
    SERVER_INFO,
    VERSION,
    Replies,
    capabilities_of,
    refreshed,
)
from gateway.engines.generation import EngineError, ErrorKind
from gateway.engines.grpc_engines import Engines, speaks_http2
from gateway.tasks import Scope
from gateway.workers import checker, facts
from gateway.workers.ask import Ask, Unreachable
from gateway.workers.facts import Cause, Event
from gateway.workers.model import Capabilities, Connection, Engine, Health, Worker, WorkerId
from gateway.workers.probing import SNIFF_TIMEOUT_S, Prober
from gateway.workers.registry import Registry

CAUSE = Cause("capability discovery")
ENDPOINT_TIMEOUT_S = 3.0
OVERALL_TIMEOUT_S = 10.0
TRIES = 3
PAUSE_S = 0.5
AGAIN_S = 30.0
"""Pause before a worker that did not tell everything is asked once more."""
CONCURRENCY = 32
"""Workers asked at once: each takes up to four connections, and a fleet may turn healthy in one second."""
MAX_BYTES = 1024 * 1024
"""Of one reply: the tellers of real engines stay below 100 KB, and a megabyte takes the loop 5 ms to decode."""


class Discovery:
    """Asks workers and reports to the registry, one job a worker at a time."""

    def __init__(
        self,
        registry: Registry,
        ask: Ask,
        *,
        again_s: float = AGAIN_S,
        engines: Engines | None = None,
        prober: Prober | None = None,
    ) -> None:
        self._registry = registry
        self._ask = ask
        self._engines = engines
        self._prober = prober or Prober(ask, engines)
        self._again_s = again_s
        self._jobs: dict[WorkerId, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(CONCURRENCY)
        self._scope = Scope("discovery")

    async def __aenter__(self) -> Self:
        self._registry.watch(self._on_event)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()

    def _on_event(self, event: Event) -> None:
        fact = event.fact
        if isinstance(fact, facts.HealthChanged) and fact.new is Health.HEALTHY:
            self.discover_now(fact.worker)
            return
        if isinstance(fact, facts.Discovered) and event.cause is checker.CAUSE:  # it speaks another protocol now
            self.discover_now(fact.worker)
            return
        void = isinstance(fact, facts.RegistrationRestarted) or fact.worker not in self._registry.entries
        if fact.worker is not None and void and (job := self._jobs.pop(fact.worker, None)) is not None:
            job.cancel()

    def discover_now(self, worker_id: WorkerId) -> None:
        """Ask this worker again; what is known stays until something else is found."""
        entry = self._registry.entries.get(worker_id)
        if entry is None:
            return
        if (job := self._jobs.pop(worker_id, None)) is not None:
            job.cancel()
        job = self._scope.spawn(self._discover(entry.worker), name=f"discover {entry.worker.name}")
        self._jobs[worker_id] = job
        job.add_done_callback(partial(self._job_over, entry.worker))

    def _job_over(self, worker: Worker, job: "asyncio.Task[None]") -> None:
        if self._jobs.get(worker.id) is job:
            del self._jobs[worker.id]
        if job.cancelled() or (error := job.exception()) is None:
            return
        # A defect of ours, which the scope has logged; a healthy worker takes traffic nevertheless.
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        entry = self._registry.entries.get(worker.id)
        if entry is not None and entry.worker.revision == worker.revision and not entry.worker.discovered:
            failed = Replies(missing=(f"discovery failed: {type(error).__name__}",))
            nothing = capabilities_of(failed, worker.spec.engine)
            self._registry.observe_capabilities(worker.id, worker.revision, nothing, CAUSE)

    async def _discover(self, worker: Worker) -> None:
        while True:
            async with self._room:
                found, silent = await self._found(worker)
            entry = self._registry.entries.get(worker.id)
            if entry is None or entry.worker.revision != worker.revision:
                return
            told = refreshed(entry.worker.capabilities, found, silent)
            self._registry.observe_capabilities(worker.id, worker.revision, told, CAUSE)
            complete = told == found and (told.model_id is not None or bool(worker.spec.models))
            if complete or entry.worker.health is not Health.HEALTHY:
                return  # it is asked again when it recovers
            await asyncio.sleep(self._again_s)

    async def _found(self, worker: Worker) -> tuple[Capabilities, frozenset[str]]:
        """What the worker tells, and which of its tellers may answer another time."""
        if self._prober.connection(worker) is Connection.GRPC:
            return await self._over_grpc(worker)
        replies = await self.ask_all(worker)
        if MODELS in replies.silent and await self._is_grpc(worker):
            return await self._over_grpc(worker)
        found = capabilities_of(replies, worker.spec.engine)
        return (found if self._engines is None else replace(found, connection=Connection.HTTP)), replies.silent

    async def _is_grpc(self, worker: Worker) -> bool:
        """Whether what does not answer as HTTP opens HTTP/2. Only a worker that is not probed comes here: the
        probes of others have told."""
        unprobed = self._registry.health_settings(worker).disabled
        return self._engines is not None and unprobed and await speaks_http2(worker.url, SNIFF_TIMEOUT_S)

    async def _over_grpc(self, worker: Worker) -> tuple[Capabilities, frozenset[str]]:
        nothing = Capabilities(engine=worker.spec.engine, connection=Connection.GRPC)
        if self._engines is None:
            return replace(nothing, missing=("gRPC is not available",)), frozenset()
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSE_S * 2**attempt)
            try:
                engine = await self._engines.of(worker)
                found = await engine.info(timeout_s=ENDPOINT_TIMEOUT_S)
            except EngineError as error:
                nothing = replace(nothing, missing=(f"gRPC: {error.message}",))
                if error.kind not in (ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT):
                    break
            else:
                return found, frozenset()
        return nothing, frozenset((MODELS,))

    async def ask_all(self, worker: Worker) -> Replies:
        """What the worker tells, in bounded time; with nothing but transport failures it is asked again."""
        replies = Replies()
        try:
            async with asyncio.timeout(OVERALL_TIMEOUT_S):
                for attempt in range(TRIES):
                    if attempt:
                        await asyncio.sleep(PAUSE_S * 2**attempt)
                    replies, reached = await self._replies(worker)
                    if reached:
                        break
        except TimeoutError:
            gave_up = f"gave up after {OVERALL_TIMEOUT_S:g} s"
            replies = replace(replies, missing=(*replies.missing, gave_up), silent=replies.silent | {MODELS})
        return replies

    async def _replies(self, worker: Worker) -> tuple[Replies, bool]:
        """The replies, and whether the worker answered at all."""
        declared = worker.spec.engine
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(self._get(worker, paths) if wanted else _not_asked())
                for paths, wanted in (
                    ((MODELS,), True),
                    ((VERSION,), declared is not Engine.SGLANG),
                    (SERVER_INFO, declared is not Engine.VLLM),
                    (MODEL_INFO, declared is not Engine.VLLM),
                )
            ]
        told = [task.result() for task in asked]
        models, version, server, model = (reply.json for reply in told)
        missing = tuple(sorted(reply.why for reply in told if reply.why))
        silent = frozenset(reply.silent for reply in told if reply.silent)
        return Replies(models, version, server, model, missing, silent), any(reply.reached for reply in told)

    async def _get(self, worker: Worker, paths: tuple[str, ...]) -> "_Reply":
        """The JSON of the first of these paths that answers with any; why there is none, otherwise."""
        why = silence = ""
        reached = False
        for path in paths:
            try:
                answer = await self._ask(worker, "GET", path, timeout_s=ENDPOINT_TIMEOUT_S, max_bytes=MAX_BYTES)
            except Unreachable as error:
                silence = f"{path}: no answer ({error})"
                continue
            reached = True
            if answer.status >= 500:
                silence = f"{path}: {answer.status}"
            elif not answer.ok:
                why = f"{path}: {answer.status}"
            else:
                try:
                    return _Reply(answer.json(), reached=True)
                except ValueError as error:
                    why = f"{path}: {error}"
        return _Reply(None, silence or why, paths[0] if silence else "", reached)


@dataclass(frozen=True, slots=True)
class _Reply:
    """What one endpoint gave: JSON, or why it gave none."""

    json: object
    why: str = ""
    silent: str = ""
    """The endpoint's first path, if it may answer another time."""
    reached: bool = False


async def _not_asked() -> _Reply:
    """In place of a question that this engine need not be asked."""
    return _Reply(None)
