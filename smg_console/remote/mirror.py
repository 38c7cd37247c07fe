"""What an attached console knows of its gateway: facts folded from events, numbers as they were pushed.

Fed with the event stream's messages in their order; reads never wait. Facts are folded by the gateway's own `fold`.
Large messages are taken in slices, so that drawing goes on. Fetching and connecting are `feed`'s.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from gateway.errors import WorkerNotFound
from gateway.events import JOURNAL_SIZE, Event, Lagged
from gateway.kubernetes.status import DiscoveryStatus
from gateway.presence import Person
from gateway.tasks import in_slices
from gateway.telemetry.history import RECENT_S, Stretch
from gateway.telemetry.samples import WorkerSample
from gateway.telemetry.status import GatewayStatus
from gateway.tokenizers.status import TokenizerStatus
from gateway.workers.entry import Probe, ProbeStrip
from gateway.workers.facts import fold
from gateway.workers.health import HealthCounter
from gateway.workers.meters import EngineLoad
from gateway.workers.model import Health, Worker, WorkerId
from gateway.workers.rolling_jobs import RollingStatus
from smg_console.plane import HealthRow, WorkerRow
from smg_console.remote.decode import event_of, moment, moment_or, worker_of
from smg_console.remote.readings import (
    discovery_of,
    gateway_of,
    joined,
    load_of,
    people_of,
    percentiles_of,
    rollings_of,
    stretch_of,
    tokenizer_of,
)

Json = dict[str, Any]
SLICE = 20
"""Workers of a snapshot taken without a yield: about a millisecond."""
ROWS = 100
"""The same, of numbers."""


SPARE = 100


class _Snapshot(msgspec.Struct):
    seq: int
    gateway: Json
    workers: list[msgspec.Raw]


class _Meters(msgspec.Struct):
    gateway: Json
    fleet: Json | None
    workers: list[msgspec.Raw]


class Numbers:
    """One worker's numbers, as last pushed."""

    __slots__ = ("cancelled", "error", "error_at", "errors", "health", "in_flight", "load", "requests", "sample")

    def __init__(self) -> None:
        self.in_flight = self.requests = self.errors = self.cancelled = 0
        self.error = ""
        self.error_at: float | None = None
        self.sample = WorkerSample()
        self.load: EngineLoad | None = None
        self.health = HealthRow(HealthCounter(), None, None, "", None, ProbeStrip())

    def take(self, row: Json, now: float) -> None:
        """Take over the groups that changed."""
        if "in_flight" in row:
            self.in_flight, self.requests = row["in_flight"], row["requests"]
            self.errors, self.cancelled = row["errors"], row["cancelled"]
        if "response_ms" in row:
            self.sample = WorkerSample(
                requests_per_s=row["requests_per_s"],
                errors_per_s=row["errors_per_s"],
                error_rate=row["error_rate"],
                response=percentiles_of(row["response_ms"]),
                ttft=percentiles_of(row["ttft_ms"]),
                prompt_per_s=row["prompt_tokens_per_s"],
                output_per_s=row["output_tokens_per_s"],
            )
        if "load_report" in row:
            report = row["load_report"]
            self.load = load_of(report, now) if report is not None else None
        if "last_request_error" in row:
            self.error, self.error_at = row["last_request_error"] or "", moment(row["last_request_error_at"])
        if "health_status" in row:
            self.health = self._health(row["health_status"], row["probes"])

    def _health(self, told: Json, probes: list[list[float]]) -> HealthRow:
        strip = self.health.recent
        last = next((probe.at for probe in reversed(list(strip))), 0.0)
        for at, signed in probes:
            if at > last:
                strip.append(Probe(at, signed > 0, abs(signed) / 1000))
        counter = HealthCounter(
            ok_run=told["consecutive_successes"],
            fail_run=told["consecutive_failures"],
            verdict=Health(told["status"]),
            suspect=told["suspect"],
        )
        checked, changed = moment(told["last_check"]), moment(told["last_change"])
        return HealthRow(counter, checked, changed, told["last_error"] or "", told["latency_ms"], strip)


