"""What the console needs of a gateway: facts, numbers, events and commands, as plain data.

The console holds a `Plane` and nothing else of the gateway, so the same screens can show a gateway in this
process or elsewhere. Reading is cheap and never waits; only commands are awaited.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.events import Event, Lagged
from gateway.kubernetes.status import DiscoveryStatus
from gateway.operations import Command, Done, Effect
from gateway.presence import Person
from gateway.proxy.explain import RouteStatus
from gateway.proxy.flights import Flight
from gateway.settings.effective import Effective
from gateway.telemetry.history import Stretch
from gateway.telemetry.samples import Measure, WorkerSample
from gateway.telemetry.status import GatewayStatus
from gateway.tokenizers.commands import TokenizerCommand, TokenizerDone
from gateway.tokenizers.status import TokenizerStatus
from gateway.tokenizers.tokenizer import Shown
from gateway.workers.entry import ProbeStrip
from gateway.workers.health import HealthCounter
from gateway.workers.meters import EngineLoad, Failure
from gateway.workers.model import Role, Worker, WorkerId
from gateway.workers.rolling_jobs import RollingCommand, RollingDone, RollingStatus


@dataclass(frozen=True, slots=True)
class HealthRow:
    """What the probes of one worker showed. Times are wall-clock seconds."""

    counter: HealthCounter
    last_check: float | None
    last_change: float | None
    last_error: str
    latency_ms: float | None
    recent: ProbeStrip


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker: facts, and its numbers at the moment of the call."""

    worker: Worker
    in_flight: int
    requests: int
    errors: int
    cancelled: int
    last_error: str
    last_error_at: float | None
    sample: WorkerSample
    load: EngineLoad | None
    health: HealthRow


GatewayRow = GatewayStatus
"""The gateway itself at the moment of the call."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What one policy would do with a request. `in_use`: it decides, with all it has learned; others are asked as
    on their first day."""

    role: Role
    policy: str
    in_use: bool
    worker: WorkerId
    why: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose numbers: a worker's, a model's, or with neither the fleet's."""

    worker: WorkerId | None = None
    model: str | None = None


FLEET = Subject()


@dataclass(frozen=True, slots=True)
class Link:
    """How a console elsewhere is connected to its gateway. Times are wall-clock seconds by the gateway's clock."""

    target: str
    """The URL or the socket's path."""
    lost_at: float | None
    """Since when nothing more is heard; None: connected."""
    why: str
    next_try_at: float | None
    """None: a try is under way."""
    restarts: int
    """How often another process than before was found at the other end."""


class Plane(Protocol):
    """A gateway as the console sees it."""

    @property
    def read_only(self) -> bool:
        """Commands are refused."""
        ...

    def link(self) -> Link | None:
        """How this console is connected; None: it is in the gateway's own process."""
        ...

    def gateway(self) -> GatewayRow: ...

    def arrived(self) -> int:
        """Answers that came from elsewhere so far: while it stands still, what is fetched only while somebody looks
        at it (histories, requests, failures, routes) is as it was."""
        ...

    def seq(self) -> int:
        """Number of the last event; while it stands still, no worker's facts changed."""
        ...

    def ids(self) -> Sequence[WorkerId]:
        """All listed workers, in the order they were added."""
        ...

    def rows(self) -> Sequence[WorkerRow]:
        """The rows of all listed workers. For a big fleet rather ask `row` for each of `ids`, in slices."""
        ...

    def row(self, worker_id: WorkerId) -> WorkerRow | None: ...

    def series_taken(self) -> int:
        """Samples taken so far: while it stands still, no graph changed."""
        ...

    def series(self, measure: Measure, worker_id: WorkerId | None = None) -> "array[float]":
        """The last five minutes, a value a second, oldest first, NaN for nothing; of the fleet or one worker."""
        ...

    def history(self, of: Subject, step_s: int, measures: Sequence[Measure]) -> Stretch | None:
        """Up to a day of measures in rows of `step_s` (one of `gateway.telemetry.history.STEPS`); None: there is
        nothing of it."""
        ...

    def flights(self, worker_id: WorkerId | None, most: int) -> Sequence[Flight]:
        """The requests that have been under way for longest: a worker's, or all."""
        ...

    def failures(self, worker_id: WorkerId) -> Sequence[Failure]:
        """How requests failed at a worker lately, oldest first."""
        ...

    def past_events(self, most: int) -> Sequence[Event]:
        """The newest events of the journal, oldest first."""
        ...

    def new_events(self, after: int, most: int) -> Sequence[Event] | Lagged:
        """Events after number `after` that are there now; never waits."""
        ...

    def discovery(self) -> DiscoveryStatus | None:
        """What is seen of a Kubernetes cluster; None: nothing is looked for."""
        ...

    def people(self) -> Sequence[Person]:
        """Whose consoles are open, in the order they came."""
        ...

    def routes(self) -> Sequence[RouteStatus]:
        """Which policy serves which model and role, in the order in which they came."""
        ...

    async def explain(self, model: str | None, text: str) -> Sequence[Explained]:
        """Which worker each policy would take for a chat of this one message. Raises GatewayError."""
        ...

    def settings(self) -> Sequence[Effective]:
        """The settings in force, in the order of `--help`; always the same object."""
        ...

    def tokenizers(self) -> Sequence[TokenizerStatus]:
        """All registered tokenizers, in the order in which they came."""
        ...

    async def tokens(self, tokenizer: str, text: str, *, add_special_tokens: bool) -> Sequence[Shown]:
        """A text's tokens, each with what it stands for. Raises GatewayError."""
        ...

    def effect(self, worker: str) -> Effect:
        """What taking this worker away would mean now. Raises GatewayError."""
        ...

    async def execute(self, command: Command) -> Done:
        """Give a command. Raises GatewayError."""
        ...

    async def execute_on_tokenizers(self, command: TokenizerCommand) -> TokenizerDone:
        """Give a command on tokenizers. Raises GatewayError."""
        ...

    def rollings(self) -> Sequence[RollingStatus]:
        """Rolling drains under way, and the last that ended, the oldest first."""
        ...

    async def execute_on_rolling(self, command: RollingCommand) -> RollingDone:
        """Begin or steer a rolling drain. Raises GatewayError."""
        ...
