"""One worker in words: facts, health, load, capabilities and history; its JSON. Pure."""

import json

from gateway.api.schemas import plain
from gateway.workers.availability import availability
from gateway.workers.model import Circuit, State
from smg_console.plane import WorkerRow
from smg_console.present import fleet, numbers
from smg_console.present.feed import clock
from smg_console.present.runs import Line, Run
from smg_console.present.states import next_step, state_text

NAME = 15


def _pair(name: str, value: object, style: str = "") -> Line:
    return ((f"  {name:<{NAME}}", "muted"), (str(value), style))


LEFT: Line = ((" This worker has left the fleet; this is how it was last seen. Esc goes back.", "bold warning"),)


def head(row: WorkerRow, now: float, *, gone: bool = False) -> list[Line]:
    """Who it is, how it is and since when, why, and what happens next: three lines."""
    worker = row.worker
    text, style = state_text(worker)
    since = f"since {clock(worker.since)} ({numbers.age(now - worker.since)})"
    return [
        (
            (f" {worker.name} ", "bold reverse accent"),
            (f" {worker.url}  ", "bold"),
            (text, f"bold {style}"),
            (f"  {since}", ""),
        ),
        ((" why   ", "muted"), (fleet.why(row), "")),
        LEFT if gone else ((" next  ", "muted"), (next_step(worker), "")),
    ]


def facts(row: WorkerRow) -> list[Line]:
    """What is asked of it, and what keeps requests from it."""
    worker = row.worker
    drain, available = worker.drain, availability(worker)
    lines = [
        _pair(
            "takes requests",
            "yes" if available.routable else f"no, {available.because.partition(':')[0]}",
            "" if available.routable else "warning",
        ),
        _pair("model", ", ".join(worker.models) or "any (it did not say)"),
        _pair("added", f"{clock(worker.registered_at)} as {worker.spec.source}, revision {worker.revision}"),
        _pair("priority, cost", f"{worker.spec.priority}, {worker.spec.cost:g}"),
        _pair("api key", "set" if worker.spec.api_key else "none"),
        _pair("id", worker.id),
    ]
    if worker.cordoned:
        lines.append(_pair("cordoned", worker.cordon_reason, "warning"))
    breaker = worker.breaker
    if breaker.state is not Circuit.CLOSED:
        until = f", until {clock(breaker.until)}" if breaker.until is not None else ""
        lines.append(_pair("breaker", f"{breaker.state.value}{until}: {breaker.reason}", "unhealthy"))
    else:
        closed = f"closed since {clock(breaker.since)}: {breaker.reason}" if breaker.since is not None else "closed"
        lines.append(_pair("breaker", closed))
    if worker.ejected:
        lines.append(_pair("ejected", worker.ejected, "unhealthy"))
    if drain is not None:
        until = f", until {clock(drain.deadline)}" if drain.deadline is not None else ""
        done = ", drained" if drain.drained else f", {row.in_flight} in flight"
        lines.append(_pair("drains", f"to {drain.intent} since {clock(drain.since)}{until}{done}", "draining"))
    return lines


def health(row: WorkerRow, now: float) -> list[Line]:
    """What its probes say."""
    health = row.health
    counter = health.counter
    last = f"{numbers.age(now - health.last_check)} ago" if health.last_check is not None else "never"
    took = f", took {health.latency_ms:.1f} ms" if health.latency_ms is not None else ""
    run = f"{counter.fail_run} bad" if counter.fail_run else f"{counter.ok_run} good"
    lines = [
        _pair("verdict", f"{row.worker.health}, {run} in a row", "unhealthy" if counter.fail_run else ""),
        _pair("last probe", last + took),
    ]
    if health.last_error:
        lines.append(_pair("last bad probe", health.last_error, "unhealthy"))
    return lines


def load(row: WorkerRow) -> list[Line]:
    """Its numbers now."""
    sample, load = row.sample, row.load
    lines = [
        _pair("requests", f"{row.in_flight} in flight, {numbers.rate(sample.requests_per_s)}/s, {row.requests} in all"),
        _pair(
            "errors",
            f"{numbers.percent(sample.error_rate)} last minute, {row.errors} in all",
            "error" if sample.error_rate else "",
        ),
    ]
    if row.cancelled:
        lines.append(_pair("left early", f"{row.cancelled} clients"))
    for name, found in (("response", sample.response), ("first byte", sample.ttft)):
        shown = [numbers.duration(value) for value in (found.p50, found.p95, found.p99)]
        lines.append(_pair(name, f"p50 {shown[0]:<6} p95 {shown[1]:<6} p99 {shown[2]}"))
    if load is None:
        lines.append(_pair("engine", "reports no load", "muted"))
    else:
        told = f"{numbers.count(load.running)} running, {numbers.count(load.waiting)} waiting"
        lines.append(_pair("engine", f"{told}, KV {numbers.percent(load.kv_usage)}"))
    if row.last_error:
        when = f" at {clock(row.last_error_at)}" if row.last_error_at is not None else ""
        lines.append(_pair("last error", row.last_error + when, "error"))
    return lines


def capabilities(row: WorkerRow) -> list[Line]:
    """What it told of itself, and its labels."""
    told = row.worker.capabilities
    lines = [_pair("engine", f"{told.engine} {told.version or ''}")]
    names = ("context_length", "tp_size", "dp_size", "max_running_requests", "max_total_tokens", "tokenizer_path")
    known = ((name, getattr(told, name)) for name in names)
    lines += [_pair(name.replace("_", " "), value) for name, value in known if value is not None]
    own = row.worker.spec.labels
    lines += [_pair("label", f"{name}={text}") for name, text in own.items()] or [_pair("labels", "none", "muted")]
    found = [f"{name}={text}" for name, text in told.labels.items() if name not in own]
    if found:
        lines.append(_pair("found", "  ".join(found), "muted"))
    if told.missing:
        lines.append(_pair("did not answer", "; ".join(told.missing), "muted"))
    return lines


WIDE = 100


def history(row: WorkerRow, now: float, width: int) -> list[Line]:
    """Its moves, newest first: when, to which state, for how long, why, and by whom. In two lines each where there is
    little room."""
    moves = row.worker.transitions
    lines: list[Line] = []
    ends = [*(move.at for move in moves[1:]), now]
    for move, end in reversed(list(zip(moves, ends, strict=True))):
        when: tuple[Run, ...] = (
            (f" {clock(move.at)}  ", "muted"),
            (f"{move.new:<12}", move.new.value if move.new is not State.GONE else "gone"),
            (f"for {numbers.age(end - move.at):<7} ", "muted"),
        )
        if width >= WIDE:
            lines.append((*when, (f"{move.why} ", ""), (f"({move.who})", "muted")))
        else:
            lines += [(*when, (f"by {move.who}", "muted")), ((f"   {move.why}", ""),)]
    return lines


def json_lines(row: WorkerRow) -> list[Line]:
    """The worker's facts as JSON, keys left out."""
    text = json.dumps(plain(row.worker), indent=2, default=str)
    return [((line, ""),) for line in text.splitlines()]
