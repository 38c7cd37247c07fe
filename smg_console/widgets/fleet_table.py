"""The fleet table: thousands of workers, of which only the visible lines are made.

The cursor stands on a worker, not on a line: when rows move or leave, it stays where the operator put it.
"""

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding
from textual.message import Message

from gateway.workers.model import WorkerId
from smg_console.plane import WorkerRow
from smg_console.present import fleet, guide
from smg_console.present.runs import Line
from smg_console.widgets.panel import Panel

Made = tuple[WorkerRow, int, bool, Line]
"""A line, with what it was made of: the row, the second, and whether it was selected."""


class FleetTable(Panel, can_focus=True):
    """Workers in rows, sorted and filtered, with a cursor."""

    BINDINGS: ClassVar = [
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False),
        Binding("home,g", "edge(0)", "First", show=False),
        Binding("end,G", "edge(-1)", "Last", show=False),
        Binding("enter", "open", "Details", show=False),
        *(
            Binding(column.key, f"sort('{column.key}')", f"Sort by {column.title.lower()}", show=False)
            for column in fleet.COLUMNS
        ),
    ]

    class Opened(Message):
        """A worker was chosen with Enter or a second click."""

        def __init__(self, worker_id: WorkerId) -> None:
            super().__init__()
            self.worker_id = worker_id

    def __init__(self) -> None:
        super().__init__(id="fleet")
        self.sort = "N"
        self.reverse = False
        self.words: list[str] = []
        """Words of the filter; a row must fit all."""
        self._cursor: WorkerId | None = None
        self._at = 0
        self._top = 0
        self._rows: Sequence[WorkerRow] = ()
        self._ordered_for: tuple[object, ...] = ()
        self._made: dict[WorkerId, Made] = {}
        self._columns: fleet.Shown = ()
        self._width = 0

    @property
    def current(self) -> WorkerRow | None:
        """The worker under the cursor."""
        return self._rows[self._at] if self._rows else None

    def draw(self, width: int, height: int) -> Sequence[Line]:
        self._order()
        if width != self._width:
            self._width, self._columns, self._made = width, fleet.shown_columns(width), {}
        room = max(1, height - 1)
        self._top = max(0, min(self._top, self._at, len(self._rows) - room), self._at - room + 1)
        self.set_titles(self._title(room), self._below())
        head = fleet.header(self._columns, self.sort, self.reverse, width)
        if not self._rows:
            return [head, *guide.empty_lines(self.face.seen.gateway.address, self.words)]
        visible = self._rows[self._top : self._top + room]
        made = {row.worker.id: self._line(row, selected=n == self._at) for n, row in enumerate(visible, self._top)}
        self._made = made
        return [head, *(line for _, _, _, line in made.values())]

    def _order(self) -> None:
        """Filter and sort, if the fleet or the question changed; find the cursor's worker again."""
        watch = self.face.seen
        wanted = (watch.version, self.sort, self.reverse, tuple(self.words))
        if wanted == self._ordered_for:
            return
        self._ordered_for = wanted
        rows = [row for row in watch.rows if fleet.matches(row, self.words)] if self.words else watch.rows
        self._rows = fleet.ordered(rows, self.sort, self.reverse)
        found = next((n for n, row in enumerate(self._rows) if row.worker.id == self._cursor), None)
        # Where the worker left or is filtered out, the one that took its place is next.
        self._at = found if found is not None else max(0, min(self._at, len(self._rows) - 1))
        if self._rows:
            self._cursor = self._rows[self._at].worker.id

    def _line(self, row: WorkerRow, *, selected: bool) -> Made:
        watch = self.face.seen
        row, second = watch.fresh(row), int(watch.gateway.now)
        made = self._made.get(row.worker.id)
        if made is not None and made[:3] == (row, second, selected):
            return made
        line = fleet.row_line(row, self._columns, watch.gateway.now, self._width, selected=selected)
        return row, second, selected, line

    def _title(self, room: int) -> str:
        total, shown = len(self.face.seen.rows), len(self._rows)
        place = f", {self._top + 1} to {min(shown, self._top + room)} in view" if shown > room else ""
        if self.words:
            return f"Fleet: {shown} of {total} fit the filter {' '.join(self.words)}{place}"
        return f"Fleet: {total} worker{'' if total == 1 else 's'}{place}"

    def _below(self) -> str:
        row = self.current
        return guide.standing(row.worker, self.size.width - 4) if row is not None else ""

    def selected_line(self) -> int:
        return self._at - self._top + 1 if self._rows else -1

    # --- keys and mouse ---

    def _go(self, index: int) -> None:
        if self._rows:
            self._at = max(0, min(index, len(self._rows) - 1))
            self._cursor = self._rows[self._at].worker.id
            self.tick()
            self.face.selection_moved()

    def action_move(self, step: int) -> None:
        self._go(self._at + step)

    def action_page(self, pages: int) -> None:
        self._go(self._at + pages * max(1, self.size.height - 2))

    def action_edge(self, index: int) -> None:
        self._go(index if index >= 0 else len(self._rows) - 1)

    def action_sort(self, key: str) -> None:
        """Sort by a column, numbers largest first; once more turns it round."""
        self.reverse = not self.reverse if self.sort == key else fleet.BY_KEY[key].right
        self.sort = key
        self.tick()

    def action_open(self) -> None:
        if self._rows and self._cursor is not None:
            self.post_message(self.Opened(self._cursor))

    def on_click(self, event: events.Click) -> None:
        line = event.get_content_offset(self)
        if line is None:
            return
        index = self._top + line.y - 1
        if line.y >= 1 and index < len(self._rows):
            self._go(index)
            if event.chain == 2:
                self.action_open()

    def on_mouse_scroll_down(self) -> None:
        self.action_move(1)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-1)