class EventLog:
    """The last events in their order and without gaps. Numbers go on growing over a restart of the gateway."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self.seq = 0
        self.whole_after = 0
        """All events with greater numbers are here."""

    def __len__(self) -> int:
        return len(self._events)

    @property
    def oldest(self) -> int:
        """The number of the oldest event that is here; one beyond the newest while there is none."""
        return self._events[0].seq if self._events else self.seq + 1

    def append(self, event: Event) -> None:
        self._events.append(event)
        self.seq = event.seq
        if len(self._events) > JOURNAL_SIZE + JOURNAL_SIZE // 10:
            del self._events[:-JOURNAL_SIZE]
            self.whole_after = max(self.whole_after, self._events[0].seq - 1)

    def prepend(self, events: Sequence[Event]) -> None:
        """Events before the oldest one here, without a gap to it."""
        self._events[:0] = events
        self.whole_after = self.oldest - 1

    def jump(self, seq: int) -> None:
        """What happened up to this number is not known, so that what was before has no place any more."""
        self._events.clear()
        self.seq = self.whole_after = seq

    def last(self, most: int) -> Sequence[Event]:
        return self._events[-most:]

    def after(self, seq: int, most: int) -> Sequence[Event] | Lagged:
        if seq < self.whole_after:
            return Lagged(self.whole_after - seq)
        start = bisect_right(self._events, seq, key=lambda event: event.seq)
        return self._events[start : start + most]


class Mirror:
    """A gateway's picture. `skew_s`: by how much its clock is ahead of ours."""

    def __init__(self) -> None:
        self.boot = ""
        self.gateway: GatewayStatus | None = None
        """As of `heard_at`."""
        self.skew_s = 0.0
        self.heard_at = 0.0
        """When the last message came, by our clock in wall seconds."""
        self.workers: dict[WorkerId, Worker] = {}
        self._numbers: dict[WorkerId, Numbers] = {}
        self.log = EventLog()
        self.base = 0
        """What is added to this boot's event numbers, so that they follow those of the one before."""
        self.last_id = ""
        """Of the last message with an id: where to go on from."""
        self.fleet: Stretch | None = None
        """The fleet's last five minutes."""
        self.fleet_whole = False
        """No second is missing in them."""
        self.ticks = 0
        """Numbers pushed so far."""
        self.discovery: DiscoveryStatus | None = None
        self.discovery_at = 0.0
        self.tokenizers: Sequence[TokenizerStatus] = ()
        self.people: Sequence[Person] = ()
        self.rollings: Sequence[RollingStatus] = ()
        self.moved = asyncio.Event()
        """Set for a moment by every message."""

    # --- taking messages ---

    async def take(self, name: str, event_id: str, raw: bytes, now: float) -> None:
        """The stream's next message. `now` is our wall clock."""
        self.heard_at = now
        match name:
            case "meters":
                await self._take_numbers(msgspec.json.decode(raw, type=_Meters), now)
            case "discovery":
                self._take_discovery(discovery_of(msgspec.json.decode(raw)), now)
            case "tokenizers":
                self.tokenizers = [tokenizer_of(one) for one in msgspec.json.decode(raw)["tokenizers"]]
            case "people":
                self.people = people_of(msgspec.json.decode(raw))
            case "rolling_drains":
                self.rollings = rollings_of(msgspec.json.decode(raw))
            case _:
                self._take_event(event_of(msgspec.json.decode(raw), self.base))
        self.last_id = event_id or self.last_id
        self._wake()

    async def take_snapshot(self, event_id: str, raw: bytes, now: float) -> int:
        """A whole new picture. Returns the number up to which its events happened; they are the caller's to add."""
        snapshot = msgspec.json.decode(raw, type=_Snapshot)
        workers = await in_slices(snapshot.workers, lambda one: worker_of(msgspec.json.decode(one)), size=SLICE)
        if snapshot.gateway["boot"] != self.boot:
            self.boot, self.base = snapshot.gateway["boot"], self.log.seq
            self._numbers, self.fleet, self.discovery, self.tokenizers = {}, None, None, ()
            self.people, self.rollings = (), ()
        self.workers = {worker.id: worker for worker in workers}
        self._numbers = {worker_id: one for worker_id, one in self._numbers.items() if worker_id in self.workers}
        self._take_gateway(gateway_of(snapshot.gateway), now)
        self.heard_at, self.last_id = now, event_id
        return snapshot.seq + self.base

    def add_events(self, events: Sequence[Event], upto: int) -> None:
        """The events that led to a snapshot, up to this number, as far as the journal still has them."""
        new = [event for event in events if event.seq > self.log.seq]
        if new and new[0].seq > self.log.seq + 1:
            self.log.jump(new[0].seq - 1)
        for event in new:
            self.log.append(event)
        if self.log.seq < upto:
            self.log.jump(upto)
        self._wake()

    def _take_event(self, event: Event) -> None:
        worker_id = event.fact.worker
        if event.seq <= self.log.seq:
            return
        if worker_id is not None:
            worker = fold(self.workers.get(worker_id), event)
            if worker is None:
                self.workers.pop(worker_id, None)
                self._numbers.pop(worker_id, None)
            else:
                self.workers[worker_id] = worker
        self.log.append(event)

    async def _take_numbers(self, told: _Meters, now: float) -> None:
        assert self.gateway is not None
        at = moment_or(told.gateway.pop("at"), now)
        self._take_gateway(replace(self.gateway, now=at, **told.gateway), now)

        def take(raw: msgspec.Raw) -> None:
            row: Json = msgspec.json.decode(raw)
            worker_id = WorkerId(row["id"])
            numbers = self._numbers.get(worker_id)
            if numbers is None:
                numbers = self._numbers[worker_id] = Numbers()
            numbers.take(row, now)

        await in_slices(told.workers, take, size=ROWS)
        if len(self._numbers) > len(self.workers) + SPARE:  # rows may come after their workers left
            self._numbers = {one: self._numbers[one] for one in self._numbers.keys() & self.workers.keys()}
        if told.fleet is not None:
            self._take_second(told.fleet)
        self.ticks += 1

    def _take_discovery(self, found: DiscoveryStatus | None, now: float) -> None:
        """What is said of pods stays the same object while it is the same: lines are made of it once."""
        old = self.discovery
        if found is not None and old is not None:
            skipped = old.skipped if found.skipped == old.skipped else found.skipped
            found = replace(found, skipped=skipped, notes=old.notes if found.notes == old.notes else found.notes)
        self.discovery, self.discovery_at = found, now

    def take_rolling(self, job: RollingStatus) -> None:
        """What a command just answered; the next numbers tell it to all."""
        known = {one.id: one for one in self.rollings} | {job.id: job}  # which keeps its place
        self.rollings = list(known.values())

    def _take_gateway(self, status: GatewayStatus, now: float) -> None:
        self.gateway = status
        self.skew_s = status.now - now

    def _take_second(self, told: Json) -> None:
        measures = {name: {"mean": [value], "peak": [value]} for name, value in told["measures"].items()}
        second = stretch_of({"step_secs": 1, "end": told["end"], "measures": measures})
        assert second is not None
        if self.fleet is not None and second.end > self.fleet.end + 1:
            self.fleet_whole = False
        self.fleet = joined(self.fleet, second, RECENT_S)

    def _wake(self) -> None:
        self.moved.set()
        self.moved.clear()

    # --- reading ---

    def now(self, wall: float) -> float:
        """The gateway's clock, by ours."""
        return wall + self.skew_s

    def find(self, text: str) -> Worker:
        """The worker meant by an id, a name or a URL. Raises WorkerNotFound."""
        found = self.workers.get(WorkerId(text))
        if found is None:
            url = text.rstrip("/")
            found = next((one for one in self.workers.values() if text == one.name or url == one.url), None)
        if found is None:
            raise WorkerNotFound(f"no worker has the id, name or URL {text!r}")
        return found

    def row(self, worker_id: WorkerId) -> WorkerRow | None:
        worker = self.workers.get(worker_id)
        if worker is None:
            return None
        numbers = self._numbers.get(worker_id) or _NONE
        return WorkerRow(
            worker=worker,
            in_flight=numbers.in_flight,
            requests=numbers.requests,
            errors=numbers.errors,
            cancelled=numbers.cancelled,
            last_error=numbers.error,
            last_error_at=numbers.error_at,
            sample=numbers.sample,
            load=numbers.load,
            health=numbers.health,
        )

    def in_flight(self, worker_id: WorkerId) -> int:
        return (self._numbers.get(worker_id) or _NONE).in_flight


_NONE = Numbers()
"""Of a worker whose numbers did not come yet."""
