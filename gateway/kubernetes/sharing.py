"""Brings what operators do here to the pods, and what they have done elsewhere to the workers here.

Comparing and deciding is `shared`'s. Here are the two sides' memories (what was last agreed on, which version of a
pod a write of ours made) and the one task that writes to the API server: one pod at a time, again and again until
it is done, the pod is gone, or an operator wants something else.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

from gateway.errors import GatewayError
from gateway.kubernetes.backoff import Backoff
from gateway.kubernetes.objects import Pod
from gateway.kubernetes.pods import POD_UID, PodView
from gateway.kubernetes.reconcile import owned
from gateway.kubernetes.shared import VIA, Wish, annotations_for, leads, wish_of
from gateway.kubernetes.status import SharingStatus
from gateway.operations import MAX_DRAIN_S, Command, Cordon, Operations, Resume, StartDrain, Uncordon
from gateway.tasks import Scope, supervise
from gateway.workers.facts import Cause
from gateway.workers.model import Intent, Worker, WorkerId
from gateway.workers.registry import Registry

logger = logging.getLogger(__name__)


class Annotate(Protocol):
    """Writes annotations of the pod with this uid. Returns it as it is then, or None if there is no such pod any
    more. Raises whatever `trouble` of `Sharing` names when it should be tried again."""

    def __call__(
        self, namespace: str, name: str, uid: str, annotations: Mapping[str, str | None]
    ) -> Awaitable[Pod | None]: ...


@dataclass(frozen=True, slots=True)
class _Write:
    view: PodView
    port: str
    wish: Wish


class Sharing:
    """Enter it to begin. `joined` is for a worker that was just registered, `compare` for every pass."""

    def __init__(
        self,
        annotate: Annotate,
        trouble: tuple[type[Exception], ...],
        registry: Registry,
        operations: Operations,
        *,
        wall: Callable[[], float],
        backoff: Backoff,
    ) -> None:
        self._annotate = annotate
        self._trouble = trouble
        self._registry = registry
        self._operations = operations
        self._wall = wall
        self._scope = Scope("sharing")
        self._backoff = backoff
        self._agreed: dict[WorkerId, Wish] = {}
        self._written: dict[WorkerId, int] = {}
        """The version of its pod that our last write made: an older picture of the pod says nothing."""
        self._queue: dict[WorkerId, _Write] = {}
        self._due = asyncio.Event()
        self._problem = ""

    async def __aenter__(self) -> Self:
        self._scope.spawn(supervise("sharing of operations", self._run), name="writes")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()

    @property
    def status(self) -> SharingStatus:
        return SharingStatus(len(self._queue), self._problem)

    async def compare(self, views: Mapping[str, PodView]) -> None:
        """Bring workers and pods together, as far as they differ."""
        entries = self._registry.entries
        for known in (self._agreed, self._written, self._queue):
            for gone in known.keys() - entries.keys():
                del known[gone]
        for entry in list(entries.values()):
            if owned(entry.worker) and (view := views.get(entry.worker.spec.labels[POD_UID])) is not None:
                await self.joined(entry.worker, view)

    async def joined(self, worker: Worker, view: PodView) -> None:
        """The same for one worker."""
        place = next((number for number, spec in enumerate(view.specs) if spec.url == worker.url), None)
        leaving = view.terminating or (worker.drain is not None and worker.drain.intent is Intent.REMOVE)
        if place is None or leaving:
            self._queue.pop(worker.id, None)
            return
        if view.version < self._written.get(worker.id, 0):
            return
        here, agreed, now = wish_of(worker), self._agreed.get(worker.id), self._wall()
        pod = view.wishes[place]
        if pod is None:  # nobody can tell what it asks for: it asks for no change
            pod = agreed or Wish()
        leader = leads(here, pod, agreed, now)
        if leader == "here":
            waiting = self._queue.get(worker.id)
            if waiting is None or waiting.wish != here:
                self._queue[worker.id] = _Write(view, str(urlsplit(worker.url).port), here)
                self._due.set()
            return
        self._queue.pop(worker.id, None)
        if leader != "pod" or await self._follow(worker, pod):
            self._agreed[worker.id] = pod

    async def _follow(self, worker: Worker, pod: Wish) -> bool:
        """Do here what the pod asks for; False if not all of it could be done."""
        cause = Cause(f"{pod.by}{VIA}" if pod.by else f"pod annotation{VIA}")
        for command in steps(worker, pod, self._wall()):
            try:
                await self._operations.execute(command, cause)
            except GatewayError as error:  # the worker went on since
                fields = {"worker": worker.name, "why": str(error)}
                logger.warning("operation_not_followed", extra={"fields": fields})
                return False
        return True

    async def _run(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            for worker, write in list(self._queue.items()):
                if self._queue.get(worker) is write:
                    await self._carry(worker, write)

    async def _carry(self, worker: WorkerId, write: _Write) -> None:
        view = write.view
        namespace, _, name = view.name.partition("/")
        said = annotations_for(write.wish, write.port, alone=len(view.specs) == 1)
        try:
            pod = await self._annotate(namespace, name, view.uid, said)
        except self._trouble as error:
            self._problem = f"{view.name}: {error}"
            logger.warning("operation_not_shared", extra={"fields": {"pod": view.name, "why": str(error)}})
            self._due.set()
            await asyncio.sleep(self._backoff.failed())
            return
        self._backoff.reset()
        self._problem = ""
        if self._queue.get(worker) is write:
            del self._queue[worker]
        if pod is not None and worker in self._registry.entries:
            self._agreed[worker] = write.wish
            version = pod.metadata.resource_version
            self._written[worker] = int(version) if version.isdecimal() else 0


def steps(worker: Worker, wish: Wish, now: float) -> list[Command]:
    """The commands that bring the worker to what its pod asks for."""
    here, found = wish_of(worker), list[Command]()
    why = wish.why or (f"asked by {wish.by} on its pod" if wish.by else "asked on its pod")
    if not replace(wish, cordon=here.cordon).like(here, now):
        if here.drain:  # a drain's deadline moves only later by itself
            found.append(Resume(worker.id))
        if wish.drain:
            left = None if wish.until is None else min(max(0.0, wish.until - now), MAX_DRAIN_S)
            found.append(StartDrain(worker.id, left, why))
    if wish.cordon and not here.cordon:
        found.append(Cordon(worker.id, why))
    elif here.cordon and not wish.cordon:
        found.append(Uncordon(worker.id))
    return found
