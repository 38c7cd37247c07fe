"""Numbers for consoles, pushed: what changed since the last time, found once for all who listen.

A worker's numbers are looked at in groups (counts, sample, load report, last error, probes), each with the round in
which it last changed; a listener is told the groups that changed after the round he knows. A listener in step gets
bytes that were made for all; one who was slow gets his own. Nothing is kept for a listener but his round.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gateway.api.app import ApiParts, packed
from gateway.api.discovery import discovery_json
from gateway.api.rolling import rolling_json
from gateway.api.schemas import gateway_json, person_json, timestamp
from gateway.api.tokenizers import detail
from gateway.kubernetes.status import DiscoveryStatus
from gateway.presence import Person
from gateway.tasks import in_slices
from gateway.telemetry.history import MEASURES
from gateway.telemetry.samples import WorkerSample
from gateway.tokenizers.status import TokenizerStatus
from gateway.workers.entry import Entry
from gateway.workers.latency import Percentiles
from gateway.workers.meters import EngineLoad
from gateway.workers.model import WorkerId
from gateway.workers.rolling_jobs import RollingStatus

LEAST_S = 0.9
"""Within so many seconds all listeners get the same round."""
AGES_S = 10.0
"""How often a discovery is told again in which only ages and counts moved."""
SLICE = 50
"""Workers looked at without a yield: a third of a millisecond, and twice that when all of them changed."""
NUMBERS = frozenset({"at", "requests_per_s", "errors_per_s", "in_flight", "loop_late_ms", "stopping", "people"})
"""Members of the gateway's JSON that change."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where a listener knows everything. `wall`: when that round began."""

    round: int = 0
    wall: float = 0.0


class _Known:
    """One worker's numbers in the last round, and for each group the round in which it changed."""

    __slots__ = ("changed", "groups")

    def __init__(self) -> None:
        self.groups: tuple[object, ...] = ()
        self.changed = [0] * len(GROUPS)

    def look(self, entry: Entry, sample: WorkerSample, now: int) -> None:
        groups = (_counts(entry), sample, entry.load, entry.meters.last_error_at, _health(entry))
        if groups != self.groups:
            before = self.groups or (None,) * len(GROUPS)
            for number, (old, new) in enumerate(zip(before, groups, strict=True)):
                if not self.groups or old != new:
                    self.changed[number] = now
            self.groups = groups


class Board:
    """The numbers of all workers as of the last round."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._known: dict[WorkerId, _Known] = {}
        self._at = float("-inf")
        self._mark = Mark()
        self._before = Mark()
        self._busy = False
        self._message = b""
        """What is new between `_before` and `_mark`."""
        self._told_discovery: tuple[object, ...] | None = None
        self._discovery_at = float("-inf")
        self._extras: dict[str, tuple[int, bytes]] = {}
        """The last message of each other kind, with its round."""
        self._tokenizers: Sequence[TokenizerStatus] = []
        self._people: Sequence[Person] = ()
        self._rollings: Sequence[RollingStatus] = ()

    async def news(self, mark: Mark) -> tuple[bytes, Mark]:
        """What changed after the mark, as messages of the event stream, and the mark for the next time."""
        now = self._parts.mono()
        if not self._busy and now - self._at >= LEAST_S:
            self._busy, self._at = True, now
            try:
                await self._begin_round(now)
            finally:
                self._busy = False
        reached, before = self._mark, self._before
        extras = b"".join(message for number, message in self._extras.values() if number > mark.round)
        if mark == before:
            return self._message + extras, reached
        return await self._rows_since(mark) + extras, reached

    async def _begin_round(self, now: float) -> None:
        parts, before = self._parts, self._mark
        mark = Mark(before.round + 1, parts.status().now)
        entries = parts.registry.entries

        def look(entry: Entry) -> None:
            known = self._known.get(entry.worker.id)
            if known is None:
                known = self._known[entry.worker.id] = _Known()
            known.look(entry, parts.samples.sample(entry.worker.id), mark.round)

        await in_slices(list(entries.values()), look, size=SLICE)
        for gone in self._known.keys() - entries.keys():
            del self._known[gone]
        self._look_at_discovery(now, mark.round)
        self._look_at_tokenizers(mark.round)
        self._look_at_people(mark.round)
        self._look_at_rollings(mark.round)
        message = await self._rows_since(before)
        self._mark, self._before, self._message = mark, before, message

    async def _rows_since(self, mark: Mark) -> bytes:
        """A `meters` message with the workers that changed after the mark."""
        entries = self._parts.registry.entries
        changed = [
            (entry, known)
            for worker_id, known in self._known.items()
            if max(known.changed) > mark.round and (entry := entries.get(worker_id)) is not None
        ]
        rows = await in_slices(changed, lambda pair: packed(_row(*pair, mark)), size=SLICE)
        status = gateway_json(self._parts.status(), self._parts.boot)
        body = {
            "gateway": {name: value for name, value in status.items() if name in NUMBERS},
            "fleet": self._fleet(),
            "workers": rows,
        }
        return sse("meters", "", body)

    def _fleet(self) -> dict[str, object] | None:
        """The newest second of the fleet's history."""
        history = self._parts.samples.history()
        newest = history.newest() if history is not None else None
        if history is None or newest is None:
            return None
        values = {name.value: round(value, 4) for name, value in zip(MEASURES, newest, strict=True)}
        return {"end": timestamp(history.end), "measures": values}

    def _look_at_discovery(self, now: float, number: int) -> None:
        if self._parts.discovery is None:
            return
        status = self._parts.discovery()
        told = _told_of(status)
        if told != self._told_discovery or now - self._discovery_at >= AGES_S:
            self._told_discovery, self._discovery_at = told, now
            self._extras["discovery"] = number, sse("discovery", "", discovery_json(status))

    def _look_at_tokenizers(self, number: int) -> None:
        found = self._parts.tokenizer_operations.statuses()
        if found != self._tokenizers:
            self._tokenizers = found
            body = {"tokenizers": [detail(status) for status in found]}
            self._extras["tokenizers"] = number, sse("tokenizers", "", body)

    def _look_at_people(self, number: int) -> None:
        found = self._parts.presence.people()
        if found != self._people:
            self._people = found
            self._extras["people"] = number, sse("people", "", {"people": [person_json(person) for person in found]})

    def _look_at_rollings(self, number: int) -> None:
        found = self._parts.rolling.statuses()
        if found != self._rollings:
            self._rollings = found
            body = {"rolling_drains": [rolling_json(job) for job in found]}
            self._extras["rolling_drains"] = number, sse("rolling_drains", "", body)


