"""May this worker get a request now, and if not, why: one answer for router, readiness, API and console."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from gateway.workers.model import Circuit, State, Worker

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Availability:
    routable: bool
    because: str
    """A reason that completes the sentence "not routable: …"; "ready" when it is."""


AVAILABLE = Availability(True, "ready")


def availability(worker: Worker) -> Availability:
    """Join lifecycle, cordon, ejection and circuit breaker: a worker draws traffic only when all of them allow it."""
    if worker.state is not State.READY:
        return Availability(False, f"{worker.state}: {worker.reason}" if worker.reason else str(worker.state))
    if worker.cordoned:
        return Availability(False, f"cordoned: {worker.cordon_reason}" if worker.cordon_reason else "cordoned")
    if worker.ejected:
        return Availability(False, f"ejected until a probe passes: {worker.ejected}")
    if worker.breaker.state is Circuit.OPEN:
        return Availability(False, f"circuit breaker open: {worker.breaker.reason}")
    return AVAILABLE


def those_serving(model: str | None, listed: Iterable[T], worker_of: Callable[[T], Worker]) -> list[T]:
    """Those that name the model (None: any), or where none does, those that name no model at all."""
    found = list(listed)
    if model is None:
        return found
    named = [one for one in found if model in worker_of(one).models]
    return named or [one for one in found if not worker_of(one).models]
