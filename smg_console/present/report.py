"""Reports to keep or to send: the fleet or one worker, as Markdown for people or as JSON for programs. Pure."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from gateway.api.schemas import plain
from gateway.events import Event
from gateway.workers.availability import availability
from gateway.workers.latency import Percentiles
from gateway.workers.model import WorkerId
from smg_console.plane import GatewayRow, WorkerRow
from smg_console.present import feed, numbers
from smg_console.present.incidents import Incident
from smg_console.present.runs import printable
from smg_console.present.states import state_word

EVENTS = 50
"""The newest, in a report."""


def _when(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cell(value: object) -> str:
    """Safe within a table: no line breaks, no bars, no control characters."""
    return printable(str(value)).replace("|", "\\|")


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return [
        f"| {' | '.join(titles)} |",
        f"|{'---|' * len(titles)}",
        *(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows),
    ]


def fleet_markdown(
    gateway: GatewayRow,
    rows: Sequence[WorkerRow],
    found: Sequence[Incident],
    events: Sequence[Event],
    names: Mapping[WorkerId, str],
) -> str:
    """Incidents, a table of the workers, and the newest events."""
    lines = [
        f"# Fleet of {gateway.address}",
        "",
        f"{_when(gateway.now)}, smg-console {gateway.version}, up {numbers.age(gateway.now - gateway.started_at)}, "
        f"policy {gateway.policy}: {numbers.rate(gateway.requests_per_s)} requests/s, "
        f"{numbers.rate(gateway.errors_per_s)} errors/s, {gateway.in_flight} in flight, "
        f"loop {gateway.loop_late_ms:.0f} ms late.",
        "",
        "## Incidents",
        "",
        *(_incident(one) for one in found),
        *([] if found else ["None."]),
        "",
        f"## Workers ({len(rows)})",
        "",
        *_table(
            (
                "worker",
                "URL",
                "model",
                "state",
                "since",
                "takes requests",
                "req/s",
                "in flight",
                "p50",
                "p99",
                "errors",
            ),
            [_worker_cells(row) for row in rows],
        ),
        "",
        "## Events, newest last",
        "",
        *_events(events, names),
    ]
    return "\n".join(lines) + "\n"


def _incident(one: Incident) -> str:
    since = f" since {_when(one.since)}" if one.since is not None else ""
    return f"- **{printable(one.word)}**{since}: {printable(one.text)}"


def _worker_cells(row: WorkerRow) -> tuple[object, ...]:
    worker = row.worker
    found = availability(worker)
    return (
        worker.name,
        worker.url,
        ", ".join(worker.models) or "any",
        state_word(worker),
        _when(worker.since),
        "yes" if found.routable else f"no: {found.because}",
        numbers.rate(row.sample.requests_per_s),
        row.in_flight,
        numbers.duration(row.sample.response.p50),
        numbers.duration(row.sample.response.p99),
        numbers.percent(row.sample.error_rate),
    )


def _events(events: Sequence[Event], names: Mapping[WorkerId, str]) -> list[str]:
    told = []
    for event in events[-EVENTS:]:
        worker = names.get(event.fact.worker, "?") if event.fact.worker is not None else "gateway"
        _, what, why, _ = feed.described(event)
        told.append((_when(event.at), worker, what, why, event.cause.actor))
    return _table(("time", "worker", "what", "why", "by"), told) if told else ["None."]


def worker_markdown(gateway: GatewayRow, row: WorkerRow, events: Sequence[Event]) -> str:
    """Where it stands and why, its numbers, how it came there, and its newest events."""
    worker, health = row.worker, row.health
    facts: list[tuple[str, object]] = [
        ("state", f"{state_word(worker)} since {_when(worker.since)}: {worker.reason}"),
        ("takes requests", "yes" if availability(worker).routable else f"no: {availability(worker).because}"),
        ("model", ", ".join(worker.models) or "any"),
        ("engine", f"{worker.capabilities.engine} {worker.capabilities.version or ''}".strip()),
        ("health", f"{worker.health}; {health.counter.ok_run} good, {health.counter.fail_run} bad probes in a row"),
        ("last bad probe", health.last_error or "none"),
        ("requests", f"{row.requests} in all, {row.in_flight} in flight, {row.errors} errors"),
        ("response", _percentiles(row.sample.response)),
        ("first byte", _percentiles(row.sample.ttft)),
        ("last error", row.last_error or "none"),
    ]
    mine = [event for event in events if event.fact.worker == worker.id]
    lines = [
        f"# Worker {worker.name}: {worker.url}",
        "",
        f"{_when(gateway.now)}, of the gateway {gateway.address}, id {worker.id}.",
        "",
        *_table(("fact", "value"), facts),
        "",
        "## How it came there",
        "",
        *_table(
            ("time", "from", "to", "why", "who"),
            [(_when(move.at), move.old or "–", move.new, move.why, move.who) for move in worker.transitions],
        ),
        "",
        "## Events, newest last",
        "",
        *_events(mine, {worker.id: worker.name}),
    ]
    return "\n".join(lines) + "\n"


def _percentiles(found: Percentiles) -> str:
    p50, p95, p99 = (numbers.duration(value) for value in (found.p50, found.p95, found.p99))
    return f"p50 {p50}, p95 {p95}, p99 {p99} over {found.count}"


def as_json(gateway: GatewayRow, rows: Sequence[WorkerRow], found: Sequence[Incident], events: Sequence[Event]) -> str:
    """The same facts whole; keys of workers are left out."""
    told = {
        "at": _when(gateway.now),
        "gateway": plain(gateway),
        "incidents": [plain(one) for one in found],
        "workers": [plain(row) for row in rows],
        "events": [{"kind": event.fact.kind, **_plain_event(event)} for event in events[-EVENTS:]],
    }
    return json.dumps(told, indent=2, default=str) + "\n"


def _plain_event(event: Event) -> dict[str, object]:
    return {"seq": event.seq, "at": _when(event.at), "by": event.cause.actor, "fact": plain(event.fact)}
