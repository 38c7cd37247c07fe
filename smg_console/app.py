"""The console as a Textual application: one timer that looks at the plane, what is drawn, and how one gets around.

It draws from the plane a few times a second, in slices that yield to the gateway's traffic, and more rarely
when the loop is late or frames are dear. The keys that act on workers are `acting`'s.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import ClassVar

from textual.app import SystemCommand
from textual.binding import Binding
from textual.filter import DimFilter, LineFilter
from textual.screen import ModalScreen, Screen

from gateway.telemetry.logs import LogRing
from smg_console import pace, themes
from smg_console.memory import Memory
from smg_console.plane import Plane, WorkerRow
from smg_console.reporting import ReportingApp
from smg_console.screens.choose_columns import ChooseColumns
from smg_console.screens.dialogs import Confirm, Question
from smg_console.screens.main import MainScreen
from smg_console.suspending import SuspendingApp
from smg_console.visiting import VisitingApp
from smg_console.watch import Watch
from smg_console.widgets.ascii_filter import AsciiFilter
from smg_console.widgets.panel import Panel


class ConsoleApp(VisitingApp, ReportingApp, SuspendingApp):
    """The console over a plane. `log` is shown on the log screen; `ascii_only` draws nothing but ASCII.

    `memory` keeps columns, order and commands; without one they are kept for this run alone.

    `settled` is called once, after the first frame: what was built by then lives as long as the console (the
    moment for `gc.freeze`, without which a collection holds the loop for tens of milliseconds).
    """

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
        Binding("R,ctrl+r", "retry", "Retry"),
        Binding("b", "reset_breaker", "Close the breaker"),
        Binding("y", "json", "Facts as JSON"),
        Binding("s", "discovery", "Service discovery"),
        Binding("z", "tokenizers", "Tokenizers"),
        Binding("e", "journal", "Events"),
        Binding("m", "routing", "Models and routing"),
        Binding("h", "graphs", "Graphs"),
        Binding("comma", "settings", "Settings"),
        Binding("ctrl+s", "save_picture", "Save a picture of the screen"),
        Binding("exclamation_mark", "incident", "What is wrong"),
        Binding("u", "undo", "Undo"),
        Binding("O", "columns", "Columns"),
        Binding("U", "people", "Who is connected"),
        Binding("l", "log", "Log"),
        Binding("t", "next_theme", "Next theme"),
        Binding("question_mark", "help", "Help"),
        Binding("colon", "command_line", "Commands"),
        Binding("ctrl+p", "command_palette", "Palette"),
        Binding("ctrl+z", "suspend", "Suspend"),
        Binding("q,ctrl+q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(
        self,
        plane: Plane,
        *,
        theme: str | None = None,
        ascii_only: bool = False,
        log: LogRing | None = None,
        settled: Callable[[], object] = lambda: None,
        memory: Memory | None = None,
    ) -> None:
        super().__init__()
        self.plane = plane
        self.memory = memory or Memory()
        self.ascii_only = ascii_only
        self.ring = log
        self.seen = Watch(plane)
        self.graph_worker = False
        """Graphs show the worker under the cursor instead of the fleet, where there is room for one only."""
        self._settled = settled
        self._ascii = AsciiFilter()
        self._drawing = asyncio.Lock()
        self._found = themes.load()
        for name, file in self._found.themes.items():
            self.register_theme(themes.textual_theme(name, file))
        usual = themes.default_for(self.console.color_system)
        wanted = theme if theme is not None and theme in self._found.themes else usual
        self._bad_theme = theme if theme not in (None, wanted) else None
        self.palette = themes.Palette(self._found.themes[wanted])
        self.theme = wanted

    async def on_mount(self) -> None:
        await self.seen.look()
        await self.push_screen(MainScreen())
        self.theme_changed_signal.subscribe(self, lambda _theme: self._new_colours())
        self.set_timer(pace.FRAME_S / 5, self._first_tick)
        for problem in self._found.problems:
            self.say(problem, "warning")
        if problem := self.memory.take_problem():
            self.say(problem, "warning")
        if self._bad_theme is not None:
            known = ", ".join(self._found.themes)
            self.say(f"no theme is called {self._bad_theme}; there are {known}", "warning")

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        if self.native_ansi_color:  # there is no way to mix a colour that only the terminal knows
            filters = [found for found in filters if not isinstance(found, DimFilter)]
        return [*filters, self._ascii] if self.ascii_only else filters

    # --- drawing ---

    async def _first_tick(self) -> None:
        await self._tick()
        self._settled()

    async def _tick(self) -> None:
        """The one timer: draw a frame, and see when the next is due."""
        held_s = await self.frame()
        self.set_timer(pace.pause_after(held_s, self.seen.gateway.loop_late_ms), self._tick)

    async def frame(self) -> float:
        """Look at everything once and redraw what changed. Returns the seconds it held the loop at a stretch."""
        async with self._drawing:
            await self.seen.look()
            held_s = self.seen.held_s
            self._hear_events()
            for panel in self._panels():
                held_s = max(held_s, await panel.prepare())
                began = perf_counter()
                if panel.is_attached:  # its screen may have closed between two slices
                    panel.tick()
                held_s = max(held_s, perf_counter() - began)
                await asyncio.sleep(0)
            for screen in self.screen_stack[-1:]:
                if isinstance(screen, Confirm):
                    await screen.look_again()
            return held_s

    def _panels(self) -> list[Panel]:
        """The panels in sight: of the screen, and of the one that shines through behind a dialog."""
        found: list[Panel] = []
        for screen in reversed(self.screen_stack):
            found += screen.query(Panel)
            if not isinstance(screen, ModalScreen):
                break
        return found

    def _hear_events(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, MainScreen) and screen.is_mounted:
                screen.hear(self.seen.gateway.now)

    def selection_moved(self) -> None:
        """The cursor stands on another worker: draw what shows it at once."""
        for panel in self.screen.query("#either, #strip, #chosen"):
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
        self._use(names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0])

    def _use(self, theme: str) -> None:
        self.theme = theme
        self.say(f"theme {theme}")

    @property
    def theme_names(self) -> Sequence[str]:
        return list(self._found.themes)

    def use_theme(self, name: str) -> None:
        self._use(name)

    # --- getting around ---

    @property
    def marked(self) -> Sequence[WorkerRow]:
        """The marked workers, where one is at the table."""
        main = self.main
        return main.table.marked if main is not None and self.screen is main else ()

    def on_fleet_table_changed(self) -> None:
        """Sorting and grouping are remembered."""
        if self.main is not None:
            how = self.main.table.how
            self.memory.keep(sort=how.sort, reverse=how.reverse, group=how.group)
            if problem := self.memory.take_problem():
                self.say(problem, "warning")

    def action_columns(self) -> None:
        """Choose and order the table's columns."""
        main = self.main
        if main is None or self.screen is not main:
            self.say("columns are the fleet's; Esc leads back to it", "warning")
            return
        self.push_screen(ChooseColumns(main.table.shown_names, self.seen.rows), self._columns_chosen)

    def _columns_chosen(self, names: tuple[str, ...] | None) -> None:
        if names is not None:
            self.use_columns(names)

    async def action_quit(self) -> None:
        """Quit; with requests in flight only after asking. Asked for twice, it is meant."""
        flying = self.plane.gateway().in_flight
        if not flying or isinstance(self.screen, QuitQuestion):
            self.exit()
        else:
            self.push_screen(QuitQuestion(_quit_question(flying)), lambda answer: self.exit() if answer else None)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything a key does, by name, for the command palette."""
        yield SystemCommand("Add a worker", "key a", self.action_add)
        row = self._chosen_on(screen)
        if row is not None:
            name, worker_id = row.worker.name, row.worker.id
            yield SystemCommand(
                f"{'Uncordon' if row.worker.cordoned else 'Cordon'} {name}", "key c", self.action_cordon
            )
            yield SystemCommand(f"Drain {name}", "key d", self.action_drain)
            yield SystemCommand(f"Resume {name}", "key r", self.action_resume)
            yield SystemCommand(f"Remove {name}", "key x", self.action_remove)
            yield SystemCommand(f"Probe {name} now", "key p", self.action_probe)
            yield SystemCommand(f"Close the breaker of {name}", "key b", self.action_reset_breaker)
            yield SystemCommand(f"Retry {name}", "key R: register it anew", self.action_retry)
            yield SystemCommand(f"Details of {name}", "key Enter", lambda: self.open_worker(worker_id))
            yield SystemCommand(f"JSON of {name}", "key y", self.action_json)
        yield SystemCommand("Service discovery", "key s: what is seen of Kubernetes", self.action_discovery)
        yield SystemCommand("Tokenizers", "key z: state, caches, users, and a text's tokens", self.action_tokenizers)
        yield SystemCommand("Graphs", "key h: a minute to a day of fleet, models and workers", self.action_graphs)
        yield SystemCommand("Events", "key e: the journal, followed and filtered", self.action_journal)
        yield from self.keeping_commands(row)
        yield SystemCommand("Routing", "key m: policies, shares, and where a prompt would go", self.action_routing)
        yield SystemCommand("Settings", "key comma: what is in force, and where it came from", self.action_settings)
        yield SystemCommand("Who is connected", "key U: open consoles, their roles and addresses", self.action_people)
        yield SystemCommand("Undo", "key u: take this console's last act back", self.action_undo)
        yield SystemCommand("Columns", "key O: choose and order them", self.action_columns)
        yield SystemCommand("Command line", "key colon: commands on many workers by filter", self.action_command_line)
        yield SystemCommand("Log", "key l: followed and filtered", self.action_log)
        yield SystemCommand("Help", "key ?", self.action_help)
        yield SystemCommand("Suspend", "key Ctrl+Z: back to the shell, until fg", self.action_suspend)
        yield SystemCommand("Quit", "key q", self.action_quit)
        for name, file in self._found.themes.items():
            yield SystemCommand(f"Theme {name}", file.title, lambda chosen=name: self._use(chosen))


class QuitQuestion(Confirm):
    """Asks before requests are cut off."""


def _quit_question(flying: int) -> Question:
    asked = f"{flying} request{'' if flying == 1 else 's'} in flight."
    return Question("Quit?", (asked, "Quitting ends the gateway and cuts those that are not done in 2 s."), "Quit")
