"""What can come true of a worker, and what it makes of the worker's record: the fold behind every view.

Facts are past tense, rare, and complete: folding a journal over nothing gives the fleet as it stands. Pure;
who may write facts, and in which order, is the registry's.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from gateway.workers.model import (
    TRANSITIONS_KEPT,
    Breaker,
    Capabilities,
    Drain,
    Health,
    State,
    Transition,
    Worker,
    WorkerId,
    WorkerSpec,
)


@dataclass(frozen=True, slots=True)
class Registered:
    kind: ClassVar[str] = "worker_registered"
    worker: WorkerId
    name: str
    spec: WorkerSpec
    reason: str


@dataclass(frozen=True, slots=True)
class StateChanged:
    """`new` is GONE when the worker left the registry; `forced` then tells that requests were still in flight."""

    kind: ClassVar[str] = "worker_state_changed"
    worker: WorkerId
    old: State
    new: State
    reason: str
    forced: bool = False


@dataclass(frozen=True, slots=True)
class HealthChanged:
    kind: ClassVar[str] = "worker_health_changed"
    worker: WorkerId
    old: Health
    new: Health
    reason: str


@dataclass(frozen=True, slots=True)
class Cordoned:
    kind: ClassVar[str] = "worker_cordoned"
    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True)
class Uncordoned:
    kind: ClassVar[str] = "worker_uncordoned"
    worker: WorkerId


@dataclass(frozen=True, slots=True)
class DrainChanged:
    """A drain began, grew stronger or longer, or (None) was called off."""

    kind: ClassVar[str] = "worker_drain_changed"
    worker: WorkerId
    drain: Drain | None


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing is in flight any more at a worker held in drain: it is safe to delete."""

    kind: ClassVar[str] = "worker_drained"
    worker: WorkerId


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """The circuit breaker opened, lets trial requests through, or closed."""

    kind: ClassVar[str] = "worker_breaker_changed"
    worker: WorkerId
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class Ejected:
    """Traffic could not reach the worker: it gets no more until a probe has passed."""

    kind: ClassVar[str] = "worker_ejected"
    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True)
class Readmitted:
    """A probe of an ejected worker passed."""

    kind: ClassVar[str] = "worker_readmitted"
    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Discovered:
    kind: ClassVar[str] = "worker_capabilities_discovered"
    worker: WorkerId
    capabilities: Capabilities


@dataclass(frozen=True, slots=True)
class SpecPatched:
    """Fields of the spec changed in place; what was observed stays valid."""

    kind: ClassVar[str] = "worker_spec_patched"
    worker: WorkerId
    spec: WorkerSpec
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RegistrationRestarted:
    """A new revision: all that was observed of the old one is void (retry, or the spec was replaced)."""

    kind: ClassVar[str] = "worker_registration_restarted"
    worker: WorkerId
    spec: WorkerSpec
    revision: int
    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the gateway itself that belongs in the journal: started, shutting down."""

    kind: ClassVar[str] = "gateway_notice"
    worker: ClassVar[None] = None
    topic: str
    text: str


WorkerFact = (
    Registered
    | StateChanged
    | HealthChanged
    | Cordoned
    | Uncordoned
    | DrainChanged
    | Drained
    | BreakerChanged
    | Ejected
    | Readmitted
    | Discovered
    | SpecPatched
    | RegistrationRestarted
)
Fact = WorkerFact | Notice


@dataclass(frozen=True, slots=True)
class Cause:
    """Who made a fact come true. `actor` is what the journal shows: `health checker`, `console`, `api`."""

    actor: str
    correlation: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A numbered fact. `at` is wall-clock seconds, `mono` monotonic seconds of this process."""

    seq: int
    at: float
    mono: float
    cause: Cause
    fact: Fact


def fold(worker: Worker | None, event: Event) -> Worker | None:
    """The worker's record after one more fact about it; None once it is gone (and before it was registered)."""
    fact = event.fact
    if isinstance(fact, Notice):
        return worker
    if isinstance(fact, Registered) and worker is None:
        return Worker(
            id=fact.worker,
            name=fact.name,
            spec=fact.spec,
            revision=1,
            state=State.REGISTERING,
            since=event.at,
            registered_at=event.at,
            reason=fact.reason,
            transitions=(Transition(None, State.REGISTERING, event.at, fact.reason, event.cause.actor),),
        )
    if worker is None:
        raise ValueError(f"{fact.kind} for worker {fact.worker}, which is not registered")
    return _changed(worker, fact, event)


def _changed(worker: Worker, fact: WorkerFact, event: Event) -> Worker | None:
    match fact:
        case StateChanged(new=State.GONE):
            return None
        case StateChanged(old=old, new=new, reason=reason):
            move = Transition(old, new, event.at, reason, event.cause.actor)
            kept = (*worker.transitions, move)[-TRANSITIONS_KEPT:]
            return replace(worker, state=new, since=event.at, reason=reason, transitions=kept, ejected="")
        case HealthChanged(new=health):
            return replace(worker, health=health)
        case Cordoned(reason=reason):
            return replace(worker, cordoned=True, cordon_reason=reason, cordoned_by=event.cause.actor)
        case Uncordoned():
            return replace(worker, cordoned=False, cordon_reason="", cordoned_by="")
        case DrainChanged(drain=drain):
            return replace(worker, drain=drain)
        case Drained():
            return replace(worker, drain=worker.drain and replace(worker.drain, drained=True))
        case BreakerChanged(breaker=breaker):
            return replace(worker, breaker=breaker)
        case Ejected(reason=reason):
            return replace(worker, ejected=reason)
        case Readmitted():
            return replace(worker, ejected="")
        case Discovered(capabilities=capabilities):
            return replace(worker, capabilities=capabilities, discovered=True)
        case SpecPatched(spec=spec):
            return replace(worker, spec=spec)
        case RegistrationRestarted(spec=spec, revision=revision):
            return replace(
                worker,
                spec=spec,
                revision=revision,
                health=Health.UNKNOWN,
                capabilities=Capabilities(),
                discovered=False,
                drain=None,
                breaker=Breaker(),
                ejected="",
            )
        case Registered():
            raise ValueError(f"worker {worker.id} is registered twice")
