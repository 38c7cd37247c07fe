"""Workers for tests of routing: real meters, and a load report that tells the meters' mirrors as an entry does."""

from gateway.workers.entry import Entry
from gateway.workers.meters import Outcome
from gateway.workers.model import State, Worker, WorkerId, WorkerSpec

NOW = 1000.0


def entry(name: str = "w", in_flight: int = 0, *, priority: int = 50, cost: float = 1.0) -> Entry:
    """A ready worker with so many requests in flight."""
    spec = WorkerSpec(f"http://{name}:1", priority=priority, cost=cost)
    made = Entry(Worker(WorkerId(f"id-{name}"), name, spec, 1, State.READY, 0.0, 0.0, ""))
    for _ in range(in_flight):
        made.meters.began()
    return made


def fleet(count: int) -> tuple[Entry, ...]:
    return tuple(entry(f"w{n}") for n in range(count))


def end(one: Entry) -> None:
    one.meters.ended(Outcome.OK, 0.1, NOW)
