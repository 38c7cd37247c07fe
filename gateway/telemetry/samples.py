"""Numbers by the second: what the console draws and the API shows, taken from the meters once for everybody.

Plain data and the ring that keeps it; the loop that takes the samples is `sampler`. Times in seconds.
"""

from array import array
from dataclasses import dataclass
from enum import StrEnum

from gateway.workers.latency import Percentiles

HISTORY = 300
"""Samples kept, one a second: five minutes."""


class Measure(StrEnum):
    """The kinds of number that have a history."""

    REQUESTS = "requests_per_s"
    IN_FLIGHT = "in_flight"
    P50 = "p50_s"
    P99 = "p99_s"
    TTFT = "ttft_p50_s"


UNMEASURED = Percentiles()


@dataclass(frozen=True, slots=True)
class WorkerSample:
    """One worker's rates and response times, as of the last sample. Percentiles are over the last minute."""

    requests_per_s: float = 0.0
    """Answers that ended, a second, over about the last three seconds."""
    errors_per_s: float = 0.0
    error_rate: float | None = None
    """Share of the last minute's ended requests that failed; None: there were none."""
    response: Percentiles = UNMEASURED
    ttft: Percentiles = UNMEASURED


class Series:
    """The last `HISTORY` samples of each measure, oldest first; NaN where nothing was measured."""

    __slots__ = ("_next", "_rings", "taken")

    def __init__(self) -> None:
        self._rings = {measure: array("f", [float("nan")] * HISTORY) for measure in Measure}
        self._next = 0
        self.taken = 0
        """Samples taken so far; a reader that saw this number has nothing to redraw."""

    def append(self, values: dict[Measure, float]) -> None:
        for measure, ring in self._rings.items():
            ring[self._next] = values.get(measure, float("nan"))
        self._next = (self._next + 1) % HISTORY
        self.taken += 1

    def last(self, measure: Measure, count: int = HISTORY) -> "array[float]":
        """The newest `count` values, oldest first."""
        ring = self._rings[measure]
        ordered = ring[self._next :] + ring[: self._next]
        return ordered[-count:] if count < HISTORY else ordered
