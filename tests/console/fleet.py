"""A console over real facts, without a network: registry, operations and journal are the product's own, clocks
and samples stand still unless a test moves them."""

import math
from dataclasses import dataclass, field
from random import Random

from gateway.kubernetes.status import DiscoveryStatus
from gateway.operations import Operations
from gateway.proxy.explain import Explainer
from gateway.proxy.fleet import Fleet as Routing
from gateway.proxy.fleet import RoutingPlan
from gateway.proxy.flights import Flight
from gateway.settings.effective import effective
from gateway.settings.model import Settings
from gateway.telemetry.history import MEASURES, History
from gateway.telemetry.sampler import FleetSample
from gateway.telemetry.samples import Measure, WorkerSample
from gateway.tokenizers.commands import TokenizerOperations
from gateway.tokenizers.registry import TokenizerRegistry
from gateway.workers.entry import Entry
from gateway.workers.facts import Cause
from gateway.workers.health import ProbeResult
from gateway.workers.latency import Percentiles
from gateway.workers.meters import EngineLoad
from gateway.workers.model import Capabilities, Engine, Intent, ModelCard, WorkerId, WorkerSpec
from gateway.workers.registry import Registry
from gateway.workers.rolling_jobs import RollingDrains
from smg_console.local import LocalPlane
from smg_console.plane import GatewayRow

PROBES = Cause("health checker")
DISCOVERY = Cause("capability discovery")
START = 1_790_000_000.0


@dataclass
class Clock:
    """Wall and monotonic time that a test moves."""

    now: float = START

    def wall(self) -> float:
        return self.now

    def mono(self) -> float:
        return self.now - START


@dataclass
class FixedSamples:
    """Samples that a test sets."""

    fleet: FleetSample = FleetSample()  # noqa: RUF009 - frozen
    taken: int = 0
    samples: dict[WorkerId, WorkerSample] = field(default_factory=dict)
    histories: dict[WorkerId | str | None, History] = field(default_factory=dict)
    """By worker's id or model's name; None: the fleet's."""

    def sample(self, worker_id: WorkerId) -> WorkerSample:
        return self.samples.get(worker_id, WorkerSample())

    def history(self, worker_id: WorkerId | None = None, model: str | None = None) -> History | None:
        return self.histories.get(worker_id or model)


class Fleet:
    """A gateway's facts and a plane over them."""

    def __init__(self, *, read_only: bool = False) -> None:
        self.attached = False
        """Consoles of it are attached from elsewhere, rather than in its process."""
        self.clock = Clock()
        self.registry = Registry(wall=self.clock.wall, mono=self.clock.mono, rng=Random(7))
        self.probed: list[WorkerId] = []
        self.operations = Operations(
            self.registry, wall=self.clock.wall, drain_timeout_s=300, probe_now=self.probed.append
        )
        self.rolling = RollingDrains(self.registry, wall=self.clock.wall, drain=self.operations.begin_drain)
        """Its jobs end only where it is entered."""
        self.samples = FixedSamples()
        self.loop_late_ms = 1.0
        self.flying: list[Flight] = []
        """Requests under way."""
        self.discovery: DiscoveryStatus | None = None
        self.tokenizers = TokenizerRegistry(
            wall=self.clock.wall,
            rng=Random(8),
            note=lambda topic, text, actor: self.registry.note(topic, text, Cause(actor or "gateway")),
        )
        """Loads only once it is entered."""
        self.tokenizer_operations = TokenizerOperations(
            self.tokenizers, lambda: (entry.worker for entry in self.registry.entries.values())
        )
        self.routing = Routing(self.registry, RoutingPlan("power_of_two"), Random(9))
        self.registry.watch(self.routing.heed)
        self.explainer = Explainer(self.routing, self.tokenizers, self.clock.mono)
        given = {"port": "SMG_CONSOLE_PORT", "policy": "--policy", "worker_urls": "smg.toml: worker-urls"}
        chosen = Settings(port=30000, policy="power_of_two", worker_urls=("http://10.1.0.1:8000",))
        self.settings = effective(chosen, given)
        self.plane = LocalPlane(
            self.registry,
            self.operations,
            self.samples,
            self.gateway_row,
            discovery=lambda: self.discovery,
            tokenizers=self.tokenizer_operations,
            rolling=self.rolling,
            explainer=self.explainer,
            flights=self.flights_of,
            settings=self.settings,
            read_only=read_only,
            actor="console",
        )

    def flights_of(self, most: int, worker_id: WorkerId | None) -> list[Flight]:
        return [flight for flight in self.flying if worker_id in (None, flight.worker, flight.prefill)][:most]

    def gateway_row(self) -> GatewayRow:
        return GatewayRow(
            version="0.1.0",
            address="http://127.0.0.1:30000",
            metrics_address="http://127.0.0.1:29000",
            started_at=START - 3725,
            now=self.clock.now,
            policy="power_of_two",
            requests_per_s=self.samples.fleet.requests_per_s,
            errors_per_s=self.samples.fleet.errors_per_s,
            in_flight=sum(entry.meters.in_flight for entry in self.registry.entries.values()),
            loop_late_ms=self.loop_late_ms,
            stopping=False,
        )

    def add(self, url: str, model: str = "", *, ready: bool = True) -> Entry:
        """A worker, by default ready."""
        models = (ModelCard(model),) if model else ()
        entry = self.registry.register(WorkerSpec(url, models=models), Cause("command line"))
        if ready:
            for _ in range(2):
                self.probe(entry, ok=True)
            found = Capabilities(engine=Engine.VLLM, version="0.32.0", model_id=model or None, context_length=8192)
            self.registry.observe_capabilities(entry.worker.id, entry.worker.revision, found, DISCOVERY)
        return entry

    def probe(self, entry: Entry, *, ok: bool, error: str = "connection refused") -> None:
        """One probe's result."""
        result = ProbeResult(ok, 0.0021, "" if ok else error)
        self.registry.observe_probe(entry.worker.id, entry.worker.revision, result, PROBES)

    def state(self, entry: Entry) -> str:
        """The worker's state, or `gone`."""
        listed = self.registry.entries.get(entry.worker.id)
        return listed.worker.state.value if listed is not None else "gone"


