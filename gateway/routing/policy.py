"""What a routing policy is, and what it may look at. No clock, no I/O, no randomness of its own."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gateway.workers.meters import EngineLoad, Mirror
from gateway.workers.model import Worker, WorkerId


class InFlight(Protocol):
    mirrors: tuple[Mirror, ...]
    """Told of changes; see `gateway.routing.board`."""

    @property
    def in_flight(self) -> int: ...


class Candidate(Protocol):
    """What a policy sees of a worker; the registry's entries are candidates."""

    @property
    def worker(self) -> Worker: ...

    @property
    def meters(self) -> InFlight: ...

    @property
    def load(self) -> EngineLoad | None: ...


C = TypeVar("C", bound=Candidate)


@dataclass(slots=True)
class Query:
    """What a policy may look at of a request."""

    model: str | None = None
    text: str = ""
    """The prompt as text, roles and contents one after the other; filled only for policies that read it."""
    tokens: Sequence[int] = ()
    """The prompt as token ids, in place of the text, where the workers take ids."""
    size: int = 0
    """Bytes of the request's body: how much work it may be."""
    key: str | None = None
    """The client's routing key (X-SMG-Routing-Key)."""
    caller: str | None = None
    """Who asks, as far as headers tell: Authorization, else X-Forwarded-For, else Cookie. Never stored."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which worker a policy would take for a request now, and why."""

    worker: WorkerId
    why: str
    """Completes the sentence "taken because …", with the numbers that decided."""


class Policy(Protocol):
    """Chooses one of the candidates.

    An instance serves one model (and one role): what it remembers is of those workers only. `candidates` is
    never empty, and the same tuple object comes again until a fact about a worker changes, so that what is
    derived from it may be kept by its identity. `avoid` holds candidates not to take (already tried, or full);
    at least one candidate is not in it. `now` is monotonic seconds, the clock of the load reports.
    """

    @property
    def name(self) -> str: ...

    @property
    def reads_text(self) -> bool:
        """Whether `Query.text` (or `tokens`) has to be filled, which costs microseconds."""
        ...

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        """The worker that gets this request; remembers what later choices need to know of it."""
        ...

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        """What `choose` would do with the same arguments, changing nothing."""
        ...

    def forget(self, worker_id: WorkerId) -> None:
        """The worker left, or started anew: nothing remembered of it holds any more."""
        ...

    def tend(self, now: float) -> None:
        """Upkeep such as eviction, called about once a second; takes a millisecond at most."""
        ...


def narrowed(candidates: Sequence[C], avoid: Collection[Candidate]) -> Sequence[C]:
    """The candidates that are not to be avoided. Costs a pass over all: for the rare request that avoids any."""
    return [candidate for candidate in candidates if candidate not in avoid] if avoid else candidates


class Stateless:
    """Upkeep for policies that remember nothing of workers."""

    def forget(self, worker_id: WorkerId) -> None:
        """Nothing is remembered."""

    def tend(self, now: float) -> None:
        """Nothing is remembered."""
