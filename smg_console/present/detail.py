"""One worker, whole: facts, its place in the diagram, health, load, capabilities and history. Pure."""

import json
from collections.abc import Sequence

from gateway.api.schemas import plain
from gateway.workers.availability import availability
from gateway.workers.model import State
from smg_console.plane import WorkerRow
from smg_console.present import diagram, numbers
from smg_console.present.feed import clock
from smg_console.present.runs import BLANK, Line, Run, cut
from smg_console.present.states import next_step, state_text


def _pair(name: str, value: object, style: str = "") -> Line:
    return (("  ", ""), (f"{name:<16}", "muted"), (str(value), style))


def _title(text: str) -> Line:
    return ((text, "bold accent"),)


def detail_lines(row: WorkerRow, now: float, width: int) -> list[Line]:
    """All there is to say about a worker."""
    worker = row.worker
    text, style = state_text(worker)
    available = availability(worker)
    lines: list[Line] = [
        ((f"{worker.name}  ", "bold"), (worker.url, "bold accent"), ("  ", ""), (text, f"bold {style}")),
        (("  ", ""), (f"since {clock(worker.since)} ({numbers.age(now - worker.since)}): {worker.reason}", "")),
        (("  ", ""), (f"next: {next_step(worker)}", "muted")),
        BLANK,
    ]
    if width >= diagram.WIDTH:
        lines += [*diagram.large({worker.state: 1}, (), worker.state), BLANK]
    lines += _facts(row, available.because)
    lines += [BLANK, *_health(row, now, width), BLANK, *_load(row, now), BLANK, *_capabilities(row)]
    lines += [BLANK, *_history(row, now)]
    return [cut(line, width) for line in lines]


def _facts(row: WorkerRow, because: str) -> list[Line]:
    worker = row.worker
    drain = worker.drain
    lines = [
        _title("Facts"),
        _pair("id", worker.id),
        _pair("model", ", ".join(worker.models) or "any (it did not say)"),
        _pair("takes requests", "yes" if because == "ready" else f"no, {because}"),
        _pair("added", f"{clock(worker.registered_at)} as {worker.spec.source}, revision {worker.revision}"),
        _pair("priority, cost", f"{worker.spec.priority}, {worker.spec.cost:g}"),
        _pair("api key", "set" if worker.spec.api_key else "none"),
    ]
    if worker.cordoned:
        lines.append(_pair("cordon", worker.cordon_reason, "warning"))
    if drain is not None:
        until = f", until {clock(drain.deadline)}" if drain.deadline is not None else ""
        done = ", drained" if drain.drained else f", {row.in_flight} in flight"
        lines.append(_pair("drain", f"to {drain.intent} since {clock(drain.since)}{until}{done}", "draining"))
    return lines


def _health(row: WorkerRow, now: float, width: int) -> list[Line]:
    health = row.health
    counter = health.counter
    last = f"{numbers.age(now - health.last_check)} ago" if health.last_check is not None else "never"
    took = f", took {health.latency_ms:.1f} ms" if health.latency_ms is not None else ""
    strip: list[Run] = [("  ", ""), (f"{'last probes':<16}", "muted")]
    strip += [("▁" if probe.ok else "█", "ready" if probe.ok else "failed") for probe in health.recent]
    lines = [
        _title("Health"),
        _pair("verdict", f"{row.worker.health}, {counter.ok_run} good or {counter.fail_run} bad probes in a row"),
        _pair("last probe", last + took),
        tuple(strip),
    ]
    if health.last_error:
        lines.append(_pair("last bad probe", health.last_error, "unhealthy"))
    return lines


def _load(row: WorkerRow, now: float) -> list[Line]:
    sample, load = row.sample, row.load
    response, ttft = sample.response, sample.ttft
    shown = [numbers.duration(value) for value in (response.p50, response.p95, response.p99)]
    first = [numbers.duration(value) for value in (ttft.p50, ttft.p95, ttft.p99)]
    lines = [
        _title("Load"),
        _pair("requests", f"{row.in_flight} in flight, {numbers.rate(sample.requests_per_s)}/s, {row.requests} in all"),
        _pair("errors", f"{numbers.percent(sample.error_rate)} of the last minute, {row.errors} in all"),
        _pair("response", f"p50 {shown[0]}  p95 {shown[1]}  p99 {shown[2]}"),
        _pair("first byte", f"p50 {first[0]}  p95 {first[1]}  p99 {first[2]}"),
    ]
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
    lines += [_pair(f"label {name}", text) for name, text in row.worker.spec.labels.items()]
    if told.missing:
        lines.append(_pair("did not answer", "; ".join(told.missing), "muted"))
    return lines


def _history(row: WorkerRow, now: float) -> list[Line]:
    moves = row.worker.transitions
    lines = [_title("History, newest first")]
    ends = [*(move.at for move in moves[1:]), now]
    for move, end in reversed(list(zip(moves, ends, strict=True))):
        stayed = numbers.age(end - move.at)
        lines.append(
            (
                (f"  {clock(move.at)} ", "muted"),
                (f"{move.new:<12}", move.new.value if move.new is not State.GONE else "gone"),
                (f"{stayed:>7}  ", "muted"),
                (f"{move.why} ", ""),
                (f"({move.who})", "muted"),
            )
        )
    return lines


def json_lines(row: WorkerRow) -> list[Line]:
    """The worker's facts as JSON, keys left out."""
    text = json.dumps(plain(row.worker), indent=2, default=str)
    return [((line, ""),) for line in text.splitlines()]


def log_lines(lines: Sequence[str], most: int) -> list[Line]:
    """The tail of the log."""
    shown = [part for line in list(lines)[-most:] for part in line.splitlines()]
    return [
        ((line, "error" if " ERROR" in line[:20] else "warning" if " WARNING" in line[:20] else ""),) for line in shown
    ]
