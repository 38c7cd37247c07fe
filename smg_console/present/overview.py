"""The fleet in a few counts, gathered worker by worker so that a big fleet can be counted in slices. Pure."""

from collections import Counter
from dataclasses import dataclass, field

from gateway.workers.availability import availability
from gateway.workers.model import Circuit, Health, State
from smg_console.plane import WorkerRow


@dataclass(slots=True)
class Overview:
    """Counts over the workers that were added to it. `oldest_check` is wall-clock seconds, None: none was probed."""

    total: int = 0
    states: Counter[State] = field(default_factory=Counter)
    verdicts: Counter[Health] = field(default_factory=Counter)
    routable: int = 0
    cordoned: int = 0
    broken: int = 0
    """Ready workers that their circuit breaker or an ejection keeps from taking their share."""
    failing: int = 0
    """Workers whose last probe failed."""
    draining_in_flight: int = 0
    oldest_check: float | None = None

    def add(self, row: WorkerRow) -> None:
        """Count one more worker."""
        worker, checked = row.worker, row.health.last_check
        self.total += 1
        self.states[worker.state] += 1
        self.verdicts[worker.health] += 1
        self.routable += availability(worker).routable
        self.cordoned += worker.cordoned
        out = worker.ejected or worker.breaker.state is not Circuit.CLOSED
        self.broken += bool(out) and worker.state is State.READY
        self.failing += row.health.counter.fail_run > 0
        if worker.state is State.DRAINING:
            self.draining_in_flight += row.in_flight
        if checked is not None and (self.oldest_check is None or checked < self.oldest_check):
            self.oldest_check = checked
