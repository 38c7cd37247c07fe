"""Where one can go in the console: each screen by its key, what a screen's help is, and which worker one stands on."""

from typing import ClassVar

from textual.screen import ModalScreen, Screen

from gateway.telemetry.logs import LogRing
from gateway.workers.model import WorkerId
from smg_console.commanding import CommandingApp
from smg_console.plane import FLEET, Subject, WorkerRow
from smg_console.present import detail, guide
from smg_console.screens.graphs import GraphsScreen
from smg_console.screens.journal import JournalScreen
from smg_console.screens.listing import Listing
from smg_console.screens.log import LogScreen
from smg_console.screens.main import MainScreen
from smg_console.screens.routing import RoutingScreen
from smg_console.screens.settings import SettingsScreen
from smg_console.screens.tokenizers import TokenizersScreen
from smg_console.screens.views import DiscoveryView, HelpView, PeopleView, View, WorkerView
from smg_console.widgets.fleet_table import FleetTable

SHOWN_BY = {"s": "discovery", "z": "tokenizers", "e": "journal"}
"""The screens that incidents name by their keys."""
HELP_OF = (
    (WorkerView, guide.WORKER),
    (TokenizersScreen, guide.TOKENIZERS),
    (RoutingScreen, guide.ROUTING),
    (GraphsScreen, guide.GRAPHS),
    (Listing, guide.LISTING),
    (View, guide.READING),
)
"""The help of where one is; elsewhere it is the table's."""


class VisitingApp(CommandingApp):
    """An application with all the screens there are."""

    PLACES: ClassVar = {
        "discovery": "discovery",
        "tokenizers": "tokenizers",
        "events": "journal",
        "routing": "routing",
        "graphs": "graphs",
        "settings": "settings",
        "people": "people",
        "log": "log",
        "help": "help",
    }
    ring: LogRing | None
    """What the log screen shows; None: there is no log here."""

    def open_worker_row(self, row: WorkerRow) -> None:
        self.open_worker(row.worker.id)

    @property
    def under_cursor(self) -> WorkerRow | None:
        """The worker under the table's cursor."""
        for screen in self.screen_stack:
            if isinstance(screen, MainScreen) and screen.is_mounted:
                return screen.table.current
        return None

    @property
    def chosen(self) -> WorkerRow | None:
        """The worker that keys act on: the one shown, else the one under the cursor."""
        return self._chosen_on(self.screen)

    def _chosen_on(self, screen: Screen[object]) -> WorkerRow | None:
        if isinstance(screen, WorkerView):
            return self.plane.row(screen.worker_id)
        if isinstance(screen, GraphsScreen):
            return screen.worker
        return self.under_cursor if isinstance(screen, MainScreen) else None

    def on_fleet_table_opened(self, message: FleetTable.Opened) -> None:
        self.open_worker(message.worker_id)

    def open_worker(self, worker_id: WorkerId) -> bool:
        """Show a worker; False where it has left."""
        row = self.plane.row(worker_id)
        if row is not None:
            self.push_screen(WorkerView(row))
        return row is not None

    def action_json(self) -> None:
        row = self.chosen
        if row is None:
            self.say("no worker is chosen", "warning")
        elif not isinstance(self.screen, ModalScreen):
            lines = detail.json_lines(row)
            self.push_screen(View(f"{row.worker.name} as JSON", lambda _width: lines))

    def _visit(self, kind: type[Screen[None]]) -> None:
        """Open a screen, unless one is there or has a question to answer first."""
        if not isinstance(self.screen, (kind, ModalScreen)):
            self.push_screen(kind())

    def action_discovery(self) -> None:
        self._visit(DiscoveryView)

    def action_tokenizers(self) -> None:
        self._visit(TokenizersScreen)

    def action_graphs(self) -> None:
        """Of the fleet; on a worker's screen, of that worker."""
        if not isinstance(self.screen, GraphsScreen | ModalScreen):
            row, here = self.under_cursor, self.screen
            of = Subject(worker=here.worker_id) if isinstance(here, WorkerView) else FLEET
            self.push_screen(GraphsScreen(of, row.worker.id if row is not None else None))

    def action_journal(self) -> None:
        self._visit(JournalScreen)

    async def action_incident(self) -> None:
        """Go to what the incident strip tells of."""
        if isinstance(self.screen, ModalScreen):
            return
        first = next(iter(self.seen.incidents), None)
        if first is None:
            self.say("nothing is wrong")
        elif first.worker is not None:
            self.open_worker(first.worker)
        elif first.key in SHOWN_BY:
            await self.run_action(SHOWN_BY[first.key])
        else:
            self.say(f"{first.word}: {first.text}", "error" if first.severe else "warning")

    def action_routing(self) -> None:
        self._visit(RoutingScreen)

    def action_settings(self) -> None:
        self._visit(SettingsScreen)

    def action_log(self) -> None:
        ring = self.ring
        if ring is None:
            self.say("there is no log here", "warning")
        elif not isinstance(self.screen, LogScreen | ModalScreen):
            self.push_screen(LogScreen(ring))

    def action_people(self) -> None:
        self._visit(PeopleView)

    def action_help(self) -> None:
        """The keys of where one is; once more closes them."""
        screen = self.screen
        if isinstance(screen, HelpView):
            screen.dismiss()
        elif not isinstance(screen, ModalScreen):
            where = next((keys for kind, keys in HELP_OF if isinstance(screen, kind)), guide.TABLE)
            self.push_screen(HelpView("Help", lambda width: guide.help_lines(width, where)))
