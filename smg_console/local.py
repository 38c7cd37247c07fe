"""The console's view of a gateway in the same process: a `Plane` straight over its parts."""

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, Self

from gateway.errors import ReadOnly
from gateway.events import Event, Journal, Lagged
from gateway.kubernetes.status import DiscoveryStatus
from gateway.operations import Command, Done, Effect, Operations
from gateway.presence import Person
from gateway.proxy.explain import Explainer, RouteStatus
from gateway.proxy.flights import Flight
from gateway.settings.effective import Effective
from gateway.telemetry.history import History, Stretch
from gateway.telemetry.sampler import FleetSample
from gateway.telemetry.samples import Measure, WorkerSample
from gateway.tokenizers.commands import TokenizerCommand, TokenizerDone, TokenizerOperations
from gateway.tokenizers.status import TokenizerStatus
from gateway.tokenizers.tokenizer import Shown
from gateway.workers.entry import Entry
from gateway.workers.facts import Cause
from gateway.workers.meters import Failure
from gateway.workers.model import WorkerId
from gateway.workers.registry import Registry
from gateway.workers.rolling_jobs import RollingCommand, RollingDone, RollingDrains, RollingStatus
from smg_console.plane import Explained, GatewayRow, HealthRow, Link, Subject, WorkerRow

if TYPE_CHECKING:
    from gateway.gateway import Gateway

EMPTY: "array[float]" = array("f")


class Samples(Protocol):
    """What is needed of the sampler."""

    fleet: FleetSample
    taken: int

    def sample(self, worker_id: WorkerId) -> WorkerSample: ...
    def history(self, worker_id: WorkerId | None = None, model: str | None = None) -> History | None: ...


def _nothing_flies(most: int, worker_id: WorkerId | None) -> Sequence[Flight]:
    return ()


class LocalPlane:
    """Implements `Plane`. `gateway_row` makes the header's numbers; `actor` is who the journal names."""

    def __init__(
        self,
        registry: Registry,
        operations: Operations,
        samples: Samples,
        gateway_row: Callable[[], GatewayRow],
        *,
        discovery: Callable[[], DiscoveryStatus | None] = lambda: None,
        tokenizers: TokenizerOperations,
        rolling: RollingDrains,
        explainer: Explainer,
        flights: Callable[[int, WorkerId | None], Sequence[Flight]] = _nothing_flies,
        settings: Sequence[Effective] = (),
        people: Callable[[], Sequence[Person]] = tuple,
        read_only: bool = False,
        actor: str = "console",
    ) -> None:
        self._registry = registry
        self._operations = operations
        self._samples = samples
        self._gateway_row = gateway_row
        self._discovery = discovery
        self._tokenizers = tokenizers
        self._explainer = explainer
        self._flights = flights
        self._settings = settings
        self._people = people
        self._rolling = rolling
        self._read_only = read_only
        self._cause = Cause(actor)

    @classmethod
    def of(cls, gateway: "Gateway", *, read_only: bool = False) -> Self:
        """The plane of a running gateway."""

        def discovery() -> DiscoveryStatus | None:
            return gateway.pods.status if gateway.pods is not None else None

        return cls(
            gateway.registry,
            gateway.operations,
            gateway.sampler,
            gateway.status,
            discovery=discovery,
            tokenizers=gateway.tokenizer_operations,
            explainer=gateway.explainer,
            flights=gateway.data_plane.flights,
            settings=gateway.effective,
            people=gateway.presence.people,
            rolling=gateway.rolling,
            read_only=read_only,
        )

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def _journal(self) -> Journal:
        return self._registry.journal

    def link(self) -> Link | None:
        return None

    def gateway(self) -> GatewayRow:
        return self._gateway_row()

    def arrived(self) -> int:
        return 0

    def seq(self) -> int:
        return self._journal.seq

    def ids(self) -> Sequence[WorkerId]:
        return list(self._registry.entries)

    def rows(self) -> Sequence[WorkerRow]:
        return [self._row(entry) for entry in self._registry.entries.values()]

    def row(self, worker_id: WorkerId) -> WorkerRow | None:
        entry = self._registry.entries.get(worker_id)
        return self._row(entry) if entry is not None else None

    def _row(self, entry: Entry) -> WorkerRow:
        meters, health = entry.meters, entry.health
        return WorkerRow(
            worker=entry.worker,
            in_flight=meters.in_flight,
            requests=meters.requests,
            errors=meters.errors,
            cancelled=meters.cancelled,
            last_error=meters.last_error,
            last_error_at=meters.last_error_at,
            sample=self._samples.sample(entry.worker.id),
            load=entry.load,
            health=HealthRow(
                health.counter,
                health.last_check,
                health.last_change,
                health.last_error,
                health.latency_ms,
                health.recent,
            ),
        )

    def series_taken(self) -> int:
        return self._samples.taken

    def series(self, measure: Measure, worker_id: WorkerId | None = None) -> "array[float]":
        history = self._samples.history(worker_id)
        return history.last(measure) if history is not None else EMPTY

    def history(self, of: Subject, step_s: int, measures: Sequence[Measure]) -> Stretch | None:
        history = self._samples.history(of.worker, of.model)
        return history.read(step_s, measures) if history is not None else None

    def flights(self, worker_id: WorkerId | None, most: int) -> Sequence[Flight]:
        return self._flights(most, worker_id)

    def failures(self, worker_id: WorkerId) -> Sequence[Failure]:
        entry = self._registry.entries.get(worker_id)
        return tuple(entry.meters.failures or ()) if entry is not None else ()

    def past_events(self, most: int) -> Sequence[Event]:
        journal = self._journal
        return journal.after(max(0, journal.seq - most), most)

    def new_events(self, after: int, most: int) -> Sequence[Event] | Lagged:
        return self._journal.reader(after).ready(most)

    def discovery(self) -> DiscoveryStatus | None:
        return self._discovery()

    def people(self) -> Sequence[Person]:
        return self._people()

    def routes(self) -> Sequence[RouteStatus]:
        return self._explainer.routes()

    async def explain(self, model: str | None, text: str) -> Sequence[Explained]:
        body = {"messages": [{"role": "user", "content": text}]} | ({"model": model} if model is not None else {})
        _, roles = await self._explainer.explain("/v1/chat/completions", body, {})
        return [
            Explained(role.role, choice.policy, choice.in_use, choice.explanation.worker, choice.explanation.why)
            for role in roles
            for choice in role.choices
        ]

    def settings(self) -> Sequence[Effective]:
        return self._settings

    def tokenizers(self) -> Sequence[TokenizerStatus]:
        return self._tokenizers.statuses()

    async def tokens(self, tokenizer: str, text: str, *, add_special_tokens: bool) -> Sequence[Shown]:
        return await self._tokenizers.shown(tokenizer, text, add_special_tokens=add_special_tokens)

    def effect(self, worker: str) -> Effect:
        return self._operations.effect(worker)

    async def execute(self, command: Command) -> Done:
        self._check_may_act()
        return await self._operations.execute(command, self._cause)

    async def execute_on_tokenizers(self, command: TokenizerCommand) -> TokenizerDone:
        self._check_may_act()
        return await self._tokenizers.execute(command, self._cause.actor)

    def rollings(self) -> Sequence[RollingStatus]:
        return self._rolling.statuses()

    async def execute_on_rolling(self, command: RollingCommand) -> RollingDone:
        self._check_may_act()
        return await self._rolling.execute(command, self._cause)

    def _check_may_act(self) -> None:
        if self._read_only:
            raise ReadOnly("this console is read-only (--read-only)")
