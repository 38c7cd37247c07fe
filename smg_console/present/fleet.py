"""The fleet table: columns, cells, order and filter. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.workers.model import Circuit, Engine, Health, State, Worker
from smg_console.plane import WorkerRow
from smg_console.present import numbers
from smg_console.present.runs import Line, Run, cut, cut_middle, fit, width_of
from smg_console.present.states import host_of, kept_out, state_text, state_word

_ORDER = {
    state: n for n, state in enumerate((State.FAILED, State.UNHEALTHY, State.DRAINING, State.REGISTERING, State.READY))
}
"""By state means trouble first."""
QUEUE_WARNS, KV_WARNS = 8, 0.9


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
    shorten: Callable[[str, int], str] = fit
    """Fits a text of the left-aligned columns into so many cells."""


def _number(value: float | None) -> float:
    """Unknown sorts below everything."""
    return -1.0 if value is None else value


def _name_number(row: WorkerRow) -> int:
    digits = row.worker.name[1:]
    return int(digits) if digits.isdecimal() else 0


def _worker(row: WorkerRow, now: float) -> Run:
    return f"{row.worker.name:<3} {host_of(row.worker.url)}", ""


def short_model(text: str, width: int) -> str:
    """A model's name in so many cells: without its organisation where both do not fit."""
    return fit(text.rpartition("/")[2] if len(text) > width else text, width)


def _streak(row: WorkerRow, now: float) -> Run:
    counter = row.health.counter
    if counter.fail_run:
        return f"✗{min(counter.fail_run, 999)}", "unhealthy"
    if counter.ok_run:
        return f"✓{min(counter.ok_run, 999)}", "muted" if row.worker.health is Health.HEALTHY else "registering"
    return numbers.NONE, "muted"


def _since(row: WorkerRow, now: float) -> Run:
    """How long in this state; of a drain under way how long it may still take. All rows turn at the same moment."""
    drain = row.worker.drain
    if drain is not None and drain.deadline is not None and not drain.drained and row.worker.state is State.DRAINING:
        return f"-{numbers.age(int(drain.deadline) - int(now))}", "draining"
    return numbers.age(int(now) - int(row.worker.since)), "muted"


def _engine(row: WorkerRow, now: float) -> Run:
    engine = row.worker.engine
    return numbers.NONE if engine is Engine.UNSPECIFIED else engine.value, "muted"


def _queue(row: WorkerRow) -> int | None:
    return row.load.waiting if row.load is not None else None


def _kv(row: WorkerRow) -> float | None:
    return row.load.kv_usage if row.load is not None else None


def _plain(value: float | None, text: str, warns: float = float("inf")) -> Run:
    """A number: muted where there is none to speak of, in the warning colour from `warns` on."""
    return text, "muted" if not value else "warning" if value >= warns else ""


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
        lambda r: (_ORDER[r.worker.state], r.worker.cordoned, _name_number(r)),
    ),
    Column("Worker", 19, False, 0, "N", _worker, _name_number, cut_middle),
    Column(
        "Model",
        16,
        False,
        96,
        "M",
        lambda r, now: (r.worker.model_id or "any", "" if r.worker.model_id else "muted"),
        lambda r: r.worker.model_id or "",
        short_model,
    ),
    Column("Engine", 7, False, 150, "B", _engine, lambda r: r.worker.engine.value),
    Column(
        "In fl", 5, True, 0, "I", lambda r, now: _plain(r.in_flight, numbers.count(r.in_flight)), lambda r: r.in_flight
    ),
    Column(
        "Queue",
        5,
        True,
        62,
        "Q",
        lambda r, now: _plain(_queue(r), numbers.count(_queue(r)), QUEUE_WARNS),
        lambda r: _number(_queue(r)),
    ),
    Column(
        "KV",
        5,
        True,
        104,
        "K",
        lambda r, now: _plain(_kv(r), numbers.percent(_kv(r)), KV_WARNS),
        lambda r: _number(_kv(r)),
    ),
    Column(
        "Req/s",
        6,
        True,
        110,
        "A",
        lambda r, now: _plain(r.sample.requests_per_s, numbers.rate(r.sample.requests_per_s)),
        lambda r: r.sample.requests_per_s,
    ),
    Column(
        "p50",
        6,
        True,
        90,
        "L",
        lambda r, now: _plain(r.sample.response.p50, numbers.duration(r.sample.response.p50)),
        lambda r: _number(r.sample.response.p50),
    ),
    Column(
        "p99",
        6,
        True,
        0,
        "P",
        lambda r, now: _plain(r.sample.response.p99, numbers.duration(r.sample.response.p99)),
        lambda r: _number(r.sample.response.p99),
    ),
    Column(
        "TTFT",
        6,
        True,
        124,
        "F",
        lambda r, now: _plain(r.sample.ttft.p50, numbers.duration(r.sample.ttft.p50)),
        lambda r: _number(r.sample.ttft.p50),
    ),
    Column("Err", 5, True, 62, "E", _errors, lambda r: _number(r.sample.error_rate)),
    Column("Probe", 5, True, 70, "H", _streak, lambda r: r.health.counter.ok_run - r.health.counter.fail_run),
    Column("Since", 7, True, 78, "T", _since, lambda r: r.worker.since),
    Column("Requests", 8, True, 160, "C", lambda r, now: (numbers.count(r.requests), "muted"), lambda r: r.requests),
    Column(
        "Prio",
        4,
        True,
        170,
        "W",
        lambda r, now: (str(r.worker.spec.priority), "muted"),
        lambda r: r.worker.spec.priority,
    ),
)
BY_KEY = {column.key: column for column in COLUMNS}
_FLEXIBLE = {"Worker": 28, "Model": 36}
"""Columns that take what is left over, up to so many cells; a last one without a head takes the rest."""
_STATUS = 24
"""Room from which on the rest of the line tells why a worker is as it is."""

