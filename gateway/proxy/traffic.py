"""What all exchanges of a data plane share: the fleet, the pools, the clock, the limits, and the counters."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from gateway.proxy.admission import Admission, Later
from gateway.proxy.fleet import Fleet
from gateway.proxy.generating import Generating
from gateway.proxy.pool import Dial
from gateway.proxy.retry import RetryBudget
from gateway.proxy.settings import ProxySettings
from gateway.proxy.tally import Tally
from gateway.proxy.upstream import Upstream, UpstreamError
from gateway.workers.model import Worker, WorkerId
from gateway.workers.registry import Registry


class Place(Protocol):
    """Where a worker's connections come from: its pool."""

    @property
    def authority(self) -> bytes:
        """What goes into the Host header."""
        ...

    def take(self) -> Upstream | None: ...

    def dial(self, opened: Callable[[Upstream], None], failed: Callable[[UpstreamError], None]) -> Dial: ...


class Gathers(Protocol):
    """An answer of which more pieces come than need a write each."""

    def write_gathered(self) -> None: ...


GATHER_S = 0.002
"""Pieces of one answer that come faster than this go out together: nobody reads 500 a second, and a write costs
more than all else that is done for a piece. The first piece never waits, nor do tokens at an engine's pace."""


@dataclass(slots=True)
class Traffic:
    """`mono` is a clock in seconds, `later` calls back after a delay; `probe_now` is told of a worker that real
    traffic could not reach."""

    registry: Registry
    fleet: Fleet
    place_of: Callable[[Worker], Place]
    settings: ProxySettings
    mono: Callable[[], float]
    later: Later
    rng: Random
    probe_now: Callable[[WorkerId], None]
    generating: Generating | None = None
    """What requests to gRPC workers take; None: workers are spoken to over HTTP only."""
    admission: Admission = field(init=False)
    budget: RetryBudget = field(init=False)
    tally: Tally = field(default_factory=Tally)
    arrivals: int = 0
    """Requests on data routes that ever came."""
    in_flight: int = 0
    """Requests on data routes between their arrival and the end of their answers."""
    on_idle: Callable[[], None] | None = None
    """Called when `in_flight` falls to 0; set by whoever waits for that."""
    _gathering: "list[Gathers]" = field(default_factory=list)
    stopping: bool = False
    """Every answer is the last of its connection."""

    def __post_init__(self) -> None:
        self.admission = Admission(self.settings.admission, self.mono, self.later)
        self.budget = RetryBudget(self.settings.retry)

    def gather(self, answer: Gathers) -> None:
        """Have it write in a moment, with all others of this moment: one timer serves them all."""
        if not self._gathering:
            self.later(GATHER_S, self._write_gathered)
        self._gathering.append(answer)

    def _write_gathered(self) -> None:
        answers, self._gathering = self._gathering, []
        for answer in answers:
            answer.write_gathered()

    def arrived(self) -> None:
        self.arrivals += 1
        self.in_flight += 1

    def departed(self) -> None:
        self.in_flight -= 1
        if not self.in_flight and self.on_idle is not None:
            self.on_idle()
