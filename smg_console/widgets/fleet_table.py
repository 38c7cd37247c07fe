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
from smg_console.present import fleet
from smg_console.present.runs import Line
from smg_console.widgets.panel import Panel


class FleetTable(Panel, can_focus=True):
    """Workers in rows, sorted and filtered, with a cursor."""

    BINDINGS: ClassVar = [
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("home,g", "edge(0)", "First", show=False),
        Binding("end,G", "edge(-1)", "Last", show=False),
        Binding("enter", "open", "Details", show=False),
        *(
            Binding(column.key, f"sort('{column.key}')", f"Sort by {column.title.lower()}", show=False)
            for column in fleet.COLUMNS
            if column.key != "G"
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
        self._top = 0
        self._rows: Sequence[WorkerRow] = ()

    @property
    def current(self) -> WorkerRow | None:
        """The worker under the cursor."""
        return next((row for row in self._rows if row.worker.id == self._cursor), None)

    def _index(self) -> int:
        return next((n for n, row in enumerate(self._rows) if row.worker.id == self._cursor), 0)

    def draw(self, width: int, height: int) -> Sequence[Line]:
        rows = [row for row in self.face.rows if fleet.matches(row, self.words)]
        before = self._index()
        self._rows = fleet.ordered(rows, self.sort, self.reverse)
        if self._rows and self.current is None:  # it left: the one that took its place is next
            self._cursor = self._rows[min(before, len(self._rows) - 1)].worker.id
        at, room = self._index(), max(1, height - 1)
        self._top = max(0, min(self._top, at, len(self._rows) - room), at - room + 1)
        self.border_title = self._title()
        columns = fleet.shown_columns(width)
        now = self.face.gateway_row.now
        lines = [fleet.header(columns, self.sort, self.reverse)]
        for n, row in enumerate(self._rows[self._top : self._top + room], self._top):
            lines.append(fleet.row_line(row, columns, now, selected=n == at))
        return lines if self._rows else [*lines, *self._empty()]

    def _title(self) -> str:
        total = len(self.face.rows)
        if self.words:
            return f"Fleet: {len(self._rows)} of {total}, filter {' '.join(self.words)}"
        return f"Fleet: {total} worker{'' if total == 1 else 's'}"

    def _empty(self) -> list[Line]:
        if self.words:
            return [((), ())[0], (("  no worker fits the filter; Esc clears it", "warning"),)]
        address = self.face.gateway_row.address
        return [
            (("", ""),),
            (("  No workers yet.", "bold"),),
            (
                ("  a", "bold accent"),
                (" adds one here; or start with ", ""),
                ("--worker-urls http://host:8000", "bold"),
                (", or", ""),
            ),
            ((f'  curl -X POST {address}/workers -d \'{{"url":"http://host:8000"}}\'', "muted"),),
        ]

    def selected_line(self) -> int:
        return self._index() - self._top + 1 if self._rows else -1

    # --- keys and mouse ---

    def _go(self, index: int) -> None:
        if self._rows:
            self._cursor = self._rows[max(0, min(index, len(self._rows) - 1))].worker.id
            self.tick()
            self.face.selection_moved()

    def action_move(self, step: int) -> None:
        self._go(self._index() + step)

    def action_page(self, pages: int) -> None:
        self._go(self._index() + pages * max(1, self.size.height - 2))

    def action_edge(self, index: int) -> None:
        self._go(index if index >= 0 else len(self._rows) - 1)

    def action_sort(self, key: str) -> None:
        """Sort by a column; once more turns it round."""
        self.reverse = not self.reverse if self.sort == key else fleet.BY_KEY[key].right
        self.sort = key
        self.tick()

    def action_open(self) -> None:
        if self._cursor is not None and self.current is not None:
            self.post_message(self.Opened(self._cursor))

    def on_click(self, event: events.Click) -> None:
        if event.y >= 1 and self._top + event.y - 1 < len(self._rows):
            self._go(self._top + event.y - 1)
            if event.chain == 2:
                self.action_open()

    def on_mouse_scroll_down(self) -> None:
        self.action_move(1)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-1)