Shown = Sequence[tuple[Column, int]]


def shown_columns(width: int) -> list[tuple[Column, int]]:
    """The columns for a table this wide, with their widths; what is left over goes to worker and model."""
    chosen = [column for column in COLUMNS if width >= column.from_width]
    widths = {column.title: column.width for column in chosen}
    spare = width - 1 - sum(column.width + 1 for column in chosen)
    if spare < 0:
        widths["Worker"] = max(8, widths["Worker"] + spare)
    while spare > 0:
        growing = [name for name, most in _FLEXIBLE.items() if name in widths and widths[name] < most]
        if not growing:
            break
        widths[growing[spare % len(growing)]] += 1
        spare -= 1
    return [(column, widths[column.title]) for column in chosen]


def header(columns: Shown, sort: str, reverse: bool, width: int) -> Line:
    """The head of the table, with an arrow at the column that sorts."""
    runs: list[Run] = []
    for column, cells in columns:
        sorts = column.key == sort
        arrow = ("▼" if reverse else "▲") if sorts else ""
        title = arrow + column.title if column.right else column.title + arrow
        # The gap before a column belongs to it, which gives the arrow its room.
        text = fit(title, cells + 1, right=True) if column.right else " " + fit(title, cells)
        runs.append((text, "bold accent" if sorts else "bold muted"))
    if width - width_of(runs) >= _STATUS:
        runs.append(("  Why", "bold muted"))
    return cut(runs, width)


def row_line(row: WorkerRow, columns: Shown, now: float, width: int, *, selected: bool) -> Line:
    """A worker's line."""
    runs: list[Run] = []
    for column, cells in columns:
        text, style = column.text(row, now)
        fitted = fit(text, cells, right=True) if column.right else column.shorten(text, cells)
        runs += [(" " if runs or not selected else "▸", "bold accent"), (fitted, style)]
    if width - width_of(runs) >= _STATUS:
        runs.append((f"  {why(row)}", "muted"))
    return cut(runs, width)


def why(row: WorkerRow) -> str:
    """Why a worker is as it is: the cordon's reason, else that of its last move."""
    worker = row.worker
    if kept_out(worker) is None:
        return worker.reason
    return worker.cordon_reason if worker.cordoned else worker.ejected or worker.breaker.reason


def ordered(rows: Sequence[WorkerRow], sort: str, reverse: bool) -> list[WorkerRow]:
    """The rows by one column; equal ones keep the order they were added in."""
    return sorted(rows, key=BY_KEY[sort].order, reverse=reverse)


def matches(row: WorkerRow, words: Sequence[str]) -> bool:
    """Whether every word of a filter fits: `state:ready`, `model:llama`, `engine:`, `label:`, or a part of anything."""
    return all(_fits(row, word.lower()) for word in words)


def _marks(worker: Worker) -> list[str]:
    """What a filter may also call the state."""
    marks = {"cordoned": worker.cordoned, "ejected": bool(worker.ejected)}
    marks["broken"] = worker.breaker.state is not Circuit.CLOSED
    return [mark for mark, holds in marks.items() if holds]


def _fits(row: WorkerRow, word: str) -> bool:
    worker = row.worker
    states = [state_word(worker), worker.state.value, *_marks(worker)]
    labels = [f"{name}={value}".lower() for name, value in worker.labels.items()]
    field, colon, wanted = word.partition(":")
    if colon and field == "state":
        return any(state.startswith(wanted) for state in states)
    if colon and field == "model":
        return any(wanted in name.lower() for name in worker.models)
    if colon and field == "engine":
        return wanted in worker.engine.value
    if colon and field == "label":
        return any(wanted in label for label in labels)
    texts = (worker.name, worker.url.lower(), *(name.lower() for name in worker.models), *states, *labels)
    return any(word in text for text in texts)
