"""What has to be done so that the registered workers are those of the cluster's pods. Pure and level-triggered.

`plan` looks at what is, never at what happened: a lost, doubled or late event changes when it is called, not what
it answers. It speaks only of workers that discovery owns, by the uid of their pod; what operators and flags added
is never touched. Carried out on an unchanged world, the plan of the next moment is empty.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from gateway.kubernetes.pods import POD_NAME, POD_NAMESPACE, POD_UID, PodView
from gateway.workers.model import Intent, Source, State, Worker, WorkerId, WorkerSpec

IN_PLACE = ("labels", "priority", "cost", "max_in_flight", "api_key")
"""Fields of a spec that change without a new registration."""


@dataclass(frozen=True, slots=True)
class Register:
    """List a worker of a pod that is ready."""

    spec: WorkerSpec
    why: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Drain it until the deadline (wall-clock seconds; None: as long as drains take here), then take it off."""

    worker: WorkerId
    deadline: float | None
    why: str


@dataclass(frozen=True, slots=True)
class LeaveNow:
    """Take it off at once: its pod is gone, and its address belongs to another."""

    worker: WorkerId
    why: str


@dataclass(frozen=True, slots=True)
class Stay:
    """Call a removal off that discovery began."""

    worker: WorkerId
    why: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Cordon it: the pod is not ready."""

    worker: WorkerId
    why: str


@dataclass(frozen=True, slots=True)
class Release:
    """Take back the cordon that discovery set."""

    worker: WorkerId
    why: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Its registration failed, and its pod lives."""

    worker: WorkerId
    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """The pod says something else of it. `anew`: it has to register again."""

    worker: WorkerId
    spec: WorkerSpec
    anew: bool
    why: str


Action = Register | Leave | LeaveNow | Stay | Hold | Release | Retry | Change


@dataclass(frozen=True, slots=True)
class Held:
    """What discovery itself has done to workers so far and may take back."""

    cordoned: Collection[WorkerId] = ()
    """Cordoned for a pod that is not ready; one that an operator has uncordoned since stays so until the pod is."""
    leaving: Collection[WorkerId] = ()
    applied: Mapping[WorkerId, WorkerSpec] = field(default_factory=dict)
    """The spec that each worker's pod asked for last: an operator's change stays until the pod itself changes."""


@dataclass(frozen=True, slots=True)
class Plan:
    actions: tuple[Action, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    """Pods (`namespace/name`) whose workers cannot be listed, and why."""


def owned(worker: Worker) -> bool:
    """The label says so: what somebody else lists with it is left to discovery, too (as in SMG)."""
    return worker.spec.source is not Source.STATIC and POD_UID in worker.spec.labels


def pod_of(worker: Worker) -> str:
    """`namespace/name` of the pod that a discovered worker is in."""
    labels = worker.spec.labels
    return f"{labels.get(POD_NAMESPACE, '')}/{labels.get(POD_NAME, '')}"


def plan(
    views: Iterable[PodView], workers: Iterable[Worker], held: Held, *, now: float, retry_after_s: float = 60.0
) -> Plan:
    """What to do, in this order. `now`: wall-clock seconds; a failed registration is tried again after a while."""
    pods = {view.uid: view for view in views}
    listed = {worker.url: worker for worker in workers}
    ready = [view for view in pods.values() if not (view.not_ready or view.skipped or view.terminating)]
    wanted = {spec.url for view in ready for spec in view.specs}
    actions: list[Action] = []
    refused: dict[str, str] = {}
    freed: set[str] = set()
    for worker in listed.values():
        if not owned(worker):
            continue
        view = pods.get(worker.spec.labels[POD_UID])
        spec = next((spec for spec in view.specs if spec.url == worker.url), None) if view is not None else None
        if view is None or spec is None or view.skipped or view.terminating:
            if view is None and worker.url in wanted:
                actions.append(LeaveNow(worker.id, f"pod {pod_of(worker)} is gone and another has its address"))
                freed.add(worker.url)
            else:
                actions += _leaving(worker, view)
        else:
            actions += _staying(worker, spec, view, held, now, retry_after_s)
    for view in ready:
        for spec in view.specs:
            other = listed.get(spec.url)
            if other is None or spec.url in freed:
                actions.append(Register(spec, f"pod {view.name} is ready"))
                listed[spec.url] = _NEW
                freed.discard(spec.url)
            elif other is _NEW:
                refused[view.name] = f"{spec.url} is another pod's, too"
            elif not owned(other):
                refused[view.name] = f"{spec.url} is listed as {other.name} already, by {other.spec.source}"
            elif other.spec.labels[POD_UID] != view.uid:
                refused[view.name] = f"{spec.url} is still {other.name}, of pod {pod_of(other)}"
    return Plan(tuple(actions), refused)


_NEW = Worker(WorkerId(""), "", WorkerSpec(""), 0, State.REGISTERING, 0.0, 0.0, "")
"""Stands for a worker that this plan registers."""


def _leaving(worker: Worker, view: PodView | None) -> list[Action]:
    if worker.drain is not None and worker.drain.intent is Intent.REMOVE:
        return []
    name = pod_of(worker)
    if view is None:
        return [Leave(worker.id, None, f"pod {name} is gone or no longer selected")]
    if view.terminating:
        return [Leave(worker.id, view.deadline, f"pod {name} is terminating")]
    return [Leave(worker.id, None, f"pod {name}: {view.skipped or 'its address or ports changed'}")]


def _staying(
    worker: Worker, spec: WorkerSpec, view: PodView, held: Held, now: float, retry_after_s: float
) -> list[Action]:
    actions: list[Action] = []
    if worker.id in held.leaving and worker.drain is not None and worker.drain.intent is Intent.REMOVE:
        actions.append(Stay(worker.id, f"pod {view.name} is selected again"))
    before = held.applied.get(worker.id)
    if before is not None and before != spec and worker.drain is None:
        named = {name: getattr(spec, name) for name in IN_PLACE}
        anew = replace(before, **named) != spec or not before.labels.keys() <= spec.labels.keys()
        actions.append(Change(worker.id, spec, anew, f"pod {view.name} changed"))
    elif worker.state is State.FAILED and not view.not_ready and now - worker.since >= retry_after_s:
        actions.append(Retry(worker.id, f"pod {view.name} is ready"))
    if view.not_ready and not worker.cordoned and worker.id not in held.cordoned:
        actions.append(Hold(worker.id, f"pod {view.name}: {view.not_ready}"))
    elif not view.not_ready and worker.id in held.cordoned:
        actions.append(Release(worker.id, f"pod {view.name} is ready"))
    return actions
