"""One worker, whole: facts, its place in the diagram, health, load, capabilities and history. Pure."""

import json
from collections.abc import Sequence
from itertools import zip_longest

from gateway.api.schemas import plain
from gateway.workers.availability import availability
from gateway.workers.model import Circuit, State
from smg_console.plane import WorkerRow
from smg_console.present import diagram, fleet, graphs, numbers
from smg_console.present.feed import clock
from smg_console.present.runs import BLANK, Line, Run, cut
from smg_console.present.states import next_step, state_text

NAME = 15
TWO_COLUMNS = 118
"""Width from which on facts and numbers stand side by side."""


def _pair(name: str, value: object, style: str = "") -> Line:
    return ((f"  {name:<{NAME}}", "muted"), (str(value), style))


def _title(text: str) -> Line:
    return ((text, "bold accent"),)


def detail_lines(
    row: WorkerRow, now: float, width: int, get: graphs.Get, taken: int, *, ascii_only: bool = False
) -> list[Line]:
    """All there is to say about a worker. `get` gives its series, `taken` numbers the newest sample."""
    lines = _head(row, now)
    if width >= TWO_COLUMNS:
        half = width - diagram.WIDTH - 4
        drawn = graphs.stacked(get, taken, half, diagram.HEIGHT, ascii_only=ascii_only)
        lines += _side_by_side(_place(row), drawn, diagram.WIDTH + 4)
        left = [*_facts(row), BLANK, *_capabilities(row)]
        right = [*_health(row, now), BLANK, *_load(row)]
        lines += [BLANK, *_side_by_side(left, right, diagram.WIDTH + 4)]
    else:
        if width >= diagram.WIDTH:
            lines += [*_place(row), BLANK]
        lines += [*_health(row, now), BLANK, *_load(row), BLANK]
        lines += [*graphs.beside(get, taken, width, 5, ascii_only=ascii_only), BLANK]
        lines += [*_facts(row), BLANK, *_capabilities(row)]
    lines += [BLANK, *_history(row, now)]
    return [cut(line, width) for line in lines]


def _side_by_side(left: Sequence[Line], right: Sequence[Line], at: int) -> list[Line]:
    return [(*cut(a, at), *b) for a, b in zip_longest(left, right, fillvalue=BLANK)]


def _head(row: WorkerRow, now: float) -> list[Line]:
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
        ((" next  ", "muted"), (next_step(worker), "")),
        BLANK,
    ]


def _place(row: WorkerRow) -> list[Line]:
    """Where the worker stands in the diagram; the way it came is lit."""
    moves = row.worker.transitions
    came = {diagram.arrow_of((moves[-1].old, moves[-1].new))} if moves else set()
    return diagram.large({row.worker.state: 1}, came, row.worker.state)


def _facts(row: WorkerRow) -> list[Line]:
    worker = row.worker
    drain, available = worker.drain, availability(worker)
    lines = [
        _title("Facts"),
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
    if worker.ejected:
        lines.append(_pair("ejected", worker.ejected, "unhealthy"))
    if drain is not None:
        until = f", until {clock(drain.deadline)}" if drain.deadline is not None else ""
        done = ", drained" if drain.drained else f", {row.in_flight} in flight"
        lines.append(_pair("drains", f"to {drain.intent} since {clock(drain.since)}{until}{done}", "draining"))
    return lines


def _health(row: WorkerRow, now: float) -> list[Line]:
    health = row.health
    counter = health.counter
    last = f"{numbers.age(now - health.last_check)} ago" if health.last_check is not None else "never"
    took = f", took {health.latency_ms:.1f} ms" if health.latency_ms is not None else ""
    run = f"{counter.fail_run} bad" if counter.fail_run else f"{counter.ok_run} good"
    lines = [
        _title("Health"),
        _pair("verdict", f"{row.worker.health}, {run} in a row", "unhealthy" if counter.fail_run else ""),
        _pair("last probe", last + took),
        _strip(row),
    ]
    if health.last_error:
        lines.append(_pair("last bad probe", health.last_error, "unhealthy"))
    return lines


def _strip(row: WorkerRow) -> Line:
    """The last probes, newest at the right: low for good, high for bad."""
    runs: list[Run] = [(f"  {'last probes':<{NAME}}", "muted")]
    for probe in row.health.recent:
        char, style = ("▁", "ready") if probe.ok else ("█", "failed")
        if runs[-1][1] == style:
            runs[-1] = (runs[-1][0] + char, style)
        else:
            runs.append((char, style))
    return tuple(runs)


def _load(row: WorkerRow) -> list[Line]:
    sample, load = row.sample, row.load
    lines = [
        _title("Load"),
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


def _capabilities(row: WorkerRow) -> list[Line]:
    told = row.worker.capabilities
    lines = [_title("Capabilities"), _pair("engine", f"{told.engine} {told.version or ''}")]
    names = ("context_length", "tp_size", "dp_size", "max_running_requests", "max_total_tokens", "tokenizer_path")
    known = ((name, getattr(told, name)) for name in names)
    lines += [_pair(name.replace("_", " "), value) for name, value in known if value is not None]
    labels = [f"{name}={text}" for name, text in row.worker.spec.labels.items()]
    lines.append(_pair("labels", "  ".join(labels) or "none", "" if labels else "muted"))
    if told.missing:
        lines.append(_pair("did not answer", "; ".join(told.missing), "muted"))
    return lines


def _history(row: WorkerRow, now: float) -> list[Line]:
    moves = row.worker.transitions
    lines = [_title("History, newest first")]
    ends = [*(move.at for move in moves[1:]), now]
    for move, end in reversed(list(zip(moves, ends, strict=True))):
        lines.append(
            (
                (f"  {clock(move.at)}  ", "muted"),
                (f"{move.new:<12}", move.new.value if move.new is not State.GONE else "gone"),
                (f"for {numbers.age(end - move.at):<7} ", "muted"),
                (f"{move.why} ", ""),
                (f"({move.who})", "muted"),
            )
        )
    return lines


def json_lines(row: WorkerRow) -> list[Line]:
    """The worker's facts as JSON, keys left out."""
    text = json.dumps(plain(row.worker), indent=2, default=str)
    return [((line, ""),) for line in text.splitlines()]
