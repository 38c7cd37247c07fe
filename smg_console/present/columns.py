"""The columns of the fleet table: what each says of a worker and of a group, and which fit a width. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gateway.workers.model import Engine, Health, State, Worker
from smg_console.plane import WorkerRow
from smg_console.present import numbers
from smg_console.present.runs import Run, cut_middle, fit
from smg_console.present.states import host_of, state_text

_ORDER = {
    state: n for n, state in enumerate((State.FAILED, State.UNHEALTHY, State.DRAINING, State.REGISTERING, State.READY))
}
"""By state means trouble first."""
QUEUE_WARNS, KV_WARNS = 8, 0.9
BY_CHOICE = 1_000_000
"""`from_width` of columns that show only where an operator chose them."""
LABEL = "label:"


@dataclass(slots=True)
class Totals:
    """What a group of workers amounts to. Times are the worst of its workers."""

    workers: int = 0
    states: Counter[State] = field(default_factory=Counter)
    in_flight: int = 0
    queue: int = 0
    requests: int = 0
    requests_per_s: float = 0.0
    errors_per_s: float = 0.0
    kv: float | None = None
    p50: float | None = None
    p99: float | None = None
    ttft: float | None = None

    def add(self, row: WorkerRow) -> None:
        """Count one more worker."""
        sample, load = row.sample, row.load
        self.workers += 1
        self.states[row.worker.state] += 1
        self.in_flight += row.in_flight
        self.requests += row.requests
        self.requests_per_s += sample.requests_per_s
        self.errors_per_s += sample.errors_per_s
        self.p50 = _worse(self.p50, sample.response.p50)
        self.p99 = _worse(self.p99, sample.response.p99)
        self.ttft = _worse(self.ttft, sample.ttft.p50)
        if load is not None:
            self.queue += load.waiting or 0
            self.kv = _worse(self.kv, load.kv_usage)


def _worse(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)


@dataclass(frozen=True, slots=True)
class Column:
    """`from_width`: the narrowest table it shows in by itself. `key`: the letter that sorts by it (with Shift)."""

    name: str
    """What commands and the remembered choice call it."""
    title: str
    width: int
    right: bool
    from_width: int
    key: str
    text: Callable[[WorkerRow, float], Run]
    order: Callable[[WorkerRow], Any]
    shorten: Callable[[str, int], str] = fit
    """Fits a text of the left-aligned columns into so many cells."""
    total: Callable[[Totals], Run] | None = None
    """What it says of a group."""


def _number(value: float | None) -> float:
    """Unknown sorts below everything."""
    return -1.0 if value is None else value


def name_number(row: WorkerRow) -> int:
    """The number in a worker's name: w10 comes after w9."""
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


def drain_share(worker: Worker, in_flight: int) -> float | None:
    """How much of a drain under way is done; None: there is none, or nothing to measure it by."""
    drain = worker.drain
    if worker.state is not State.DRAINING or drain is None or drain.drained or not drain.began_with:
        return None
    return max(0.0, 1 - in_flight / drain.began_with)


def _state(row: WorkerRow, now: float) -> Run:
    """Of a drain also how far it is."""
    text, style = state_text(row.worker)
    share = drain_share(row.worker, row.in_flight)
    return (f"{text} {min(99, int(share * 100))}%", style) if share else (text, style)


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


def _errors_of(totals: Totals) -> Run:
    share = totals.errors_per_s / totals.requests_per_s if totals.requests_per_s else None
    return numbers.percent(share), "error" if share else "muted"


def _time(name: str, title: str, from_width: int, key: str, of: Callable[[WorkerRow], float | None]) -> Column:
    """A column of response times."""

    def total(totals: Totals) -> Run:
        value: float | None = getattr(totals, name, None)
        return _plain(value, numbers.duration(value))

    shows = total if name in ("p50", "p99", "ttft") else None
    return Column(
        name,
        title,
        6,
        True,
        from_width,
        key,
        lambda r, now: _plain(of(r), numbers.duration(of(r))),
        lambda r: _number(of(r)),
        total=shows,
    )


def _word(name: str, title: str, width: int, of: Callable[[WorkerRow], str]) -> Column:
    """A column of words that shows where it was chosen."""
    return Column(
        name, title, width, False, BY_CHOICE, "", lambda r, now: (of(r) or numbers.NONE, "" if of(r) else "muted"), of
    )


def _count(name: str, title: str, width: int, of: Callable[[WorkerRow], float | None]) -> Column:
    """A column of counts that shows where it was chosen."""
    return Column(
        name,
        title,
        width,
        True,
        BY_CHOICE,
        "",
        lambda r, now: _plain(of(r), numbers.count(of(r))),
        lambda r: _number(of(r)),
    )


