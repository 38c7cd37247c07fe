"""The fleet in a few counts, gathered worker by worker so that a big fleet can be counted in slices. Pure."""

from collections import Counter
from dataclasses import dataclass, field

from gateway.workers.availability import availability
from gateway.workers.model import Circuit, Health, State, Worker, WorkerId
from smg_console.plane import WorkerRow

NAMES_KEPT = 5


@dataclass(slots=True)
class Group:
    """Workers in the same trouble: how many, since when the first of them, and some names."""

    total: int = 0
    since: float | None = None
    first: WorkerId | None = None
    """The one that is in it longest."""
    names: list[str] = field(default_factory=list)

    def add(self, worker: Worker, since: float) -> None:
        self.total += 1
        if self.since is None or since < self.since:
            self.since, self.first = since, worker.id
        if len(self.names) < NAMES_KEPT:
            self.names.append(worker.name)


@dataclass(slots=True)
class Served:
    """A model's workers."""

    total: int = 0
    routable: int = 0
    registering: int = 0
    changed_at: float = 0.0
    """When the last of them changed its state."""
    first: WorkerId | None = None


@dataclass(slots=True)
class Overview:
    """Counts over the workers that were added to it. `oldest_check` is wall-clock seconds, None: none was probed."""

    total: int = 0
    states: Counter[State] = field(default_factory=Counter)
    verdicts: Counter[Health] = field(default_factory=Counter)
    routable: int = 0
    cordoned: int = 0
    down: Group = field(default_factory=Group)
    """Unhealthy and failed workers."""
    cut_off: Group = field(default_factory=Group)
    """Ready workers that their circuit breaker or an ejection keeps from taking their share."""
    models: dict[str, Served] = field(default_factory=dict)
    """By the name each worker serves first; empty for those that do not say."""
    failing: int = 0
    """Workers whose last probe failed."""
    draining_in_flight: int = 0
    oldest_check: float | None = None

    def add(self, row: WorkerRow) -> None:
        """Count one more worker."""
        worker, checked = row.worker, row.health.last_check
        routable = availability(worker).routable
        self.total += 1
        self.states[worker.state] += 1
        self.verdicts[worker.health] += 1
        self.routable += routable
        self.cordoned += worker.cordoned
        if worker.state in (State.UNHEALTHY, State.FAILED):
            self.down.add(worker, worker.since)
        elif worker.state is State.READY and (worker.ejected or worker.breaker.state is not Circuit.CLOSED):
            self.cut_off.add(worker, worker.breaker.since or worker.since)
        self._serve(worker, routable)
        self.failing += row.health.counter.fail_run > 0
        if worker.state is State.DRAINING:
            self.draining_in_flight += row.in_flight
        if checked is not None and (self.oldest_check is None or checked < self.oldest_check):
            self.oldest_check = checked

    def _serve(self, worker: Worker, routable: bool) -> None:
        served = self.models.get(worker.model_id or "")
        if served is None:
            served = self.models[worker.model_id or ""] = Served(first=worker.id)
        served.total += 1
        served.routable += routable
        served.registering += worker.state is State.REGISTERING
        served.changed_at = max(served.changed_at, worker.since)
