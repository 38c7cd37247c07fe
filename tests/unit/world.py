"""Values for tests of the pure parts: a registry with clocks that a test moves, and shorthand for observations."""

from collections.abc import Callable
from random import Random

from gateway.events import Journal
from gateway.workers.entry import Entry
from gateway.workers.facts import Cause, Event, fold
from gateway.workers.health import ProbeResult
from gateway.workers.model import Capabilities, Engine, HealthSettings, Worker, WorkerId, WorkerSpec
from gateway.workers.registry import Registry

TEST = Cause("test")


class World:
    """A registry in a time of its own."""

    def __init__(
        self,
        settings: HealthSettings | None = None,
        journal_size: int = 100_000,
        mono: Callable[[], float] | None = None,
    ) -> None:
        self.now = 1000.0
        self.mono = mono or (lambda: self.now)
        journal = Journal(self.wall, self.mono, journal_size)
        self.registry = Registry(
            wall=self.wall, mono=self.mono, rng=Random(1), health_settings=settings, journal=journal
        )

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now

    def add(self, url: str = "http://a:1", **spec: object) -> Entry:
        return self.registry.register(WorkerSpec(url, **spec), TEST)  # type: ignore[arg-type]  # fields of a spec

    def ready(self, url: str = "http://a:1", model: str = "m", **spec: object) -> Entry:
        """A worker that takes traffic."""
        entry = self.add(url, **spec)
        self.probe(entry, True, True)
        self.discover(entry, model)
        assert entry.worker.state == "ready"
        return entry

    def probe(self, entry: Entry, *results: bool, revision: int | None = None) -> None:
        for ok in results:
            result = ProbeResult(ok, 0.01, "" if ok else "connection refused")
            asked = entry.worker.revision if revision is None else revision
            self.registry.observe_probe(entry.worker.id, asked, result, TEST)

    def discover(self, entry: Entry, model: str | None = "m", revision: int | None = None) -> None:
        found = Capabilities(engine=Engine.VLLM, model_id=model)
        asked = entry.worker.revision if revision is None else revision
        self.registry.observe_capabilities(entry.worker.id, asked, found, TEST)

    def events(self) -> list[Event]:
        journal = self.registry.journal
        return journal.after(0, journal.seq)

    def folded(self) -> dict[WorkerId, Worker]:
        """What folding the whole journal over nothing gives."""
        found: dict[WorkerId, Worker] = {}
        for event in self.events():
            worker_id = event.fact.worker
            if worker_id is None:
                continue
            after = fold(found.get(worker_id), event)
            if after is None:
                del found[worker_id]
            else:
                found[worker_id] = after
        return found
