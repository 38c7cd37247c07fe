"""What taking several workers away at once would mean for the traffic: their joint blast radius. Pure.

A worker alone is the case of one. Capacity is counted in workers that take requests now, by model and role: a
decode worker does not stand in for a prefill worker. Asking the operator, and refusing, are others' business.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gateway.workers.availability import availability
from gateway.workers.model import Role, Worker, WorkerId

Serves = tuple[str | None, Role]
"""Model (None: one that nobody names) and role: those who serve the same stand in for each other."""


@dataclass(frozen=True, slots=True)
class Toll:
    """What one model and role would lose: of those that take requests now, so many go and so many stay."""

    model: str | None
    role: Role
    taken: int
    left: int

    @property
    def last(self) -> bool:
        """Nobody would be left for its requests."""
        return self.taken > 0 and not self.left


@dataclass(frozen=True, slots=True)
class JointEffect:
    """What taking workers away would mean now. Tolls only of models that would lose a worker, the worst first."""

    workers: int
    in_flight: int
    """Requests in flight at them now."""
    routable: int
    """How many of them take requests now."""
    tolls: tuple[Toll, ...]

    @property
    def last(self) -> tuple[Toll, ...]:
        """Models and roles that would be left with nobody."""
        return tuple(toll for toll in self.tolls if toll.last)


def serves(worker: Worker) -> Serves:
    """What a worker's capacity counts for."""
    return worker.model_id, worker.spec.role


def joint_effect(fleet: Iterable[tuple[Worker, int]], chosen: Collection[WorkerId]) -> JointEffect:
    """The effect of taking `chosen` away from a fleet of workers, each with its requests in flight."""
    gone: list[Worker] = []
    staying: list[Worker] = []
    workers = flying = 0
    for worker, in_flight in fleet:
        taken = worker.id in chosen
        workers += taken
        flying += in_flight if taken else 0
        if availability(worker).routable:
            (gone if taken else staying).append(worker)
    taken_of: dict[Serves, int] = {}
    for worker in gone:
        taken_of[serves(worker)] = taken_of.get(serves(worker), 0) + 1
    left_of = ready_of(staying, taken_of)
    tolls = [Toll(model, role, taken, left_of[model, role]) for (model, role), taken in taken_of.items()]
    tolls.sort(key=lambda toll: (toll.left / (toll.left + toll.taken), toll.model or ""))
    return JointEffect(workers, flying, len(gone), tuple(tolls))


def ready_of(routable: Iterable[Worker], wanted: Collection[Serves]) -> dict[Serves, int]:
    """How many of these workers serve each of the wanted models and roles."""
    counts = dict.fromkeys(wanted, 0)
    for worker in routable:
        for model in worker.models or (None,):
            if (model, worker.spec.role) in counts:
                counts[model, worker.spec.role] += 1
    return counts
