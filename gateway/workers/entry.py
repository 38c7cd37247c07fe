"""A listed worker as the registry holds it: its facts now, its numbers, and what its probes showed lately.

Facts are replaced by the registry alone; meters are written by the data plane and read by whoever samples them.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from math import copysign

from gateway.workers.breaker import FailureWindow, Trials
from gateway.workers.health import HealthCounter
from gateway.workers.meters import EngineLoad, WorkerMeters
from gateway.workers.model import Worker

PROBES_KEPT = 60


@dataclass(frozen=True, slots=True)
class Probe:
    """One past probe, for the strip in the console. `at` is wall-clock seconds."""

    at: float
    ok: bool
    latency_s: float


class ProbeStrip:
    """The last probes, in 12 bytes each: as objects they would be a third of what an idle worker costs."""

    __slots__ = ("_at", "_signed")

    def __init__(self) -> None:
        self._at = array("d")
        self._signed = array("f")
        """Latency in seconds, negative for a bad probe."""

    def append(self, probe: Probe) -> None:
        """Keep one more; the oldest goes."""
        self._at.append(probe.at)
        self._signed.append(probe.latency_s if probe.ok else -probe.latency_s)
        del self._at[:-PROBES_KEPT], self._signed[:-PROBES_KEPT]

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Probe]:
        for at, signed in zip(self._at, self._signed, strict=True):
            yield Probe(at, copysign(1.0, signed) > 0, abs(signed))


class HealthStatus:
    """What the probes of one worker showed lately; numbers and texts, not facts."""

    __slots__ = ("counter", "last_change", "last_check", "last_error", "latency_ms", "recent")

    def __init__(self) -> None:
        self.counter = HealthCounter()
        self.last_check: float | None = None
        self.last_change: float | None = None
        self.last_error = ""
        """Of the last failed probe; kept after recovery, so that one can still ask what it was."""
        self.latency_ms: float | None = None
        self.recent = ProbeStrip()


class Entry:
    """A listed worker: its facts now, and its numbers. Facts are replaced, the entry stays the same object."""

    __slots__ = ("_load", "failures", "health", "limited", "meters", "overloaded", "trials", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.limited = False
        """Whether `has_room` needs to be asked: a cap on its requests in flight, or a half-open breaker."""
        self.trials: Trials | None = None
        """The trial requests, while the breaker is half-open."""
        self.failures: FailureWindow | None = None
        self.overloaded = False
        """By its last load report; it is left out while another worker is not overloaded."""
        self.meters = WorkerMeters()
        self.health = HealthStatus()
        self._load: EngineLoad | None = None

    @property
    def load(self) -> EngineLoad | None:
        """What the engine itself reported last."""
        return self._load

    @load.setter
    def load(self, load: EngineLoad | None) -> None:
        self._load = load
        for mirror in self.meters.mirrors:
            mirror.reported(load)

    def has_room(self) -> bool:
        """Whether it may take one more request now."""
        cap, trials = self.worker.spec.max_in_flight, self.trials
        if cap is not None and self.meters.in_flight >= cap:
            return False
        return trials is None or trials.under_way < trials.limit

    def __repr__(self) -> str:
        return f"<Entry {self.worker!r} · {self.meters.in_flight} in flight>"
