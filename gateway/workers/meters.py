"""Fast plain numbers of one worker: in flight, counts, response times. Sampled by readers, never on the bus.

The data plane calls `began` when a request is dispatched and `ended` exactly once when its body ended, was
cancelled or failed; so `in_flight` is exact by construction. Nothing here knows of states or sockets.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.workers.latency import LatencyWindow


class Outcome(StrEnum):
    """How a dispatched request ended, as far as the worker is concerned."""

    OK = "ok"
    """A complete answer below 500 (a 4xx is the client's doing; 429 is counted apart by its status)."""
    SERVER_ERROR = "server_error"
    """A complete answer with a 5xx status."""
    TRANSPORT = "transport"
    """Refused, reset, timed out, or not HTTP."""
    CANCELLED = "cancelled"
    """The client left."""


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What the engine itself reports; None: it does not say (never 0). `at` is monotonic seconds."""

    at: float
    running: int | None = None
    waiting: int | None = None
    kv_usage: float | None = None
    """Share of the KV cache in use, 0..1."""
    throughput: float | None = None
    """Generated tokens per second."""
    cache_hit_rate: float | None = None
    used_tokens: int | None = None
    max_tokens: int | None = None
    in_flight: int | None = None
    """Requests in flight from here when the report came; what began and ended since is known without it."""

    def waiting_now(self, in_flight: int) -> int:
        """The engine's queue by its report and what has begun and ended since. A report is seconds old while
        requests come by the hundred: taken as it is, all would follow it to one worker."""
        waiting = self.waiting or 0
        if self.in_flight is None:
            return max(waiting, in_flight - (self.running or 0))
        return max(0, waiting + in_flight - self.in_flight)


@dataclass(frozen=True, slots=True)
class Failure:
    """A way in which requests failed at a worker. `at` is wall-clock seconds, of the last one."""

    at: float
    why: str
    count: int = 1
    """How many failed so in a row."""


FAILURES_KEPT = 20
TOLD_KEPT = 32
TOLD_BYTES = 512
"""What is kept of an answer's end: usage stands there, in every engine's answers."""


class Mirror(Protocol):
    """Keeps a figure derived from one worker's load up to date, so that nobody has to ask every worker."""

    def moved(self, in_flight: int) -> None:
        """A request began or ended there. Runs for each of them: it must be quick and must not raise."""
        ...

    def reported(self, load: EngineLoad | None) -> None:
        """The engine's load report is now this; None: there is none any more."""
        ...


class WorkerMeters:
    """The numbers of one worker. Counters only grow; rates are differences that readers take."""

    __slots__ = (
        "cancelled",
        "failures",
        "heard",
        "in_flight",
        "last_error",
        "last_error_at",
        "mirrors",
        "ok",
        "on_idle",
        "output_tokens",
        "prompt_tokens",
        "requests",
        "response",
        "server_errors",
        "told",
        "transport_errors",
        "ttft",
    )

    def __init__(self) -> None:
        self.in_flight = 0
        self.heard = 0.0
        """Monotonic time of the last byte that came from it, or of the first request after a pause."""
        self.requests = 0
        """Dispatched so far, retries included."""
        self.ok = 0
        self.server_errors = 0
        self.transport_errors = 0
        self.cancelled = 0
        self.response = LatencyWindow()
        """Whole response: dispatch until the last byte of the body."""
        self.ttft = LatencyWindow()
        """Dispatch until the first byte of a streamed body."""
        self.last_error = ""
        self.last_error_at: float | None = None
        """Wall-clock seconds."""
        self.failures: deque[Failure] | None = None
        """The last ways in which requests failed, oldest first; None: none ever did."""
        self.prompt_tokens = self.output_tokens = 0.0
        """So far, as far as engines told. Of streams the events are counted as they come."""
        self.told: list[tuple[bytes, int]] = []
        """The ends of answers, each with the events counted of it: the sampler reads the usage in them, off the
        requests' way, and empties the list. The first `TOLD_KEPT` between two samples stand for all."""
        self.on_idle: Callable[[], None] | None = None
        """Called when `in_flight` falls to 0; set by the registry while the worker drains."""
        self.mirrors: tuple[Mirror, ...] = ()
        """Told of every change of `in_flight`, and by the entry of every load report."""

    @property
    def errors(self) -> int:
        return self.server_errors + self.transport_errors

    def began(self) -> None:
        """A request was dispatched to this worker."""
        self.in_flight += 1
        self.requests += 1
        if self.mirrors:
            self._tell_mirrors()

    def ended(self, outcome: Outcome, took_s: float, now: float) -> None:
        """That request is over. `now` is monotonic; cancelled and failed requests leave no response time."""
        self.in_flight -= 1
        if self.mirrors:
            self._tell_mirrors()
        if outcome is Outcome.OK:
            self.ok += 1
            self.response.add(took_s, now)
        elif outcome is Outcome.SERVER_ERROR:
            self.server_errors += 1
        elif outcome is Outcome.TRANSPORT:
            self.transport_errors += 1
        else:
            self.cancelled += 1
        if not self.in_flight and self.on_idle is not None:
            self.on_idle()

    def _tell_mirrors(self) -> None:
        in_flight = self.in_flight
        for mirror in self.mirrors:
            mirror.moved(in_flight)

    def tell(self, end: bytes, events: int) -> None:
        """A complete answer ended with these bytes."""
        if len(self.told) < TOLD_KEPT:
            self.told.append((end[-TOLD_BYTES:], events))

    def blamed(self, why: str, at: float) -> None:
        """A request failed here. `at` is wall-clock seconds."""
        if self.failures is None:
            self.failures = deque(maxlen=FAILURES_KEPT)
        if self.failures and self.failures[-1].why == why:
            self.failures.append(Failure(at, why, self.failures.pop().count + 1))
        else:
            self.failures.append(Failure(at, why))

    def failed(self, why: str, at: float) -> None:
        """Keep the last error for the console. `at` is wall-clock seconds."""
        self.last_error, self.last_error_at = why, at