def _told_of(status: DiscoveryStatus) -> tuple[object, ...]:
    """What of a discovery is told at once when it changes: not ages and counts."""
    watch = status.watch
    known = (watch.synced, watch.watching, watch.blind_since, watch.blind_why, watch.missing_permission)
    lists = (watch.last_relist_at, watch.last_drift, watch.source)
    pods = (status.matched, status.ready, status.registered, dict(status.skipped), dict(status.notes))
    return (*known, *lists, *pods, status.sharing)


def _counts(entry: Entry) -> tuple[object, ...]:
    meters = entry.meters
    return meters.in_flight, meters.requests, meters.errors, meters.cancelled, entry.overloaded


def _health(entry: Entry) -> tuple[object, ...]:
    health = entry.health
    return health.counter, health.last_check, health.last_error


def _row(entry: Entry, known: _Known, mark: Mark) -> dict[str, object]:
    row: dict[str, object] = {"id": entry.worker.id}
    for group, changed in zip(GROUPS, known.changed, strict=True):
        if changed > mark.round:
            group(row, entry, known, mark)
    return row


def _say_counts(row: dict[str, object], entry: Entry, known: _Known, mark: Mark) -> None:
    meters = entry.meters
    row["in_flight"], row["requests"] = meters.in_flight, meters.requests
    row["errors"], row["cancelled"] = meters.errors, meters.cancelled
    row["overloaded"] = entry.overloaded


def _say_sample(row: dict[str, object], entry: Entry, known: _Known, mark: Mark) -> None:
    sample = known.groups[1]
    assert isinstance(sample, WorkerSample)
    row["requests_per_s"] = round(sample.requests_per_s, 3)
    row["errors_per_s"] = round(sample.errors_per_s, 3)
    row["error_rate"] = _rounded(sample.error_rate, 5)
    row["prompt_tokens_per_s"] = _rounded(sample.prompt_per_s, 2)
    row["output_tokens_per_s"] = _rounded(sample.output_per_s, 2)
    row["response_ms"] = _percentiles(sample.response)
    row["ttft_ms"] = _percentiles(sample.ttft)


def _say_load(row: dict[str, object], entry: Entry, known: _Known, mark: Mark) -> None:
    load = entry.load
    row["queue_depth"] = load.waiting if load else None
    row["kv_usage"] = load.kv_usage if load else None
    row["load_report"] = _load(load) if load else None


def _load(load: EngineLoad) -> dict[str, object]:
    told = {
        "num_running_reqs": load.running,
        "num_waiting_reqs": load.waiting,
        "token_usage": load.kv_usage,
        "gen_throughput": load.throughput,
        "cache_hit_rate": load.cache_hit_rate,
        "num_used_tokens": load.used_tokens,
        "max_total_num_tokens": load.max_tokens,
    }
    return {name: value for name, value in told.items() if value is not None}


def _say_error(row: dict[str, object], entry: Entry, known: _Known, mark: Mark) -> None:
    row["last_request_error"] = entry.meters.last_error or None
    row["last_request_error_at"] = timestamp(entry.meters.last_error_at)


def _say_health(row: dict[str, object], entry: Entry, known: _Known, mark: Mark) -> None:
    health = entry.health
    row["health_status"] = {
        "status": health.counter.verdict.value,
        "suspect": health.counter.suspect,
        "consecutive_failures": health.counter.fail_run,
        "consecutive_successes": health.counter.ok_run,
        "last_check": timestamp(health.last_check),
        "last_error": health.last_error or None,
        "latency_ms": _rounded(health.latency_ms, 2),
        "last_change": timestamp(health.last_change),
    }
    # In seconds since the epoch and milliseconds, negative for a probe that failed: a strip of sixty is 1.5 KB so.
    row["probes"] = [
        [round(probe.at, 3), round(probe.latency_s * (1000 if probe.ok else -1000), 2)]
        for probe in health.recent
        if probe.at >= mark.wall
    ]


GROUPS = (_say_counts, _say_sample, _say_load, _say_error, _say_health)


def _percentiles(of: Percentiles) -> dict[str, object]:
    return {
        "p50": _milliseconds(of.p50),
        "p95": _milliseconds(of.p95),
        "p99": _milliseconds(of.p99),
        "count": of.count,
    }


def _milliseconds(value: float | None) -> float | None:
    return None if value is None else round(value * 1000, 2)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def sse(name: str, event_id: str, value: object) -> bytes:
    """One message of the event stream."""
    head = f"event: {name}\nid: {event_id}\ndata: " if event_id else f"event: {name}\ndata: "
    return head.encode() + msgspec.json.encode(value) + b"\n\n"
