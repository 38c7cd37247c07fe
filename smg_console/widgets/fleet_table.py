"""The fleet table: thousands of workers, of which only the visible lines are made.

The cursor stands on a worker or on the head of a group, not on a line: when rows move or leave, it stays where
the operator put it. A big fleet is filtered, sorted and grouped in slices between which traffic gets its turn;
until that is done, the table shows what it had.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from time import perf_counter
from typing import ClassVar

from textual import events
from textual.binding import Binding
from textual.message import Message

from gateway.workers.model import WorkerId
from smg_console.plane import WorkerRow
from smg_console.present import fleet, guide
from smg_console.present.arranging import Arranged, Head, How, Item, arranged, arranging, next_group
from smg_console.present.columns import Column, column_of
from smg_console.present.query import Query
from smg_console.present.runs import Line
from smg_console.watch import BIG
from smg_console.widgets.rows import Rows

Made = tuple[Item, int, bool, int, Line]
"""A line, with what it was made of: the row, the second, whether it was selected, and how many are marked."""


class FleetTable(Rows[Item]):
    """Workers in rows: sorted, filtered, grouped and marked, with a cursor."""

    BINDINGS: ClassVar = [
        Binding("space", "mark", "Mark", show=False),
        Binding("asterisk", "mark_others", "Invert marks", show=False),
        Binding("plus,ctrl+a", "mark_all", "Mark all in the filter", show=False),
        Binding("minus", "unmark", "No marks", show=False),
        Binding("less_than_sign", "column(-1)", "Column to the left", show=False),
        Binding("greater_than_sign", "column(1)", "Column to the right", show=False),
        Binding("o", "sort_here", "Sort by the column under the cursor", show=False),
        Binding("v", "group", "Group", show=False),
        Binding("V", "fold_all", "Fold or open all groups", show=False),
        Binding("left", "fold(True)", "Fold", show=False),
        Binding("right", "fold(False)", "Open", show=False),
        *(
            Binding(column.key, f"sort('{column.name}')", f"Sort by {column.title.lower()}", show=False)
            for column in fleet.COLUMNS
        ),
    ]

    class Opened(Message):
        """A worker was chosen with Enter or a second click."""

        def __init__(self, worker_id: WorkerId) -> None:
            super().__init__()
            self.worker_id = worker_id

    class Changed(Message):
        """The operator sorts or groups otherwise."""

    def __init__(self, how: How | None = None, chosen: tuple[str, ...] = ()) -> None:
        super().__init__(id="fleet")
        self.how = how or How()
        self.chosen = chosen
        """Names of the columns that were chosen; empty: the usual ones."""
        self.marks: set[WorkerId] = set()
        self.problem = ""
        """What is wrong with the filter being typed; the last good one holds until it is mended."""
        self.held_s = 0.0
        """Longest that arranging held the loop, the last time."""
        self._arranged = Arranged()
        self._arranged_for: tuple[int, How] | None = None
        self._column = ""
        self._made: dict[str, Made] = {}
        self._fresh: dict[str, Made] = {}
        self._columns: fleet.Shown = ()
        self._columns_for: tuple[int, tuple[str, ...]] | None = None

    # --- what there is ---

    @property
    def current(self) -> WorkerRow | None:
        """The worker under the cursor; None on the head of a group."""
        item = super().current
        return None if isinstance(item, Head) else item

    @property
    def group_here(self) -> Head | None:
        """The group whose head is under the cursor."""
        item = super().current
        return item if isinstance(item, Head) else None

    @property
    def fitting(self) -> Sequence[WorkerRow]:
        """All workers that fit the filter, in order, folded away or not."""
        return self._arranged.fitting

    @property
    def marked(self) -> list[WorkerRow]:
        """The marked workers, in the table's order; those that the filter hides come last."""
        if not self.marks:
            return []
        shown = [row for row in self.fitting if row.worker.id in self.marks]
        there = {row.worker.id for row in shown}
        rest = self.marks - there
        return shown + ([row for row in self.face.seen.rows if row.worker.id in rest] if rest else [])

    def key(self, row: Item) -> str:
        return row.key if isinstance(row, Head) else row.worker.id

    # --- arranging ---

    async def prepare(self) -> float:
        """Arrange a big fleet, in slices, if it or the question changed."""
        self.held_s = 0.0
        while (wanted := self._wanted()) != self._arranged_for:
            steps = arranging(self.face.seen.rows, wanted[1], self.face.seen.gateway.now)
            while True:
                began = perf_counter()
                try:
                    next(steps)
                except StopIteration as end:
                    found: Arranged = end.value
                    break
                finally:
                    self.held_s = max(self.held_s, perf_counter() - began)
                await asyncio.sleep(0)
            if wanted == self._wanted():  # else it was asked otherwise meanwhile
                self._take_over(found, wanted)
        return self.held_s

    def _wanted(self) -> tuple[int, How]:
        return self.face.seen.version, self.how

    def _take_over(self, found: Arranged, wanted: tuple[int, How]) -> None:
        if self.marks and (self._arranged_for is None or self._arranged_for[0] != wanted[0]):
            self.marks &= {row.worker.id for row in self.face.seen.rows}
        self._arranged, self._arranged_for = found, wanted

    def rows(self) -> Sequence[Item]:
        wanted = self._wanted()
        if wanted != self._arranged_for and (len(self.face.seen.rows) < BIG or self._arranged_for is None):
            self._take_over(arranged(self.face.seen.rows, self.how, self.face.seen.gateway.now), wanted)
        return self._arranged.items

    async def ask(self, **changes: object) -> None:
        """Arrange otherwise (`How`), and show it."""
        self.how = replace(self.how, **changes)  # type: ignore[arg-type]  # names of its fields
        await self.prepare()
        self.tick()
        self.face.selection_moved()

    # --- drawing ---

    def draw(self, width: int, height: int) -> Sequence[Line]:
        if (width, self.chosen) != self._columns_for:
            self._columns_for, self._made = (width, self.chosen), {}
            self._columns = fleet.shown_columns(width, self.chosen)
        self._fresh = {}
        lines = super().draw(width, height)
        self._made = self._fresh
        return lines

    def header(self, width: int) -> Line | None:
        return fleet.header(self._columns, self.how.sort, self.how.reverse, width, self._column)

    def line(self, row: Item, width: int, *, selected: bool) -> Line:
        watch, key = self.face.seen, self.key(row)
        if isinstance(row, WorkerRow):
            row = watch.fresh(row)
            marked = int(row.worker.id in self.marks)
        else:
            marked = sum(one.worker.id in self.marks for one in row.rows) if self.marks else 0
        second = int(watch.gateway.now)
        made = self._made.get(key)
        if made is None or made[:4] != (row, second, selected, marked):
            made = row, second, selected, marked, self._line(row, width, selected, marked)
        self._fresh[key] = made
        return made[4]

    def _line(self, row: Item, width: int, selected: bool, marked: int) -> Line:
        if isinstance(row, Head):
            return fleet.head_line(row, self._columns, width, selected=selected, marked=marked)
        now = self.face.seen.gateway.now
        return fleet.row_line(row, self._columns, now, width, selected=selected, marked=bool(marked))

    def empty(self, width: int) -> Sequence[Line]:
        return guide.empty_lines(self.face.seen.gateway.address, self.how.query.text)

    def titled(self, first: int, last: int, count: int) -> None:
        self.set_titles(self._title(first, last, count), self._below())

    def _title(self, first: int, last: int, count: int) -> str:
        total, shown, query = len(self.face.seen.rows), len(self.fitting), self.how.query
        text = f"Fleet: {total} worker{'' if total == 1 else 's'}"
        if query:
            text = f"Fleet: {shown} of {total} fit the filter {query.text}"
        if self.marks:
            hidden = len(self.marks - {row.worker.id for row in self.fitting}) if query else 0
            text += f", {len(self.marks)} marked{f' ({hidden} not shown)' if hidden else ''}"
        if self.how.group:
            groups = self._arranged.groups
            text += f", {groups} {self.how.group if groups == 1 else f'{self.how.group}s'}".replace(
                "policys", "policies"
            )
        if count > last - first + 1:
            text += f", {first} to {last} in view"
        return text

    def _below(self) -> str:
        if (row := self.current) is not None:
            return guide.standing(row.worker, self.size.width - 4)
        return guide.standing_group(self.group_here) if self.group_here is not None else ""

    # --- keys and mouse ---

    def go(self, index: int) -> None:
        super().go(index)
        self.face.selection_moved()

    def action_edge(self, index: int) -> None:
        self.go(index if index >= 0 else len(self._rows) - 1)

    async def action_sort(self, name: str) -> None:
        """Sort by a column, numbers largest first; once more turns it round."""
        await self.sort_by(name)

    async def sort_by(self, name: str, *, reverse: bool | None = None) -> None:
        """Sort in this direction; None: the usual one, or where it is sorted by that already the other."""
        column = column_of(name)
        if column is not None:
            if reverse is None:
                reverse = not self.how.reverse if self.how.sort == name else column.right
            await self.ask(sort=name, reverse=reverse)
            self.post_message(self.Changed())

    @property
    def shown_names(self) -> list[str]:
        """The columns that were chosen, or the usual ones, whether there is room or not."""
        return list(self.chosen or [column.name for column in fleet.COLUMNS])

    def use_columns(self, names: tuple[str, ...]) -> None:
        """Show these columns; none: the usual ones."""
        self.chosen = names
        self.tick()

    async def action_sort_here(self) -> None:
        """Sort by the column under the column cursor."""
        await self.action_sort(self._column or self.how.sort)

    def action_column(self, step: int) -> None:
        """Move the column cursor."""
        names = [column.name for column, _ in self._columns]
        here = self._column if self._column in names else self.how.sort
        at = names.index(here) + step if here in names else 0
        self._column = names[max(0, min(at, len(names) - 1))] if names else ""
        self.tick()

    async def group_by(self, group: str) -> None:
        """Group, all open; the cursor stays on its worker."""
        await self.ask(group=group, folded=frozenset())
        self.post_message(self.Changed())

    async def action_group(self) -> None:
        await self.group_by(next_group(self.how.group))

    def _head_here(self) -> Head | None:
        """The group under the cursor, or that of the worker under it."""
        above = (item for item in reversed(self._rows[: self._at + 1]) if isinstance(item, Head))
        return next(above, None) if self.how.group else None

    async def action_fold(self, folded: bool) -> None:
        head = self._head_here()
        if head is not None:
            self._cursor = head.key if folded else self._cursor
            await self.ask(folded=self.how.folded | {head.key} if folded else self.how.folded - {head.key})

    async def action_fold_all(self) -> None:
        heads = {item.key for item in self._rows if isinstance(item, Head)}
        head = self._head_here()
        if head is not None:
            self._cursor = head.key
            await self.ask(folded=frozenset() if self.how.folded else frozenset(heads))

    async def action_open(self) -> None:  # type: ignore[override]  # Textual awaits what can be awaited
        head = self.group_here
        if head is not None:
            await self.action_fold(not head.folded)
        elif (row := self.current) is not None:
            self.post_message(self.Opened(row.worker.id))

    def action_mark(self) -> None:
        """Mark the worker, or the whole group, under the cursor, and go on to the next."""
        head, row = self.group_here, self.current
        ids = [one.worker.id for one in head.rows] if head is not None else [row.worker.id] if row is not None else []
        if all(one in self.marks for one in ids):
            self.mark_only(self.marks - set(ids))
        else:
            self.mark_only(self.marks | set(ids))
        if ids:
            self.action_move(1)

    def action_mark_others(self) -> None:
        """Turn round the marks of all workers in the filter."""
        self.mark_only(self.marks ^ {row.worker.id for row in self.fitting})

    def action_mark_all(self) -> None:
        self.mark_only(self.marks | {row.worker.id for row in self.fitting})

    def action_unmark(self) -> None:
        self.mark_only(())

    def mark_only(self, ids: Collection[WorkerId]) -> None:
        """These are the marked workers from now on."""
        self.marks = set(ids)
        self.tick()

    async def on_click(self, event: events.Click) -> None:  # type: ignore[override]  # as above
        place = event.get_content_offset(self)
        if place is None:
            return
        if place.y == 0:
            column: Column | None = fleet.column_at(self._columns, place.x)
            if column is not None:
                await self.action_sort(column.name)
            return
        index = self._top + place.y - 1
        if self._top <= index < len(self._rows):
            self.go(index)
            if event.ctrl:
                self.action_mark()
            elif event.chain == 2 or (event.chain == 1 and self.group_here is not None and place.x <= 2):
                await self.action_open()

    def filter(self, query: Query) -> None:
        """Show only what fits, from the next look on."""
        self.how = replace(self.how, query=query)