def busy_fleet() -> Fleet:
    """Eight workers, one in each state and some under load, with five minutes of history."""
    fleet = Fleet()
    llama, qwen = "llama-3.1-8b", "qwen2.5-14b"
    entries = [fleet.add(f"http://10.1.0.{n}:8000", (llama, qwen)[n % 2]) for n in range(1, 7)]
    fleet.clock.now += 95
    for _ in range(3):
        fleet.probe(entries[1], ok=False)
    fleet.registry.cordon(entries[2], "disk is being swapped", Cause("console"))
    loading = fleet.add("http://10.1.0.7:8000", llama, ready=False)
    fleet.probe(loading, ok=False, error="/health answered 503")
    failed = fleet.add("http://10.1.0.8:8000", qwen, ready=False)
    fleet.probe(failed, ok=False, error="cannot resolve host engine-8")
    fleet.registry.registration_timeout(failed.worker.id, 1, 1800, Cause("deadline"))
    for n, entry in enumerate(entries):
        for _ in range((n * 3 + 2) % 7):
            entry.meters.began()
        entry.load = EngineLoad(fleet.clock.mono(), running=n, waiting=(n * 5) % 9, kv_usage=n * 0.17)
        fleet.samples.samples[entry.worker.id] = WorkerSample(
            requests_per_s=3.2 * n,
            errors_per_s=0.0,
            error_rate=(0.0, 0.034, None)[n % 3],
            response=Percentiles(0.8 + n / 10, 1.9, 2.4 + n, 120),
            ttft=Percentiles(0.11 * (n + 1), 0.3, 0.5, 120),
        )
    now = fleet.clock.wall()
    fleet.registry.drain(entries[4], Intent.HOLD, now + 240, "drain asked by console", Cause("console"))
    fleet.samples.fleet = FleetSample(requests_per_s=48.2, errors_per_s=0.3)
    fleet.samples.histories[None] = wave(40, 17)
    for n, entry in enumerate(entries):
        fleet.samples.histories[entry.worker.id] = wave(5 + n, 9 + n)
    fleet.samples.taken = 300
    return fleet


def wave(size: float, period: float) -> History:
    """A history that goes up and down, up to now."""
    history = History()
    for n in range(300):
        level = 1 + math.sin(n / period)
        values = {
            Measure.REQUESTS: size * level,
            Measure.IN_FLIGHT: size / 3 * level,
            Measure.P50: 0.4 + 0.1 * level,
            Measure.P99: 1.0 + level,
        }
        history.append(int(START) - 205 + n, [values.get(measure, math.nan) for measure in MEASURES])
    return history
