"""Carries plans out, by the same commands as everybody's, and remembers what of it discovery may take back.

It keeps no list of pods and no list of what it once submitted: what a command could not do is planned again the
next time. Watching pods is the reflector's, deciding is `reconcile`'s.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from gateway.errors import GatewayError
from gateway.kubernetes.pods import PodView
from gateway.kubernetes.reconcile import (
    Action,
    Change,
    Held,
    Hold,
    Leave,
    LeaveNow,
    Register,
    Release,
    Retry,
    Stay,
    owned,
    plan,
)
from gateway.operations import (
    MAX_DRAIN_S,
    Add,
    Command,
    Cordon,
    Operations,
    Patch,
    Remove,
    Replace,
    Resume,
    Uncordon,
)
from gateway.operations import Retry as RetryNow
from gateway.workers.facts import Cause
from gateway.workers.model import Secret, Source, Worker, WorkerId, WorkerSpec
from gateway.workers.registry import Registry

AT_ONCE = 16
"""Commands in a row before others get the loop."""


@dataclass(slots=True)
class Kept:
    """What a pass has done."""

    done: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    """By pod or worker: what could not be done, and why."""


class Keeper:
    """Makes the registry's discovered workers those of the pods. One pass at a time."""

    def __init__(
        self,
        registry: Registry,
        operations: Operations,
        wall: Callable[[], float],
        joined: Callable[[Worker], Awaitable[None]],
    ) -> None:
        """`joined` is told of a worker right after its registration, before any probe of it has begun."""
        self._registry = registry
        self._operations = operations
        self._wall = wall
        self._joined = joined
        self._cordoned: set[WorkerId] = set()
        self._leaving: set[WorkerId] = set()
        self._applied: dict[WorkerId, WorkerSpec] = {}
        self.carried_out: Counter[tuple[str, bool]] = Counter()
        """Commands so far, by kind of action and whether they were done."""

    async def keep(self, views: Iterable[PodView]) -> Kept:
        """One pass. Never raises for a command that is refused: that is in the answer."""
        self._forget()
        held = Held(self._cordoned, self._leaving, self._applied)
        workers = [entry.worker for entry in self._registry.entries.values()]
        made = plan(views, workers, held, now=self._wall())
        kept = Kept(refused=dict(made.refused))
        for number, action in enumerate(made.actions):
            if number and not number % AT_ONCE:
                await asyncio.sleep(0)
            try:
                await self._carry_out(action)
                kept.done += 1
                self.carried_out[type(action).__name__, True] += 1
            except GatewayError as error:  # the world went on since the plan was made, or a pod asks for nonsense
                self.carried_out[type(action).__name__, False] += 1
                kept.refused[action.spec.url if isinstance(action, Register) else str(action.worker)] = str(error)
        return kept

    def owned(self) -> int:
        """Listed workers that discovery brought."""
        return sum(owned(entry.worker) for entry in self._registry.entries.values())

    def _forget(self) -> None:
        """Workers that are gone, by whosever doing, and cordons that an operator has made their own."""
        listed = self._registry.entries.keys()
        self._cordoned = {worker for worker in self._cordoned & listed if self._still_ours(worker)}
        self._leaving &= listed
        for gone in self._applied.keys() - listed:
            del self._applied[gone]

    def _still_ours(self, worker: WorkerId) -> bool:
        found = self._registry.entries[worker].worker
        return not found.cordoned or found.cordoned_by == Source.KUBERNETES

    async def _carry_out(self, action: Action) -> None:
        worker = "" if isinstance(action, Register) else action.worker
        # an addition gives no reason of its own, so whoever it is by has to tell the pod
        cause = Cause(f"kubernetes: {action.why}" if isinstance(action, Register) else "kubernetes")
        done = await self._operations.execute(self._command(action), cause)
        match action:
            case Register(spec=spec):
                self._applied[done.worker.id] = spec
                await self._joined(done.worker)
            case Change(spec=spec):
                self._applied[done.worker.id] = spec
            case Hold():
                self._cordoned.add(WorkerId(worker))
            case Release():
                self._cordoned.discard(WorkerId(worker))
            case Leave():
                self._leaving.add(WorkerId(worker))
            case Stay():
                self._leaving.discard(WorkerId(worker))

    def _command(self, action: Action) -> Command:
        match action:
            case Register(spec=spec):
                return Add(spec)
            case Leave(worker=worker, deadline=None, why=why):
                return Remove(worker, reason=why)
            case Leave(worker=worker, deadline=float(deadline), why=why):
                return Remove(worker, timeout_s=min(max(0.0, deadline - self._wall()), MAX_DRAIN_S), reason=why)
            case LeaveNow(worker=worker, why=why):
                return Remove(worker, now=True, reason=why)
            case Stay(worker=worker):
                return Resume(worker)
            case Hold(worker=worker, why=why):
                return Cordon(worker, reason=why)
            case Release(worker=worker):
                return Uncordon(worker)
            case Retry(worker=worker):
                return RetryNow(worker)
            case Change(worker=worker, spec=spec, anew=True):
                return Replace(worker, spec)
            case Change(worker=worker, spec=spec):
                key = spec.api_key or Secret("")
                most = spec.max_in_flight or 0
                return Patch(worker, spec.priority, spec.cost, spec.labels, key, None, most)
        raise AssertionError(action)