COLUMNS = (
    Column(
        "state",
        "State",
        14,
        False,
        0,
        "S",
        _state,
        lambda r: (_ORDER[r.worker.state], r.worker.cordoned, name_number(r)),
    ),
    Column("name", "Worker", 19, False, 0, "N", _worker, name_number, cut_middle),
    Column(
        "model",
        "Model",
        16,
        False,
        96,
        "M",
        lambda r, now: (r.worker.model_id or "any", "" if r.worker.model_id else "muted"),
        lambda r: r.worker.model_id or "",
        short_model,
    ),
    Column("engine", "Engine", 7, False, 150, "B", _engine, lambda r: r.worker.engine.value),
    Column(
        "inflight",
        "In fl",
        5,
        True,
        0,
        "I",
        lambda r, now: _plain(r.in_flight, numbers.count(r.in_flight)),
        lambda r: r.in_flight,
        total=lambda t: _plain(t.in_flight, numbers.count(t.in_flight)),
    ),
    Column(
        "queue",
        "Queue",
        5,
        True,
        62,
        "Q",
        lambda r, now: _plain(_queue(r), numbers.count(_queue(r)), QUEUE_WARNS),
        lambda r: _number(_queue(r)),
        total=lambda t: _plain(t.queue, numbers.count(t.queue)),
    ),
    Column(
        "kv",
        "KV",
        5,
        True,
        104,
        "K",
        lambda r, now: _plain(_kv(r), numbers.percent(_kv(r)), KV_WARNS),
        lambda r: _number(_kv(r)),
        total=lambda t: _plain(t.kv, numbers.percent(t.kv), KV_WARNS),
    ),
    Column(
        "rps",
        "Req/s",
        6,
        True,
        110,
        "A",
        lambda r, now: _plain(r.sample.requests_per_s, numbers.rate(r.sample.requests_per_s)),
        lambda r: r.sample.requests_per_s,
        total=lambda t: _plain(t.requests_per_s, numbers.rate(t.requests_per_s)),
    ),
    _time("p50", "p50", 90, "L", lambda r: r.sample.response.p50),
    _time("p99", "p99", 0, "P", lambda r: r.sample.response.p99),
    _time("ttft", "TTFT", 124, "F", lambda r: r.sample.ttft.p50),
    Column("err", "Err", 5, True, 62, "E", _errors, lambda r: _number(r.sample.error_rate), total=_errors_of),
    Column("probe", "Probe", 5, True, 70, "H", _streak, lambda r: r.health.counter.ok_run - r.health.counter.fail_run),
    Column("since", "Since", 7, True, 78, "T", _since, lambda r: r.worker.since),
    Column(
        "requests",
        "Requests",
        8,
        True,
        160,
        "C",
        lambda r, now: (numbers.count(r.requests), "muted"),
        lambda r: r.requests,
        total=lambda t: (numbers.count(t.requests), "muted"),
    ),
    Column(
        "priority",
        "Prio",
        4,
        True,
        170,
        "W",
        lambda r, now: (str(r.worker.spec.priority), "muted"),
        lambda r: r.worker.spec.priority,
    ),
)
"""In the order in which they stand where nobody chose another."""
MORE = (
    _word("role", "Role", 8, lambda r: r.worker.spec.role.value),
    _word("policy", "Policy", 14, lambda r: r.worker.labels.get("policy", "")),
    _word("version", "Version", 9, lambda r: r.worker.capabilities.version or ""),
    _word("source", "Source", 10, lambda r: r.worker.spec.source.value),
    _time("p95", "p95", BY_CHOICE, "", lambda r: r.sample.response.p95),
    _count("errors", "Errors", 6, lambda r: r.errors),
    _count("left", "Left", 5, lambda r: r.cancelled),
    _count("running", "Run", 5, lambda r: r.load.running if r.load is not None else None),
    _count("cap", "Cap", 5, lambda r: r.worker.spec.max_in_flight),
    Column(
        "age",
        "Age",
        7,
        True,
        BY_CHOICE,
        "",
        lambda r, now: (numbers.age(int(now) - int(r.worker.registered_at)), "muted"),
        lambda r: -r.worker.registered_at,
    ),
)
"""Those that one may choose besides; `label:rack` is one too, for every label."""
BY_KEY = {column.key: column for column in COLUMNS}
_BY_NAME = {column.name: column for column in (*COLUMNS, *MORE)}


@lru_cache(256)
def column_of(name: str) -> Column | None:
    """The column of this name; of `label:rack` one is made."""
    if name.startswith(LABEL) and len(name) > len(LABEL):
        label = name.removeprefix(LABEL)
        return _word(name, label[:1].upper() + label[1:], max(6, min(12, len(label))), lambda r: _label(r, label))
    return _BY_NAME.get(name)


def _label(row: WorkerRow, name: str) -> str:
    return row.worker.labels.get(name, "")


def names_known(rows: Iterable[WorkerRow]) -> list[str]:
    """All columns there are to choose from: those of every fleet, and one for each label of this one."""
    labels = sorted({label for row in rows for label in row.worker.labels if label != "policy"})
    return [*_BY_NAME, *(LABEL + label for label in labels)]


_FLEXIBLE = {"name": 28, "model": 36}
"""Columns that take what is left over, up to so many cells; a last one without a head takes the rest."""
Shown = Sequence[tuple[Column, int]]


def shown_columns(width: int, chosen: Sequence[str] = ()) -> list[tuple[Column, int]]:
    """The columns for a table this wide, with their widths; what is left over goes to worker and model.

    Of those an operator chose (else of all, by width) the ones at the right leave first where room is short.
    """
    if chosen:
        columns = [column for name in chosen if (column := column_of(name)) is not None]
        while len(columns) > 1 and width - 1 - sum(column.width + 1 for column in columns) < 0:
            columns.pop()
    else:
        columns = [column for column in COLUMNS if width >= column.from_width]
    widths = {column.name: column.width for column in columns}
    spare = width - 1 - sum(column.width + 1 for column in columns)
    if spare < 0:
        squeezed = "name" if "name" in widths else columns[0].name
        widths[squeezed] = max(8, widths[squeezed] + spare)
    while spare > 0:
        growing = [name for name, most in _FLEXIBLE.items() if name in widths and widths[name] < most]
        if not growing:
            break
        widths[growing[spare % len(growing)]] += 1
        spare -= 1
    return [(column, widths[column.name]) for column in columns]
