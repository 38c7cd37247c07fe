"""The console as a Textual application: one timer that looks at the plane, and the keys that act on it.

It draws from the plane a few times a second, in slices that yield to the gateway's traffic, and more rarely
when the loop is late. Whatever a command answers is shown; nothing a command raises ends the console.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.screen import ModalScreen, Screen

from gateway.errors import GatewayError
from gateway.operations import Command, Cordon, ProbeNow, Remove, Resume, Retry, StartDrain, Uncordon
from gateway.telemetry.logs import LogRing
from gateway.workers.model import WorkerId
from smg_console import themes
from smg_console.plane import GatewayRow, Plane, WorkerRow
from smg_console.present import detail, guide
from smg_console.screens.dialogs import AddWorker, Confirm, Question
from smg_console.screens.main import MainScreen
from smg_console.screens.views import View, WorkerView
from smg_console.widgets.fleet_table import FleetTable
from smg_console.widgets.panel import Panel
from smg_console.widgets.panels import Diagram, Feed

FRAME_S = 0.25
LATE_MS = 30.0
"""A loop this late gets every other frame only: traffic goes first."""


class ConsoleApp(App[None]):
    """The console over a plane. `log` is shown on the log screen."""

    TITLE = "smg-console"
    CSS_PATH = "console.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar = [
        Binding("a", "add", "Add a worker"),
        Binding("c", "cordon", "Cordon, or lift the cordon"),
        Binding("d", "drain", "Drain"),
        Binding("r", "resume", "Resume"),
        Binding("x", "remove", "Remove"),
        Binding("p", "probe", "Probe now"),
        Binding("y", "json", "Facts as JSON"),
        Binding("l", "log", "Log"),
        Binding("t", "next_theme", "Next theme"),
        Binding("question_mark", "help", "Help"),
        Binding("colon,ctrl+p", "command_palette", "Commands"),
        Binding("ctrl+r", "retry", "Retry"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+q", "quit", "Quit", show=False),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(
        self, plane: Plane, *, theme: str | None = None, ascii_only: bool = False, log: LogRing | None = None
    ) -> None:
        super().__init__()
        self.plane = plane
        self.ascii_only = ascii_only
        self.ring = log
        self.rows: Sequence[WorkerRow] = plane.rows()
        self.gateway_row: GatewayRow = plane.gateway()
        self.graph_worker = False
        """Graphs show the worker under the cursor instead of the fleet."""
        self.graphed: WorkerId | None = None
        self._skipped = False
        self._found = themes.load()
        for name, file in self._found.themes.items():
            self.register_theme(themes.textual_theme(name, file))
        wanted = theme if theme is not None and theme in self._found.themes else themes.DEFAULT
        self._bad_theme = theme if theme not in (None, wanted) else None
        self.palette = themes.Palette(self._found.themes[wanted])
        self.theme = wanted
        self.set_class(ascii_only, "-ascii")

    def on_mount(self) -> None:
        self.push_screen(MainScreen())
        self.theme_changed_signal.subscribe(self, lambda _theme: self._new_colours())
        self.set_interval(FRAME_S, self._frame)
        for problem in self._found.problems:
            self.notify(problem, severity="warning")
        if self._bad_theme is not None:
            known = ", ".join(self._found.themes)
            self.notify(f"no theme is called {self._bad_theme}; there are {known}", severity="warning")

    def get_default_screen(self) -> Screen[None]:
        return Screen(id="_default")

    # --- drawing ---

    async def _frame(self) -> None:
        """Look at everything once. A hidden screen's panels are not looked at."""
        late = self.gateway_row.loop_late_ms > LATE_MS
        self._skipped = late and not self._skipped
        if self._skipped:
            return
        self.look()
        for panel in [*self.screen.query(Panel)]:
            panel.tick()
            await asyncio.sleep(0)

    def look(self) -> None:
        """Take the plane's present picture."""
        self.gateway_row = self.plane.gateway()
        self.rows = self.plane.rows()
        for main in self.screen_stack:
            if isinstance(main, MainScreen) and main.is_mounted:
                main.query_one(Diagram).saw(main.query_one(Feed).news(), self.gateway_row.now)
                self._choose_graphed(main)

    def _choose_graphed(self, main: MainScreen) -> None:
        row = main.table.current if self.graph_worker else None
        self.graphed = row.worker.id if row is not None else None
        title = f"Load of {row.worker.name}" if row is not None else "Load of the fleet"
        main.query_one("#graphs").border_title = f"{title} (Tab switches)"

    def selection_moved(self) -> None:
        """The cursor stands on another worker."""
        self.look()
        for panel in self.screen.query(".graph"):
            if isinstance(panel, Panel):
                panel.tick()

    def _new_colours(self) -> None:
        file = self._found.themes.get(self.theme)
        if file is None:
            return
        self.palette = themes.Palette(file)
        for screen in self.screen_stack:
            for panel in screen.query(Panel):
                panel.renew()
                panel.refresh()

    def action_next_theme(self) -> None:
        names = sorted(self._found.themes)
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]
        self.notify(f"theme {self.theme}", timeout=2)

    # --- acting ---

    @property
    def chosen(self) -> WorkerRow | None:
        """The worker that keys act on: the one shown, else the one under the cursor."""
        if isinstance(self.screen, WorkerView):
            return self.plane.row(self.screen.worker_id)
        if isinstance(self.screen, MainScreen):
            return self.screen.query_one(FleetTable).current
        return None

    def _chosen_name(self) -> str | None:
        """The chosen worker's name, or a word that there is none."""
        if self.plane.read_only:
            self.notify("this console is read-only (--read-only)", severity="warning")
            return None
        row = self.chosen
        if row is None:
            self.notify("no worker is chosen", severity="warning")
            return None
        return row.worker.name

    def give(self, command: Command) -> None:
        """Give a command and show what came of it."""
        self.run_worker(self._give(command), name=f"command {command.verb}", exit_on_error=False)

    async def _give(self, command: Command) -> None:
        try:
            done = await self.plane.execute(command)
        except GatewayError as error:
            self.notify(error.message, severity="error", markup=False)
        else:
            self.notify(done.message, severity="information" if done.changed else "warning", markup=False)
        self.look()

    def action_add(self) -> None:
        if self.plane.read_only:
            self.notify("this console is read-only (--read-only)", severity="warning")
            return
        if not isinstance(self.screen, ModalScreen):
            self.push_screen(AddWorker(), lambda command: self.give(command) if command is not None else None)

    def action_cordon(self) -> None:
        name, row = self._chosen_name(), self.chosen
        if name is not None and row is not None:
            self.give(Uncordon(name) if row.worker.cordoned else Cordon(name))

    def action_resume(self) -> None:
        if (name := self._chosen_name()) is not None:
            self.give(Resume(name))

    def action_probe(self) -> None:
        if (name := self._chosen_name()) is not None:
            self.give(ProbeNow(name))

    def action_retry(self) -> None:
        if (name := self._chosen_name()) is not None:
            self.give(Retry(name))

    def action_drain(self) -> None:
        if (name := self._chosen_name()) is not None:
            self._ask("Drain", name, lambda answer: self.give(StartDrain(name)) if answer else None)

    def action_remove(self) -> None:
        if (name := self._chosen_name()) is not None:
            self._ask(
                "Remove",
                name,
                lambda answer: self.give(Remove(name, now=answer == "extra")) if answer else None,
                extra="Remove now",
            )

    def _ask(self, verb: str, name: str, then: Callable[[str | None], None], extra: str = "") -> None:
        try:
            effect = self.plane.effect(name)
        except GatewayError as error:
            self.notify(error.message, severity="error", markup=False)
            return
        last = effect.routable and not effect.left
        lines = guide.effect_lines(effect, last=last)
        if extra:
            lines = (*lines, f"{extra} does not wait for requests in flight; they go on unseen.")
        self.push_screen(Confirm(Question(f"{verb} {name}?", lines, verb, name if last else "", extra)), then)

    async def action_quit(self) -> None:
        """Quit; with requests in flight only after asking."""
        flying = self.plane.gateway().in_flight
        if isinstance(self.screen, Confirm):
            return
        if not flying:
            self.exit()
            return
        lines = (
            f"{flying} requests are in flight; quitting ends the gateway and cuts those that are not done in 2 s.",
        )
        self.push_screen(
            Confirm(Question("Quit?", lines, "Quit")), lambda answer: self.exit() if answer is not None else None
        )

    # --- looking ---

    def on_fleet_table_opened(self, message: FleetTable.Opened) -> None:
        self.push_screen(WorkerView(message.worker_id))

    def action_json(self) -> None:
        row = self.chosen
        if row is not None:
            lines = detail.json_lines(row)
            self.push_screen(View(f"{row.worker.name} as JSON", lambda _width: lines))

    def action_log(self) -> None:
        ring = self.ring
        if ring is not None and not isinstance(self.screen, View):
            self.push_screen(View("Log", lambda _width: detail.log_lines(list(ring.lines), 2000)))

    def action_help(self) -> None:
        if not isinstance(self.screen, ModalScreen):
            self.push_screen(View("Help", guide.help_lines))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything a key does, by name, for the command palette."""
        yield SystemCommand("Add a worker", "a", self.action_add)
        row = self.chosen
        if row is not None:
            name = row.worker.name
            yield SystemCommand(f"Cordon or uncordon {name}", "c", self.action_cordon)
            yield SystemCommand(f"Drain {name}", "d", self.action_drain)
            yield SystemCommand(f"Resume {name}", "r", self.action_resume)
            yield SystemCommand(f"Remove {name}", "x", self.action_remove)
            yield SystemCommand(f"Probe {name} now", "p", self.action_probe)
            yield SystemCommand(f"Retry {name}", "register it anew: Ctrl+R", self.action_retry)
            yield SystemCommand(f"Details of {name}", "Enter", lambda: self._open(row.worker.id))
            yield SystemCommand(f"JSON of {name}", "y", self.action_json)
        yield SystemCommand("Log", "l", self.action_log)
        yield SystemCommand("Help", "?", self.action_help)
        yield SystemCommand("Quit", "q", self.action_quit)
        for name in self._found.themes:
            yield SystemCommand(f"Theme {name}", self._found.themes[name].title, lambda chosen=name: self._use(chosen))

    def _open(self, worker_id: WorkerId) -> None:
        self.push_screen(WorkerView(worker_id))

    def _use(self, theme: str) -> None:
        self.theme = theme
