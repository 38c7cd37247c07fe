"""What a routing policy is, and what it may look at. No clock, no I/O, no randomness of its own."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from gateway.workers.meters import EngineLoad


class InFlight(Protocol):
    @property
    def in_flight(self) -> int: ...


class Candidate(Protocol):
    """What a policy sees of a worker; the registry's entries are candidates."""

    @property
    def meters(self) -> InFlight: ...

    @property
    def load(self) -> EngineLoad | None: ...


C = TypeVar("C", bound=Candidate)


class Policy(Protocol):
    """Chooses one of the candidates, of which there is at least one, in constant time."""

    @property
    def name(self) -> str: ...

    def choose(self, candidates: Sequence[C], model: str | None, now: float) -> C:
        """`now` is monotonic seconds, the clock of the load reports."""
        ...
