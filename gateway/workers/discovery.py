"""Capability discovery: asks a worker what it is and what it serves, and gives up in bounded time.

Runs when a worker's first probe succeeds (or it counts as healthy unprobed), again when it recovers (another
model may have been started at its address), and from time to time while its model is unknown. What the
replies mean is `gateway.engines.capabilities`'.
"""

import asyncio
from dataclasses import replace
from types import TracebackType
from typing import Self

import msgspec

from gateway.engines.capabilities import MODEL_INFO, MODELS, SERVER_INFO, VERSION, Replies, capabilities_of
from gateway.tasks import Scope
from gateway.workers import facts
from gateway.workers.ask import Ask, Unreachable
from gateway.workers.facts import Cause, Event
from gateway.workers.model import Capabilities, Engine, Health, Worker, WorkerId
from gateway.workers.registry import Registry

CAUSE = Cause("capability discovery")
ENDPOINT_TIMEOUT_S = 3.0
OVERALL_TIMEOUT_S = 10.0
TRIES = 3
PAUSE_S = 0.5
AGAIN_S = 30.0
"""Pause before a worker that did not name its model is asked once more."""


class Discovery:
    """Asks workers and reports to the registry, one job a worker at a time."""

    def __init__(self, registry: Registry, ask: Ask, *, again_s: float = AGAIN_S) -> None:
        self._registry = registry
        self._ask = ask
        self._again_s = again_s
        self._jobs: dict[WorkerId, asyncio.Task[None]] = {}
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
        name = f"discover {entry.worker.name}"
        self._jobs[worker_id] = self._scope.spawn(self._discover(entry.worker, self._registry), name=name)

    async def _discover(self, worker: Worker, registry: Registry) -> None:
        while True:
            found = await self.ask_all(worker)
            entry = registry.entries.get(worker.id)
            if entry is None or entry.worker.revision != worker.revision:
                return
            known = entry.worker.capabilities
            if found.model_id is None and known.model_id is not None:
                found = known  # a silent moment does not unlearn what it serves
            registry.observe_capabilities(worker.id, worker.revision, found, CAUSE)
            if found.model_id is not None or worker.spec.models:
                return
            await asyncio.sleep(self._again_s)

    async def ask_all(self, worker: Worker) -> Capabilities:
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
            replies = replace(replies, missing=(*replies.missing, f"gave up after {OVERALL_TIMEOUT_S:g} s"))
        return capabilities_of(replies, worker.spec.engine)

    async def _replies(self, worker: Worker) -> tuple[Replies, bool]:
        missing: list[str] = []
        declared = worker.spec.engine
        async with asyncio.TaskGroup() as group:
            models = group.create_task(self._get(worker, (MODELS,), missing))
            version = self._get(worker, (VERSION,), missing) if declared is not Engine.SGLANG else _nothing()
            version_task = group.create_task(version)
            wanted = declared is not Engine.VLLM
            server = group.create_task(self._get(worker, SERVER_INFO, missing) if wanted else _nothing())
            model = group.create_task(self._get(worker, MODEL_INFO, missing) if wanted else _nothing())
        replies = Replies(
            models.result(), version_task.result(), server.result(), model.result(), tuple(sorted(missing))
        )
        told = (replies.models, replies.version, replies.server_info, replies.model_info)
        reached = any(reply is not None for reply in told) or not all(_UNREACHED in text for text in missing)
        return replies, reached

    async def _get(self, worker: Worker, paths: tuple[str, ...], missing: list[str]) -> object:
        """The JSON of the first of these paths that answers with any; None, and why, otherwise."""
        why = ""
        for path in paths:
            try:
                answer = await self._ask(worker, "GET", path, timeout_s=ENDPOINT_TIMEOUT_S)
            except Unreachable as error:
                why = f"{path}: {_UNREACHED} ({error})"
                continue
            if not answer.ok:
                why = f"{path}: {answer.status}"
                continue
            try:
                return msgspec.json.decode(answer.body)
            except (msgspec.DecodeError, UnicodeDecodeError):
                why = f"{path}: not JSON"
        missing.append(why)
        return None


_UNREACHED = "no answer"


async def _nothing() -> None:
    """In place of a question that this engine need not be asked."""
