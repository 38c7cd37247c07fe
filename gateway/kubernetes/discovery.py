"""Discovery as a part of the gateway: the reflector's pods, turned into passes of the keeper, and its picture.

A pass is due when pods or owned workers have changed, and every half a minute in any case. Many changes at once are
one pass: the next one waits a few times as long as the last one took, unless a pod is going: traffic has to end.
"""

import asyncio
import gc
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Self

from gateway.kubernetes.api import ApiError
from gateway.kubernetes.backoff import Backoff
from gateway.kubernetes.keeper import Keeper
from gateway.kubernetes.objects import Pod
from gateway.kubernetes.pods import POD_UID, PodRules, PodView, view_of
from gateway.kubernetes.reflector import Reflector
from gateway.kubernetes.secrets import ApiKeys
from gateway.kubernetes.sharing import Sharing
from gateway.kubernetes.status import DiscoveryStatus
from gateway.kubernetes.trouble import TROUBLE, Unread
from gateway.operations import Operations
from gateway.tasks import Scope, supervise
from gateway.workers import facts
from gateway.workers.facts import Event
from gateway.workers.model import State, Worker
from gateway.workers.registry import Registry

FULL_PASS_S = 30.0
LEAST_PAUSE_S = 0.02
REST = 4
"""A pass is followed by a pause this many times as long."""
AT_ONCE = 50
"""Pods judged in a row before others get the loop."""
MANY = 100
"""Workers that make a difference to the collector of garbage."""


@dataclass(slots=True)
class _Summary:
    """The pods as the last pass left them."""

    matched: int = 0
    ready: int = 0
    registered: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


class PodDiscovery:
    """Enter it to begin; it enters the reflector. `rules` say which pods are workers, and how."""

    def __init__(
        self,
        reflector: Reflector,
        rules: PodRules,
        registry: Registry,
        operations: Operations,
        *,
        wall: Callable[[], float],
        mono: Callable[[], float],
        rng: Random,
    ) -> None:
        self._reflector = reflector
        self._rules = rules
        self._registry = registry
        self._keys = ApiKeys(reflector.secret, (Unread,), reflector.changed.set)
        self._sharing: Sharing | None = None
        if rules.share:
            backoff = Backoff(rng, 0.2, 30.0)
            self._sharing = Sharing(self._annotate, TROUBLE, registry, operations, wall=wall, backoff=backoff)
        self._keeper = Keeper(registry, operations, wall, self._joined)
        self._wall = wall
        self._mono = mono
        self._scope = Scope("discovery")
        self._views: dict[str, PodView] = {}
        self._unseen: dict[str, Pod | None] = {}
        """Pods that changed since they were judged; None: gone."""
        self._going = asyncio.Event()
        """A pod has begun to terminate, or is gone or no longer selected, since the last pass began."""
        self._summary = _Summary()
        self._unsettled = True
        self._passes = 0
        self._pass_seconds = 0.0
        self._last_pass_at: float | None = None
        reflector.store.listen(self._on_pod)

    async def __aenter__(self) -> Self:
        self._registry.watch(self._on_event)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._reflector)
            await stack.enter_async_context(self._keys)
            if self._sharing is not None:
                await stack.enter_async_context(self._sharing)
            self._stack = stack.pop_all()
        self._scope.spawn(supervise("pod discovery", self._run), name="passes")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()
        await self._stack.aclose()

    def _on_pod(self, uid: str, old: Pod | None, new: Pod | None) -> None:
        self._unseen[uid] = new
        if old is not None and (new is None or (new.terminating and not old.terminating)):
            self._going.set()

    def _on_event(self, event: Event) -> None:
        """An address is free again, or an operator has changed something."""
        fact = event.fact
        moved = isinstance(fact, facts.StateChanged) and fact.new in (State.GONE, State.READY)
        if moved or isinstance(fact, facts.Cordoned | facts.Uncordoned | facts.DrainChanged):
            self._reflector.changed.set()

    async def _annotate(self, namespace: str, name: str, uid: str, annotations: Mapping[str, str | None]) -> Pod | None:
        try:
            return await self._reflector.patch_annotations(namespace, name, uid, annotations)
        except ApiError as error:
            if error.code in (404, 409):  # it is gone, or another pod has its name
                return None
            raise

    async def _joined(self, worker: Worker) -> None:
        view = self._views.get(worker.spec.labels[POD_UID])
        if self._sharing is not None and view is not None:
            await self._sharing.joined(worker, view)

    async def _run(self) -> None:
        await self._reflector.synced.wait()
        while True:
            self._reflector.changed.clear()
            self._going.clear()
            began = self._mono()
            await self._pass()
            took = self._mono() - began
            self._pass_seconds += took
            await self._rest(REST * took - LEAST_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(FULL_PASS_S):
                    await self._reflector.changed.wait()

    async def _rest(self, longer_s: float) -> None:
        """The least pause, and a longer one that a pod which is going cuts short."""
        await asyncio.sleep(LEAST_PAUSE_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, longer_s)):
                await self._going.wait()

    async def _pass(self) -> None:
        await self._judge()
        views = self._keys.given(self._views.values())
        kept = await self._keeper.keep(views)
        if self._sharing is not None:
            await self._sharing.compare(self._views)
        await self._summarize(views, kept.refused)
        self._settle_memory(kept.done)
        self._passes += 1
        self._last_pass_at = self._wall()

    def _settle_memory(self, done: int) -> None:
        """Once, when the first pods' workers are there: they are looked at by no later collection of garbage, which
        with a thousand of them holds the loop for 30 ms. What came before lives about as long as the process."""
        if self._unsettled and not done and self._summary.registered >= MANY:
            self._unsettled = False
            gc.collect()
            gc.freeze()

    async def _judge(self) -> None:
        number = 0
        while self._unseen:
            uid = next(iter(self._unseen))
            pod = self._unseen.pop(uid)
            view = view_of(pod, self._rules) if pod is not None else None
            if view is None:
                self._views.pop(uid, None)
            else:
                self._views[uid] = view
            number += 1
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _summarize(self, views: list[PodView], refused: Mapping[str, str]) -> None:
        """What the status tells of the pods, once a pass: it is asked for more often than it changes."""
        found = _Summary(matched=len(views), registered=self._keeper.owned())
        for number, view in enumerate(views, 1):
            if why := view.skipped or view.not_ready:
                found.skipped[view.name] = why
            else:
                found.ready += 1
            if view.notes:
                found.notes[view.name] = "; ".join(view.notes)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        found.skipped |= refused
        self._summary = found

    @property
    def status(self) -> DiscoveryStatus:
        summary = self._summary
        return DiscoveryStatus(
            watch=self._reflector.status,
            matched=summary.matched,
            ready=summary.ready,
            registered=summary.registered,
            skipped=summary.skipped,
            notes=summary.notes,
            carried_out=self._keeper.carried_out,
            passes=self._passes,
            pass_seconds=self._pass_seconds,
            last_pass_at=self._last_pass_at,
            sharing=self._sharing.status if self._sharing is not None else None,
        )
