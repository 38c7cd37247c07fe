"""The routing screen: policy by model, the share of each worker, and where a prompt would go, as one types it."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Input

from gateway.errors import GatewayError
from gateway.proxy.explain import RouteStatus
from gateway.workers.model import WorkerId
from smg_console.plane import Explained, WorkerRow
from smg_console.present import routing
from smg_console.present.runs import Line
from smg_console.widgets.panel import Panel
from smg_console.widgets.panels import Header, Keys, Lines
from smg_console.widgets.rows import Rows

if TYPE_CHECKING:
    from smg_console.app import ConsoleApp

FRESH_S = 1.0


class RoutingKeys(Keys):
    KEYS = (
        ("Esc", "back"),
        ("j k", "model"),
        ("Enter i", "explain a prompt"),
        ("Tab", "to its workers"),
        ("?", "help"),
    )


class Routes(Rows[RouteStatus]):
    """A row for each model and role."""

    def __init__(self) -> None:
        super().__init__(id="rows")
        self.by_id: dict[WorkerId, WorkerRow] = {}
        self._found: Sequence[RouteStatus] = ()
        self._found_for: tuple[object, ...] = ()
        self._version = -1

    def rows(self) -> Sequence[RouteStatus]:
        """Taken anew after an event, and once a second: a worker's own report may leave it out."""
        seen = self.face.seen
        plane = self.face.plane
        wanted = (plane.seq(), plane.arrived(), int(seen.gateway.now / FRESH_S))
        if wanted != self._found_for:
            self._found_for, self._found = wanted, plane.routes()
        if seen.version != self._version:
            self._version = seen.version
            self.by_id = {row.worker.id: row for row in seen.rows}
        return self._found

    def key(self, row: RouteStatus) -> tuple[object, ...]:
        return row.model, row.role

    def line(self, row: RouteStatus, width: int, *, selected: bool) -> Line:
        return routing.row_line(row, self.by_id, width)

    def header(self, width: int) -> Line:
        return routing.header(width)

    def empty(self, width: int) -> Sequence[Line]:
        return [(("", ""),), (("  No worker is listed, so nothing is routed.", "muted"),)]

    def titled(self, first: int, last: int, count: int) -> None:
        labelled = any(row.by_label for row in self._found)
        self.set_titles(f"Routing: {count} models and roles", "* set by a worker's label" if labelled else "")


class Shares(Lines):
    """The workers of the model under the cursor."""

    def source(self, width: int) -> Sequence[Line]:
        table = self.screen.query_one(Routes)
        route = table.current
        self.set_titles(f"Shares of {routing.name_of(route)}" if route is not None else "Shares", self._titles[1])
        return routing.share_lines(route, table.by_id, width)


class Answers(Panel):
    """What each policy would do with the prompt typed below."""

    HINT = "Type a prompt below: which worker each policy would take for it, and why. Nothing is sent."

    def __init__(self) -> None:
        super().__init__(id="answers")
        self.found: Sequence[Explained] | None = None
        self.problem = ""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        self.set_titles("Explain")
        if self.problem:
            return [((f" {self.problem}", "error"),)]
        if self.found is None:
            return [((f" {part}", "muted"),) for part in textwrap.wrap(self.HINT, max(20, width - 2))]
        return routing.explained_lines(self.found, self.face.seen.names, width)


class RoutingScreen(Screen[None]):
    """See the module."""

    BINDINGS: ClassVar = [Binding("escape", "back", "Back"), Binding("i,slash", "type", "Explain a prompt")]

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        yield Routes()
        yield Shares(id="shares")
        yield Answers()
        yield Input(placeholder="i or Enter: type a prompt to see where it would go", id="prompt", compact=True)
        yield RoutingKeys(id="keys")

    def on_mount(self) -> None:
        self.table.focus()
        self._arrange(self.app.size.height)

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size.height)

    def _arrange(self, height: int) -> None:
        self.set_class(height < 34, "-small")

    @property
    def table(self) -> Routes:
        return self.query_one(Routes)

    def action_back(self) -> None:
        """From the line or the workers to the table, from the table to where one came from."""
        if self.focused is self.table:
            self.dismiss()
        else:
            self.table.focus()

    def action_type(self) -> None:
        self.query_one("#prompt", Input).focus()

    def on_rows_opened(self) -> None:
        self.action_type()

    def on_rows_moved(self) -> None:
        self.query_one(Shares).tick()
        self._ask()

    def on_input_changed(self) -> None:
        self._ask()

    def _ask(self) -> None:
        self.run_worker(self._explain(), group="explain", exclusive=True, exit_on_error=False)

    async def _explain(self) -> None:
        route, panel = self.table.current, self.query_one(Answers)
        text = self.query_one("#prompt", Input).value
        panel.found, panel.problem = None, ""
        if route is not None and text:
            try:
                panel.found = await cast("ConsoleApp", self.app).plane.explain(route.model, text)
            except GatewayError as error:
                panel.problem = error.message
        panel.tick()
