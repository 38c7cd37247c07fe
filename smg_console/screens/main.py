"""The main screen: the fleet with its diagram, counters, graphs and events, arranged for the terminal's size."""

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Input

from gateway.telemetry.samples import Measure
from smg_console.present.runs import Line
from smg_console.widgets.fleet_table import FleetTable
from smg_console.widgets.panel import Panel
from smg_console.widgets.panels import Counters, Diagram, Feed, Graph, Header, Keys

LEAST = (60, 15)


class TooSmall(Panel):
    """Shown instead of everything on a terminal nothing fits in."""

    def draw(self, width: int, height: int) -> list[Line]:
        text = f"smg-console needs {LEAST[0]}x{LEAST[1]} cells; this is {self.app.size.width}x{self.app.size.height}"
        return [((text, "bold warning"),), (("q quits, the gateway serves meanwhile", "muted"),)]


class MainScreen(Screen[None]):
    """Everything at once."""

    BINDINGS: ClassVar = [
        Binding("slash", "filter", "Filter"),
        Binding("escape", "clear", "Clear"),
        Binding("tab", "toggle_graphs", "Graphs: fleet or worker", show=False),
    ]

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        with Horizontal(id="top"):
            yield Diagram()
            yield Counters(id="counters")
        yield FleetTable()
        with Horizontal(id="graphs"):
            yield Graph("Requests/s", [(Measure.REQUESTS, "")], id="g1")
            yield Graph("In flight", [(Measure.IN_FLIGHT, "")], id="g2")
            yield Graph("Latency", [(Measure.P50, "p50"), (Measure.P99, "p99")], id="g3")
        yield Feed()
        yield Input(
            placeholder="filter: a part of a name, state:ready, model:llama, label:rack=b7", id="filter", compact=True
        )
        yield Keys(id="keys")
        with Vertical(id="too-small"):
            yield TooSmall()

    def on_mount(self) -> None:
        titles = {"#diagram": "States", "#counters": "Health", "#feed": "Events", "#graphs": "Load of the fleet"}
        for selector, title in titles.items():
            self.query_one(selector).border_title = title
        self.query_one(Feed).fill()
        self.query_one(FleetTable).focus()
        self._arrange(self.app.size.width, self.app.size.height)

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size.width, event.size.height)

    def _arrange(self, width: int, height: int) -> None:
        self.set_class(width < LEAST[0] or height < LEAST[1], "-tiny")
        self.set_class(width < 106 or height < 32, "-small")
        self.set_class(width >= 160 and height >= 48, "-large")

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
        """Drop the filter."""
        self.query_one("#filter", Input).value = ""
        self.on_input_submitted()

    def action_toggle_graphs(self) -> None:
        """Show the graphs of the fleet, or of the worker under the cursor."""
        face = self.table.face
        face.graph_worker = not face.graph_worker
        face.selection_moved()
