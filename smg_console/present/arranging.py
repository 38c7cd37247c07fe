"""The fleet as the table shows it: filtered, sorted and grouped, in slices between which traffic gets its turn.

`arranging` is a generator that stops after every slice; `arranged` runs it to its end at once, for a fleet so
small that it takes no time. Pure.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from gateway.workers.model import State
from smg_console.plane import WorkerRow
from smg_console.present.columns import Column, Totals, column_of
from smg_console.present.query import ALL, Query

SLICE = 150
"""Workers looked at without a stop: less than a millisecond."""
STATES = (State.FAILED, State.UNHEALTHY, State.DRAINING, State.REGISTERING, State.READY)

GROUPS: dict[str, Callable[[WorkerRow], str]] = {
    "model": lambda row: row.worker.model_id or "",
    "role": lambda row: row.worker.spec.role.value,
    "state": lambda row: row.worker.state.value,
    "policy": lambda row: row.worker.labels.get("policy", ""),
}
"""What one can group by; empty is the group of those that have none."""
NAMELESS = {"model": "any model", "policy": "no policy label"}


@dataclass(frozen=True, slots=True)
class How:
    """How to arrange. `group` is one of GROUPS or empty; `folded` are groups of which only the head shows."""

    query: Query = ALL
    sort: str = "name"
    reverse: bool = False
    group: str = ""
    folded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a group. `key` is what tells it from others, `title` what it is called."""

    key: str
    title: str
    totals: Totals
    folded: bool
    rows: tuple[WorkerRow, ...]


Item = WorkerRow | Head


@dataclass(frozen=True, slots=True)
class Arranged:
    """The lines of the table, and all the workers that fit the filter, folded away or not."""

    items: Sequence[Item] = ()
    fitting: Sequence[WorkerRow] = ()
    groups: int = 0


Steps = Generator[None, None, Arranged]


def arranging(rows: Sequence[WorkerRow], how: How, now: float) -> Steps:
    """The rows as they are to be shown; equal ones keep the order they were added in, whatever the direction."""
    fitting = rows if not how.query else (yield from _filtered(rows, how.query, now))
    column = column_of(how.sort)
    fitting = yield from _sorted(fitting, column, reverse=how.reverse) if column is not None else _same(fitting)
    by = GROUPS.get(how.group)
    if by is None:
        return Arranged(fitting, fitting)
    return (yield from _grouped(fitting, how, by))


def _slices(rows: Sequence[WorkerRow]) -> Iterator[Sequence[WorkerRow]]:
    return (rows[start : start + SLICE] for start in range(0, len(rows), SLICE))


def _filtered(rows: Sequence[WorkerRow], query: Query, now: float) -> Generator[None, None, Sequence[WorkerRow]]:
    found: list[WorkerRow] = []
    for part in _slices(rows):
        found += [row for row in part if query.fits(row, now)]
        yield
    return found


def _same(rows: Sequence[WorkerRow]) -> Generator[None, None, Sequence[WorkerRow]]:
    yield
    return rows


def _sorted(rows: Sequence[WorkerRow], column: Column, *, reverse: bool) -> Generator[None, None, Sequence[WorkerRow]]:
    keys: list[object] = []
    for part in _slices(rows):
        keys += [column.order(row) for row in part]
        yield
    order = sorted(range(len(rows)), key=keys.__getitem__, reverse=reverse)  # type: ignore[arg-type]  # one column's keys
    yield
    return [rows[n] for n in order]


def _grouped(rows: Sequence[WorkerRow], how: How, by: Callable[[WorkerRow], str]) -> Steps:
    members: dict[str, list[WorkerRow]] = {}
    totals: dict[str, Totals] = {}
    for part in _slices(rows):
        for row in part:
            name = by(row)
            if name not in members:
                members[name], totals[name] = [], Totals()
            members[name].append(row)
            totals[name].add(row)
        yield
    items: list[Item] = []
    for name in sorted(members, key=lambda name: _place(how.group, name)):
        key = f"{how.group}:{name}"
        folded = key in how.folded
        title = name or NAMELESS.get(how.group, "none")
        items.append(Head(key, title, totals[name], folded, tuple(members[name])))
        if not folded:
            items += members[name]
    return Arranged(items, rows, len(members))


def _place(group: str, name: str) -> tuple[int, str]:
    """States: trouble first. Others: by name, and those without one last."""
    return (STATES.index(State(name)), "") if group == "state" else (not name, name)


def arranged(rows: Sequence[WorkerRow], how: How, now: float) -> Arranged:
    """All of it at once."""
    steps = arranging(rows, how, now)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Arranged = end.value
            return found


def next_group(group: str) -> str:
    """What comes after this grouping when one goes through them: none is one of them."""
    names = ["", *GROUPS]
    return names[(names.index(group) + 1) % len(names)] if group in names else ""


__all__ = ["GROUPS", "Arranged", "Head", "How", "Item", "arranged", "arranging", "next_group"]
