"""A screen of rows with a filter line below and the row under the cursor in full: what journal and settings share."""

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Input

from smg_console.present.runs import Line
from smg_console.widgets.panel import Panel
from smg_console.widgets.panels import Header, Keys
from smg_console.widgets.rows import Rows

Row = TypeVar("Row")


class Filtered(Rows[Row], Generic[Row]):
    """Rows of which those are shown that fit the words of a filter."""

    def __init__(self, *, follows: bool = False) -> None:
        super().__init__(id="rows", follows=follows)
        self.words: tuple[str, ...] = ()
        self.problem = ""
        """What is wrong with what is typed; the last good words hold until it is mended."""

    def judge(self, words: Sequence[str]) -> str:
        """What is wrong with these words; empty where nothing is."""
        return ""

    def ask(self, text: str) -> None:
        """Filter by these words."""
        words = tuple(text.split())
        self.problem = self.judge(words)
        if not self.problem:
            self.words = words
        self.tick()

    def told(self, what: str, shown: int, total: int) -> str:
        """The title: how many there are, and how many fit."""
        if self.problem:
            return f"{what}: {self.problem}"
        if not self.words:
            return f"{what}: {total}"
        return f"{what}: {shown} of {total} fit the filter {' '.join(self.words)}"


class Full(Panel):
    """The row under the cursor, nothing cut off."""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        return cast("Listing[object]", self.screen).full(width)


class ListingKeys(Keys):
    KEYS = (("Esc", "back"), ("j k", "move"), ("g G", "first, last"), ("/", "filter"), ("?", "help"), ("q", "quit"))


class Listing(Screen[None], Generic[Row]):
    """See the module. `/` filters as one types; Esc drops the filter, then goes back."""

    BINDINGS: ClassVar = [Binding("slash", "filter", "Filter"), Binding("escape,backspace", "back", "Back")]
    KEYS: ClassVar[type[Keys]] = ListingKeys
    HINT: ClassVar[str] = "words that must be in it; -word must not"

    def make_table(self) -> Filtered[Row]:
        """The rows."""
        raise NotImplementedError

    def full(self, width: int) -> Sequence[Line]:
        """What there is to say of the row under the cursor."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        yield self.make_table()
        yield Full(id="full")
        yield Input(placeholder=self.HINT, id="filter", compact=True)
        yield self.KEYS(id="keys")

    def on_mount(self) -> None:
        self.table.focus()
        self._arrange(self.app.size.height)

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size.height)

    def _arrange(self, height: int) -> None:
        self.set_class(height < 30, "-small")

    @property
    def table(self) -> Filtered[Row]:
        return cast("Filtered[Row]", self.query_one("#rows"))

    def action_filter(self) -> None:
        """Type a filter; it holds as one types."""
        self.add_class("-filtering")
        self.query_one("#filter", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.table.ask(event.value)
        self.query_one(Full).tick()

    def on_input_submitted(self) -> None:
        self.remove_class("-filtering")
        self.table.focus()

    def on_rows_moved(self) -> None:
        self.query_one(Full).tick()

    def action_back(self) -> None:
        line = self.query_one("#filter", Input)
        if self.focused is line or line.value:
            line.value = ""
            self.on_input_submitted()
        else:
            self.dismiss()
