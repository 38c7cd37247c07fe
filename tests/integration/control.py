"""The control API for tests: its application over real facts, reached with aiohttp's test client."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from aiohttp.test_utils import TestClient, TestServer

from gateway.api.app import ApiParts, build_app
from gateway.events import Journal
from gateway.operations import Operations
from gateway.proxy.explain import Explainer
from gateway.proxy.fleet import Fleet, RoutingPlan
from gateway.proxy.flights import Flight
from gateway.settings.effective import effective
from gateway.settings.model import Settings
from gateway.telemetry.history import History
from gateway.telemetry.samples import WorkerSample
from gateway.telemetry.status import GatewayStatus
from gateway.tokenizers.commands import TokenizerOperations
from gateway.tokenizers.registry import TokenizerRegistry
from gateway.workers.ask import Answer, Unreachable
from gateway.workers.entry import Entry
from gateway.workers.facts import Cause
from gateway.workers.health import ProbeResult
from gateway.workers.model import Capabilities, Engine, Worker, WorkerId
from gateway.workers.registry import Registry
from gateway.workers.rolling_jobs import RollingDrains

TEST = Cause("test")


class NoSamples:
    """No rates, and the histories that a test puts here."""

    def __init__(self) -> None:
        self.histories: dict[WorkerId | str | None, History] = {}
        """By worker's id or model's name; None: the fleet's."""

    def sample(self, worker_id: WorkerId) -> WorkerSample:
        return WorkerSample()

    def history(self, worker_id: WorkerId | None = None, model: str | None = None) -> History | None:
        return self.histories.get(worker_id or model)


class Control:
    """The application's parts, and a client."""

    def __init__(self, journal_size: int = 10_000) -> None:
        journal = Journal(time.time, time.monotonic, journal_size)
        self.registry = Registry(wall=time.time, mono=time.monotonic, rng=Random(3), journal=journal)
        self.probed: list[WorkerId] = []
        self.operations = Operations(self.registry, wall=time.time, drain_timeout_s=300, probe_now=self.probed.append)
        self.stopping = False
        self.samples = NoSamples()
        self.flying: list[Flight] = []
        self.answers: dict[str, Answer] = {}
        """What workers answer, by `URL path`; anything else is refused."""
        self.tokenizers = TokenizerRegistry(wall=time.time, rng=Random(3))
        self.rolling = RollingDrains(self.registry, wall=time.time, drain=self.operations.begin_drain)
        self.client: TestClient

    def status(self) -> GatewayStatus:
        flying = sum(entry.meters.in_flight for entry in self.registry.entries.values())
        return GatewayStatus(
            version="0.1.0",
            address="http://127.0.0.1:30000",
            metrics_address=None,
            started_at=1.0,
            now=time.time(),
            policy="round_robin",
            requests_per_s=0.0,
            errors_per_s=0.0,
            in_flight=flying,
            loop_late_ms=0.0,
            stopping=self.stopping,
        )

    async def ask(self, worker: Worker, method: str, path: str, **_: object) -> Answer:
        found = self.answers.get(f"{worker.url}{path}")
        if found is None:
            raise Unreachable("connection refused")
        return found

    def flights(self, most: int, worker_id: WorkerId | None) -> list[Flight]:
        return [flight for flight in self.flying if worker_id in (None, flight.worker)][:most]

    def ready(self, url: str, model: str = "m", engine: Engine = Engine.SGLANG) -> Entry:
        entry = self.registry.find(url) if self.registry.by_url(url) else None
        if entry is None:
            from gateway.workers.model import WorkerSpec

            entry = self.registry.register(WorkerSpec(url), TEST)
        worker = entry.worker
        for _ in range(2):
            self.registry.observe_probe(worker.id, worker.revision, ProbeResult(True, 0.001), TEST)
        found = Capabilities(engine=engine, model_id=model, models=(model,), labels={"model_path": "/m"})
        self.registry.observe_capabilities(worker.id, worker.revision, found, TEST)
        return entry

    async def call(self, method: str, path: str, **options: object) -> tuple[int, object]:
        """Status and JSON (or text)."""
        async with self.client.request(method, path, **options) as answer:  # type: ignore[arg-type]  # aiohttp's own
            if answer.content_type == "application/json":
                return answer.status, await answer.json()
            return answer.status, await answer.text()


@asynccontextmanager
async def control(journal_size: int = 10_000) -> AsyncIterator[Control]:
    """A running control API."""
    made = Control(journal_size)
    fleet = Fleet(made.registry, RoutingPlan("round_robin"), Random(1))
    parts = ApiParts(
        registry=made.registry,
        operations=made.operations,
        ask=made.ask,  # type: ignore[arg-type]  # takes the same and more
        samples=made.samples,
        stopping=lambda: made.stopping,
        mono=time.monotonic,
        settings=effective(Settings(), {"port": "--port"}),
        tokenizers=made.tokenizers,
        tokenizer_operations=TokenizerOperations(
            made.tokenizers, lambda: (entry.worker for entry in made.registry.entries.values())
        ),
        fleet=fleet,
        rolling=made.rolling,
        explainer=Explainer(fleet, made.tokenizers, time.monotonic),
        version="0.1.0",
        boot="boot",
        status=made.status,
        flights=made.flights,
    )
    async with made.tokenizers, made.rolling, TestClient(TestServer(build_app(parts))) as made.client:
        yield made
