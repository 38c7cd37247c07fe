"""What a worker is: the words and values everything else speaks in.

Plain frozen values. No I/O, no clock, no rules: the rules are in `lifecycle` and `health`. A worker's key is a
`Secret`, which no encoder and no repr shows; nothing here renders JSON (see `gateway.api.schemas`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NewType

WorkerId = NewType("WorkerId", str)

TRANSITIONS_KEPT = 32
"""Transitions that stay at hand on a worker; all of them go to the journal."""


class Secret:
    """A value that shows itself only when asked by name; JSON encoders refuse it, reprs hide it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(hidden)"


class State(StrEnum):
    """Where a worker is in its life. `GONE` is only ever the target of a transition, never a listed worker."""

    REGISTERING = "registering"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    FAILED = "failed"
    DRAINING = "draining"
    GONE = "gone"


LISTED_STATES = (State.REGISTERING, State.READY, State.UNHEALTHY, State.FAILED, State.DRAINING)


class Health(StrEnum):
    """What the probes say, apart from what the lifecycle made of it."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Intent(StrEnum):
    """Why a worker drains. HOLD: an operator wants it idle but listed. REMOVE: it leaves once idle."""

    HOLD = "hold"
    REMOVE = "remove"


class Circuit(StrEnum):
    """The state of a worker's circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Role(StrEnum):
    REGULAR = "regular"
    PREFILL = "prefill"
    DECODE = "decode"


class Source(StrEnum):
    """Who brought the worker; discovery touches only its own."""

    STATIC = "static"
    API = "api"
    CONSOLE = "console"
    KUBERNETES = "kubernetes"


class Engine(StrEnum):
    SGLANG = "sglang"
    VLLM = "vllm"
    GENERIC = "generic"
    """Any server that speaks OpenAI's HTTP API."""
    UNSPECIFIED = "unspecified"
    """Not looked at yet."""


class Connection(StrEnum):
    """How a worker is spoken to."""

    HTTP = "http"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class HealthOverride:
    """A worker's own probe settings; None means the gateway's."""

    interval_s: float | None = None
    timeout_s: float | None = None
    success_threshold: int | None = None
    failure_threshold: int | None = None
    disabled: bool | None = None
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Probe settings as they hold for one worker. Times in seconds."""

    interval_s: float = 30.0
    timeout_s: float = 10.0
    success_threshold: int = 2
    failure_threshold: int = 3
    disabled: bool = False
    endpoint: str = "/health"
    failed_threshold: int = 0
    """Consecutive failures after which an unhealthy worker counts as failed; 0: never."""

    def with_override(self, own: HealthOverride) -> "HealthSettings":
        """These settings with the worker's own in their place."""
        given = {name: value for name in own.__slots__ if (value := getattr(own, name)) is not None}
        return replace(self, **given)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model as an operator declares it; discovery fills what is left out."""

    id: str
    display_name: str | None = None
    aliases: tuple[str, ...] = ()
    model_type: tuple[str, ...] = ()
    context_length: int | None = None
    tokenizer_path: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What an operator (or discovery) asked for: everything about a worker that was not observed."""

    url: str
    """Base URL without a trailing slash: `http://host:port`, `grpc://host:port`, with `s` for TLS. What `http://`
    names may turn out to speak gRPC: see `Worker.connection`."""
    models: tuple[ModelCard, ...] = ()
    """Empty: ask the worker; a worker that does not tell serves any model."""
    role: Role = Role.REGULAR
    engine: Engine = Engine.UNSPECIFIED
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int = 50
    cost: float = 1.0
    api_key: Secret | None = None
    bootstrap_port: int | None = None
    max_in_flight: int | None = None
    """Requests it takes at once; None: as many as come."""
    health: HealthOverride = HealthOverride()
    load_interval_s: float | None = None
    source: Source = Source.API


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the worker itself told. None or empty: it did not say."""

    engine: Engine = Engine.UNSPECIFIED
    connection: Connection | None = None
    """What answered at an address that may be either; None: nothing did yet, or only one is possible."""
    version: str | None = None
    model_id: str | None = None
    models: tuple[str, ...] = ()
    """Every model id it serves, the main one first (vLLM lists LoRA adapters beside the base model)."""
    model_path: str | None = None
    context_length: int | None = None
    tokenizer_path: str | None = None
    tp_size: int | None = None
    dp_size: int | None = None
    pp_size: int | None = None
    max_running_requests: int | None = None
    max_total_tokens: int | None = None
    is_generation: bool | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """Everything found, flat, under SMG's label names."""
    missing: tuple[str, ...] = ()
    """Endpoints that were asked and did not answer usefully, with the reason: `/version: 404`."""


@dataclass(frozen=True, slots=True)
class Drain:
    """A drain under way. `since` and `deadline` are wall-clock seconds; no deadline means wait for ever."""

    intent: Intent
    since: float
    deadline: float | None
    drained: bool = False
    """Nothing was in flight at some moment since the drain began; a held worker is then safe to delete."""
    began_with: int = 0
    """Requests in flight when it began: what its progress is measured by."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """A worker's circuit breaker. `since` and `until` are wall-clock seconds; `until` only while it is open."""

    state: Circuit = Circuit.CLOSED
    reason: str = ""
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    old: State | None
    new: State
    at: float
    why: str
    who: str


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker's facts at one moment. Replaced, never changed; only the registry makes new ones."""

    id: WorkerId
    name: str
    """Short handle such as `w3`, unique while the gateway runs: what operators type and read."""
    spec: WorkerSpec
    revision: int
    """Counts up when the spec is replaced or a registration starts over; late answers to an older one are dropped."""
    state: State
    since: float
    """Wall-clock seconds of the last state change."""
    registered_at: float
    reason: str
    health: Health = Health.UNKNOWN
    cordoned: bool = False
    cordon_reason: str = ""
    cordoned_by: str = ""
    """The actor whose cordon it is."""
    drain: Drain | None = None
    breaker: Breaker = Breaker()
    ejected: str = ""
    """Why traffic could not reach it, until a probe says how it is; empty: not ejected."""
    capabilities: Capabilities = Capabilities()
    discovered: bool = False
    """Capability discovery has ended for this revision, with or without a finding."""
    transitions: tuple[Transition, ...] = ()

    @property
    def url(self) -> str:
        return self.spec.url

    @property
    def models(self) -> tuple[str, ...]:
        """Model ids (and aliases) it serves, the main one first; empty when nobody knows."""
        if self.spec.models:
            return tuple(name for card in self.spec.models for name in (card.id, *card.aliases))
        return self.capabilities.models or ((self.capabilities.model_id,) if self.capabilities.model_id else ())

    @property
    def model_id(self) -> str | None:
        return self.models[0] if self.models else None

    @property
    def engine(self) -> Engine:
        """The engine an operator declared, else the one that was found."""
        return self.spec.engine if self.spec.engine is not Engine.UNSPECIFIED else self.capabilities.engine

    @property
    def connection(self) -> Connection:
        """How it is spoken to: by its URL's scheme, or as it was found out. HTTP until then."""
        if self.spec.url.startswith("grpc"):
            return Connection.GRPC
        return self.capabilities.connection or Connection.HTTP

    @property
    def labels(self) -> dict[str, str]:
        """Discovered labels with the operator's own on top."""
        return {**self.capabilities.labels, **self.spec.labels}

    def __repr__(self) -> str:
        cordon = " cordoned" if self.cordoned else ""
        return f"<Worker {self.name} {self.state}{cordon} rev {self.revision} {self.url}>"
