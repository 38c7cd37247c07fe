"""The main screen: the fleet with its diagram, counters, graphs and events, arranged for the terminal's size."""

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Input

from smg_console.present.runs import Line
from smg_console.widgets.event_feed import Feed
from smg_console.widgets.fleet_table import FleetTable
from smg_console.widgets.panel import Panel
from smg_console.widgets.panels import (
    ChosenLoads,
    Counters,
    CountersLine,
    Diagram,
    EitherLoads,
    Header,
    Incident,
    Keys,
    Loads,
)

LEAST = (60, 15)


def arrangement(width: int, height: int) -> str:
    """The classes for a terminal of this size; the styles say what each shows."""
    if width < LEAST[0] or height < LEAST[1]:
        return "-tiny"
    if width >= 170 and height >= 44:
        return "-large"
    if width >= 110 and height >= 34:
        return "-medium"
    if width >= 72 and height >= 38:
        return "-tall"
    return "-small" if height >= 20 else "-small -short"


class TooSmall(Panel):
    """Shown instead of everything on a terminal nothing fits in."""

    def draw(self, width: int, height: int) -> list[Line]:
        lines: list[Line] = [
            (("This terminal is too small.", "bold warning"),),
            ((f"It has {width}x{height} cells, the console needs {LEAST[0]}x{LEAST[1]}.", ""),),
            (("The gateway serves on; q quits it.", "muted"),),
        ]
        return [((" ", ""), *line) for line in lines]


class MainScreen(Screen[None]):
    """Everything at once."""

    BINDINGS: ClassVar = [
        Binding("slash", "filter", "Filter"),
        Binding("escape", "clear", "Clear"),
        Binding("w", "toggle_graphs", "Graphs: fleet or worker", show=False),
    ]

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        yield Incident(id="incident")
        yield CountersLine(id="line")
        with Horizontal(id="top"):
            yield Diagram(id="diagram")
            yield Counters(id="counters")
            yield EitherLoads(id="either")
            yield Loads(id="whole")
        yield FleetTable()
        yield EitherLoads(id="strip", beside=True)
        with Horizontal(id="bottom"):
            yield Feed()
            yield ChosenLoads(id="chosen")
        yield Input(
            placeholder="filter: a part of a name, state:ready, model:llama, label:rack=b7", id="filter", compact=True
        )
        yield Keys(id="keys")
        yield TooSmall(id="too-small")

    def on_mount(self) -> None:
        self.query_one("#diagram", Diagram).set_titles("States")
        self.query_one("#counters", Counters).set_titles("Health")
        self.query_one(Feed).fill()
        self.table.focus()
        self._arrange(self.app.size.width, self.app.size.height)

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size.width, event.size.height)

    def _arrange(self, width: int, height: int) -> None:
        wanted = arrangement(width, height).split()
        for name in ("-tiny", "-short", "-small", "-tall", "-medium", "-large"):
            self.set_class(name in wanted, name)

    def make_room(self) -> None:
        """The incident strip is there only while there is an incident."""
        self.set_class(self.query_one(Incident).line(self.app.size.width) is not None, "-incident")

    @property
    def table(self) -> FleetTable:
        return self.query_one(FleetTable)

    def action_filter(self) -> None:
        """Type a filter; it holds as one types."""
        self.add_class("-filtering")
        self.query_one("#filter", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.table.words = event.value.split()
        self.table.tick()

    def on_input_submitted(self) -> None:
        self.remove_class("-filtering")
        self.table.focus()

    def action_clear(self) -> None:
        """Drop the filter; back to the table."""
        self.query_one("#filter", Input).value = ""
        self.on_input_submitted()

    def action_toggle_graphs(self) -> None:
        """Show the graphs of the fleet, or of the worker under the cursor."""
        face = self.table.face
        face.graph_worker = not face.graph_worker
        face.selection_moved()
