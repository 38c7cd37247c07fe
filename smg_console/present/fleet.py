"""The fleet table: columns, cells, order and filter. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.workers.model import Engine, Health, State
from smg_console.plane import WorkerRow
from smg_console.present import numbers
from smg_console.present.runs import Line, Run, fit
from smg_console.present.states import host_of, state_text, state_word

_ORDER = {
    state: n for n, state in enumerate((State.FAILED, State.UNHEALTHY, State.DRAINING, State.REGISTERING, State.READY))
}
"""By state means trouble first."""


@dataclass(frozen=True, slots=True)
class Column:
    """`from_width`: the narrowest table it shows in. `key`: the letter that sorts by it (with Shift)."""

    title: str
    width: int
    right: bool
    from_width: int
    key: str
    text: Callable[[WorkerRow, float], Run]
    order: Callable[[WorkerRow], Any]


def _number(value: float | None) -> float:
    """Unknown sorts below everything."""
    return -1.0 if value is None else value


def _streak(row: WorkerRow, now: float) -> Run:
    counter = row.health.counter
    if counter.fail_run:
        return f"✗{min(counter.fail_run, 999)}", "unhealthy"
    if counter.ok_run:
        return f"✓{min(counter.ok_run, 999)}", "muted" if row.worker.health is Health.HEALTHY else "registering"
    return numbers.NONE, "muted"


def _since(row: WorkerRow, now: float) -> Run:
    """How long in this state; of a drain under way how long it may still take."""
    drain = row.worker.drain
    if drain is not None and drain.deadline is not None and not drain.drained and row.worker.state is State.DRAINING:
        return f"-{numbers.age(drain.deadline - now)}", "draining"
    return numbers.age(now - row.worker.since), "muted"


def _engine(row: WorkerRow, now: float) -> Run:
    engine = row.worker.engine
    return numbers.NONE if engine is Engine.UNSPECIFIED else engine.value, "muted"


def _queue(row: WorkerRow) -> int | None:
    return row.load.waiting if row.load is not None else None


def _kv(row: WorkerRow) -> float | None:
    return row.load.kv_usage if row.load is not None else None


def _warned(value: float | None, text: str, limit: float) -> Run:
    return text, "warning" if value is not None and value >= limit else ""


def _errors(row: WorkerRow, now: float) -> Run:
    share = row.sample.error_rate
    return numbers.percent(share), "error" if share else "muted"


COLUMNS = (
    Column(
        "State",
        14,
        False,
        0,
        "S",
        lambda r, now: state_text(r.worker),
        lambda r: (_ORDER[r.worker.state], r.worker.name),
    ),
    Column(
        "Worker",
        26,
        False,
        0,
        "N",
        lambda r, now: (f"{r.worker.name} {host_of(r.worker.url)}", ""),
        lambda r: int(r.worker.name[1:] or 0),
    ),
    Column(
        "Model",
        18,
        False,
        96,
        "M",
        lambda r, now: (r.worker.model_id or "any", "" if r.worker.model_id else "muted"),
        lambda r: r.worker.model_id or "",
    ),
    Column("Engine", 8, False, 150, "G", _engine, lambda r: r.worker.engine.value),
    Column("In fl", 5, True, 0, "I", lambda r, now: (numbers.count(r.in_flight), ""), lambda r: r.in_flight),
    Column(
        "Queue",
        5,
        True,
        62,
        "Q",
        lambda r, now: _warned(_queue(r), numbers.count(_queue(r)), 8),
        lambda r: _number(_queue(r)),
    ),
    Column(
        "KV", 5, True, 108, "K", lambda r, now: _warned(_kv(r), numbers.percent(_kv(r)), 0.9), lambda r: _number(_kv(r))
    ),
    Column(
        "Req/s",
        6,
        True,
        116,
        "R",
        lambda r, now: (numbers.rate(r.sample.requests_per_s), ""),
        lambda r: r.sample.requests_per_s,
    ),
    Column(
        "p50",
        6,
        True,
        70,
        "L",
        lambda r, now: (numbers.duration(r.sample.response.p50), ""),
        lambda r: _number(r.sample.response.p50),
    ),
    Column(
        "p99",
        6,
        True,
        0,
        "P",
        lambda r, now: (numbers.duration(r.sample.response.p99), ""),
        lambda r: _number(r.sample.response.p99),
    ),
    Column(
        "TTFT",
        6,
        True,
        124,
        "F",
        lambda r, now: (numbers.duration(r.sample.ttft.p50), ""),
        lambda r: _number(r.sample.ttft.p50),
    ),
    Column("Err", 5, True, 62, "E", _errors, lambda r: _number(r.sample.error_rate)),
    Column("Health", 6, True, 78, "H", _streak, lambda r: r.health.counter.ok_run - r.health.counter.fail_run),
    Column("Since", 7, True, 86, "T", _since, lambda r: r.worker.since),
    Column("Requests", 8, True, 160, "C", lambda r, now: (numbers.count(r.requests), "muted"), lambda r: r.requests),
)
BY_KEY = {column.key: column for column in COLUMNS}
_FLEXIBLE = ("Worker", "Model")


def shown_columns(width: int) -> list[tuple[Column, int]]:
    """The columns for a table this wide, with their widths; what is left over goes to worker and model."""
    chosen = [column for column in COLUMNS if width >= column.from_width]
    spare = width - 1 - sum(column.width + 1 for column in chosen)
    flexible = [column for column in chosen if column.title in _FLEXIBLE]
    widths = {column.title: column.width for column in chosen}
    if spare < 0:
        widths["Worker"] = max(8, widths["Worker"] + spare)
    else:
        for n, column in enumerate(flexible):
            widths[column.title] += min(24, spare // len(flexible) + (n < spare % len(flexible)))
    return [(column, widths[column.title]) for column in chosen]


def header(columns: Sequence[tuple[Column, int]], sort: str, reverse: bool) -> Line:
    """The head of the table, with an arrow at the column that sorts."""
    runs: list[Run] = [(" ", "")]
    for column, width in columns:
        title = column.title + (("▾" if reverse else "▴") if column.key == sort else "")
        runs.append(
            (fit(title, width, right=column.right) + " ", "bold accent" if column.key == sort else "bold muted")
        )
    return tuple(runs)


def row_line(row: WorkerRow, columns: Sequence[tuple[Column, int]], now: float, *, selected: bool) -> Line:
    """A worker's line."""
    runs: list[Run] = [("▸" if selected else " ", "bold accent")]
    for column, width in columns:
        text, style = column.text(row, now)
        runs.append((fit(text, width, right=column.right) + " ", style))
    return tuple(runs)


def ordered(rows: Sequence[WorkerRow], sort: str, reverse: bool) -> list[WorkerRow]:
    """The rows by one column; equal ones keep the order they were added in."""
    return sorted(rows, key=BY_KEY[sort].order, reverse=reverse)


def matches(row: WorkerRow, words: Sequence[str]) -> bool:
    """Whether every word of a filter fits: `state:ready`, `model:llama`, `engine:`, `label:`, or a part of a name."""
    worker = row.worker
    for word in words:
        field, colon, wanted = word.lower().partition(":")
        if colon and field == "state":
            found = [state_word(worker), worker.state.value, *(["cordoned"] if worker.cordoned else [])]
            if not any(text.startswith(wanted) for text in found):
                return False
        elif colon and field == "model":
            if not any(wanted in name.lower() for name in worker.models):
                return False
        elif colon and field == "engine":
            if wanted not in worker.engine.value:
                return False
        elif colon and field == "label":
            if not any(wanted in f"{name}={value}".lower() for name, value in worker.labels.items()):
                return False
        elif not any(word.lower() in text.lower() for text in (worker.name, worker.url, *worker.models, worker.state)):
            return False
    return True
