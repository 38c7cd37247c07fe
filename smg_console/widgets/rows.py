"""Rows of anything under a header line, with a cursor that stands on a thing, not on a line.

Only the visible lines are made. When rows move or leave, the cursor stays with its own; where that has left, it
takes the one that came into its place.
"""

from collections.abc import Hashable, Sequence
from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.binding import Binding
from textual.message import Message

from smg_console.present.runs import Line
from smg_console.widgets.panel import Panel

Row = TypeVar("Row")
FAR = 1_000_000_000
CURSOR = "▸"


class Rows(Panel, Generic[Row], can_focus=True):
    """`follows`: the cursor starts at the last row and stays there as rows come, until it is moved away."""

    BINDINGS: ClassVar = [
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False),
        Binding("home,g", f"move(-{FAR})", "First", show=False),
        Binding("end,G", f"move({FAR})", "Last", show=False),
        Binding("enter", "open", "Open", show=False),
    ]

    class Moved(Message):
        """The cursor stands on another row."""

    class Opened(Message):
        """Enter, or a second click."""

    def __init__(self, *, id: str, follows: bool = False) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.follows = follows
        self._follow_last = follows
        self._rows: Sequence[Row] = ()
        self._cursor: Hashable = None
        self._at = 0
        self._top = 0

    # --- what a table of something says ---

    def rows(self) -> Sequence[Row]:
        """All rows, in order; the same object only while nothing changed."""
        raise NotImplementedError

    def key(self, row: Row) -> Hashable:
        """What tells a row from others, for as long as it is there."""
        raise NotImplementedError

    def line(self, row: Row, width: int, *, selected: bool) -> Line:
        """A row in a line."""
        raise NotImplementedError

    def header(self, width: int) -> Line | None:
        """The columns' names."""
        return None

    def empty(self, width: int) -> Sequence[Line]:
        """Instead of rows, where there are none."""
        return ()

    def titled(self, first: int, last: int, count: int) -> None:
        """Set the border's texts; the rows from `first` to `last` of so many are in view."""

    # --- drawing ---

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        return self._rows[self._at] if self._rows else None

    def draw(self, width: int, height: int) -> Sequence[Line]:
        self._take(self.rows())
        head = self.header(width)
        room = max(1, height - (head is not None))
        count = len(self._rows)
        self._top = max(0, min(self._top, self._at, count - room), self._at - room + 1)
        self.titled(self._top + 1 if count else 0, min(count, self._top + room), count)
        above = [head] if head is not None else []
        if not count:
            return [*above, *self.empty(width)]
        shown = enumerate(self._rows[self._top : self._top + room], self._top)
        return [*above, *(self._marked(row, width, selected=n == self._at) for n, row in shown)]

    def _marked(self, row: Row, width: int, *, selected: bool) -> Line:
        """A row's line, with a mark at the cursor: the colour behind it must not be its only sign."""
        line = self.line(row, width, selected=selected)
        if not selected or not line or not line[0][0].startswith(" "):
            return line
        (text, style), rest = line[0], line[1:]
        return ((CURSOR, "bold accent"), (text[1:], style), *rest)

    def _take(self, rows: Sequence[Row]) -> None:
        """Find the cursor's row again."""
        if rows is self._rows:
            return
        self._rows = rows
        if self.follows:
            self._at = max(0, len(rows) - 1)
        elif not (self._at < len(rows) and self.key(rows[self._at]) == self._cursor):
            found = next((n for n, row in enumerate(rows) if self.key(row) == self._cursor), None)
            self._at = found if found is not None else max(0, min(self._at, len(rows) - 1))
        self._cursor = self.key(rows[self._at]) if rows else None

    def selected_line(self) -> int:
        return self._at - self._top + (self.header(self.size.width) is not None) if self._rows else -1

    # --- keys and mouse ---

    def go(self, index: int) -> None:
        """Put the cursor on a row."""
        if self._rows:
            self._at = max(0, min(index, len(self._rows) - 1))
            self._cursor = self.key(self._rows[self._at])
            self.follows = self._follow_last and self._at == len(self._rows) - 1
            self.tick()
            self.post_message(self.Moved())

    def action_move(self, step: int) -> None:
        self.go(self._at + step)

    def action_page(self, pages: int) -> None:
        self.go(self._at + pages * max(1, self.size.height - 2))

    def action_open(self) -> None:
        if self._rows:
            self.post_message(self.Opened())

    def on_click(self, event: events.Click) -> None:
        place = event.get_content_offset(self)
        if place is None:
            return
        index = self._top + place.y - (self.header(self.size.width) is not None)
        if self._top <= index < len(self._rows):
            self.go(index)
            if event.chain == 2:
                self.action_open()

    def on_mouse_scroll_down(self) -> None:
        self.action_move(1)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-1)
