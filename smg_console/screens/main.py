"""The main screen: the fleet with its diagram, counters, graphs and events, arranged for the terminal's size."""

from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.widgets import Input

from gateway.workers.model import LISTED_STATES, State
from smg_console.present.arranging import GROUPS, How
from smg_console.present.columns import column_of
from smg_console.present.completion import hint_line
from smg_console.present.query import (
    FilterError,
    completions,
    fields_line,
    parsed,
    state_alone,
    with_state,
    without_faults,
)
from smg_console.present.runs import Line
from smg_console.widgets.diagram import Diagram
from smg_console.widgets.event_feed import Feed
from smg_console.widgets.fleet_table import FleetTable
from smg_console.widgets.line_edit import Hint, LineEdit
from smg_console.widgets.panel import Panel
from smg_console.widgets.panels import (
    ChosenLoads,
    Counters,
    CountersLine,
    EitherLoads,
    Header,
    Incident,
    Keys,
    Loads,
)
from smg_console.widgets.rolling_line import RollingLine

if TYPE_CHECKING:
    from smg_console.app import ConsoleApp

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
        *(Binding(str(n), f"only({n})", f"Only {state}", show=False) for n, state in enumerate(LISTED_STATES, 1)),
        Binding("0", "only(0)", "All states", show=False),
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
        kept = cast("ConsoleApp", self.app).memory.now
        sort = kept.sort if column_of(kept.sort) is not None else "name"
        group = kept.group if kept.group in GROUPS else ""
        columns = tuple(name for name in kept.columns if column_of(name) is not None)
        yield FleetTable(How(sort=sort, reverse=kept.reverse, group=group), columns)
        yield RollingLine(id="rolling")
        yield EitherLoads(id="strip", beside=True)
        with Horizontal(id="bottom"):
            yield Feed()
            yield ChosenLoads(id="chosen")
        yield LineEdit(
            placeholder="filter: llama  state:unhealthy  p99>500  inflight>=10  label:rack=b7  -name:w3",
            id="filter",
            complete=lambda text: completions(text, self.table.face.seen.rows),
        )
        yield Hint(self._hint, id="hint")
        yield Keys(id="keys")
        yield TooSmall(id="too-small")

    def on_mount(self) -> None:
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

    def hear(self, now: float) -> None:
        """Take what is new: the strips of incidents and of rolling drains are there only while there are some."""
        try:
            rolling, incident = self.query_one(RollingLine), self.query_one(Incident)
            diagram, feed = self.query_one(Diagram), self.query_one(Feed)
        except NoMatches:
            return  # it is closing: a frame was on its way
        self.set_class(bool(rolling.jobs()), "-rolling")
        self.set_class(incident.line(self.app.size.width) is not None, "-incident")
        diagram.saw(feed.news(), now)

    @property
    def table(self) -> FleetTable:
        return self.query_one(FleetTable)

    def action_filter(self) -> None:
        """Type a filter; it holds as one types."""
        self.add_class("-filtering")
        self.filter_line.focus()

    @property
    def filter_line(self) -> LineEdit:
        return self.query_one("#filter", LineEdit)

    def _hint(self, width: int) -> Line:
        line, table = self.filter_line, self.table
        found = line.candidates() if not table.problem or line.value.endswith((":", ">", "=")) else ()
        fit = f"{len(table.fitting)} of {len(table.face.seen.rows)} fit" if line.value else fields_line()
        return hint_line("" if found else table.problem, found, fit, width)

    def set_filter(self, text: str) -> None:
        """Filter by this, as if it had been typed."""
        self.filter_line.put(text)

    async def on_input_changed(self, event: Input.Changed) -> None:
        try:
            query = parsed(event.value)
        except FilterError as error:
            self.table.problem = str(error)
        else:
            self.table.problem = ""
            await self.table.ask(query=query)
            self.diagram.chosen = state_alone(query.text)
            self.diagram.tick()
        self.query_one(Hint).tick()

    def on_input_submitted(self) -> None:
        """Keep the filter, and back to the table; what is wrong in the line is dropped."""
        if self.table.problem:
            self.filter_line.put(without_faults(self.filter_line.value))
        self.remove_class("-filtering")
        self.table.focus()

    def action_clear(self) -> None:
        """Drop the filter, and where there is none the marks; back to the table."""
        if not self.filter_line.value and not self.has_class("-filtering") and self.focused is self.table:
            self.table.action_unmark()
        self.filter_line.value = ""
        self.on_input_submitted()

    # --- the diagram ---

    @property
    def diagram(self) -> Diagram:
        return self.query_one(Diagram)

    def action_only(self, number: int) -> None:
        """Show the workers of one state, by its number in the diagram; once more, or 0: of all."""
        state = LISTED_STATES[number - 1] if number else None
        self.show_only(None if state is self.diagram.chosen else state)

    def show_only(self, state: State | None) -> None:
        """Show the workers of one state (None: of all); what else the filter asks stays."""
        self.set_filter(with_state(self.filter_line.value, state))

    def on_diagram_chosen(self, message: Diagram.Chosen) -> None:
        self.show_only(message.state)

    def on_diagram_done(self) -> None:
        self.table.focus()

    def action_toggle_graphs(self) -> None:
        """Show the graphs of the fleet, or of the worker under the cursor."""
        face = self.table.face
        face.graph_worker = not face.graph_worker
        face.selection_moved()
