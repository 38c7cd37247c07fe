"""Carries out what was typed after `:`. Each command does what a key or a form does, by name."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.screen import ModalScreen

from gateway.errors import GatewayError
from gateway.operations import Add, Command, ProbeNow, ResetBreaker, Resume, Retry, Uncordon, checked_spec
from gateway.workers.model import Source, WorkerSpec
from gateway.workers.rolling import ENDS
from gateway.workers.rolling_jobs import CancelRolling, ContinueRolling, PauseRolling, RollingCommand, StartRolling
from smg_console.many import ManyApp
from smg_console.memory import Memory
from smg_console.plane import WorkerRow
from smg_console.present import commands, effects
from smg_console.present.commands import USUAL, Asked, CommandError, Known
from smg_console.present.query import parsed
from smg_console.screens.command_line import CommandLine
from smg_console.screens.main import MainScreen
from smg_console.screens.views import View

_EACH: dict[str, Callable[[str], Command]] = {
    "uncordon": Uncordon,
    "resume": Resume,
    "probe": ProbeNow,
    "retry": Retry,
    "reset": ResetBreaker,
}
_STEER: dict[str, Callable[[str], RollingCommand]] = {
    "pause": PauseRolling,
    "continue": ContinueRolling,
    "cancel": CancelRolling,
}


class CommandingApp(ManyApp):
    """An application with a command line."""

    PLACES: ClassVar[dict[str, str]] = {}
    """Screens by name, each with the action that opens it."""
    memory: Memory

    @property
    def theme_names(self) -> Sequence[str]:
        raise NotImplementedError

    def use_theme(self, name: str) -> None:
        raise NotImplementedError

    @property
    def main(self) -> MainScreen | None:
        """The screen with the table."""
        return next((s for s in self.screen_stack if isinstance(s, MainScreen) and s.is_mounted), None)

    def known(self) -> Known:
        """What commands may speak of."""
        jobs = [job.id for job in self.plane.rollings() if job.phase not in ENDS]
        return Known(self.seen.rows, ("fleet", *self.PLACES), self.theme_names, jobs)

    def action_command_line(self, start: str = "") -> None:
        """Type a command."""
        if not isinstance(self.screen, ModalScreen):
            line = CommandLine(self.known, self.memory.now.history, self._check_allowed, start=start)
            self.push_screen(line, self._typed)

    async def _typed(self, answer: tuple[str, Asked] | None) -> None:
        if answer is None:
            return
        line, asked = answer
        self.memory.add_to_history(line)
        try:
            await self._do(asked)
        except (CommandError, GatewayError) as error:
            self.say(str(error), "error")

    def _check_allowed(self, asked: Asked) -> None:
        """Raises CommandError for what cannot be done, while the line can still be mended."""
        if asked.verb.acts and self.plane.read_only:
            raise CommandError(self.why_read_only)
        if asked.verb.takes == commands.WORKERS:
            self.targets(asked.text)
        if asked.verb.name in _STEER:
            self._job(asked.text)

    def targets(self, text: str) -> list[WorkerRow]:
        """The workers that an act is for: those that were named, else the marked ones, else the chosen one."""
        if text:
            return commands.meant(text, self.seen.rows, self.seen.gateway.now)
        if self.marked:
            return list(self.marked)
        if (row := self.chosen) is not None:
            return [row]
        raise CommandError("no worker is chosen and none is marked; name some by a filter")

    def _job(self, text: str) -> str:
        jobs = self.known().jobs
        if text:
            return text
        if len(jobs) == 1:
            return jobs[0]
        raise CommandError(f"which? There are {', '.join(jobs)}" if jobs else "no rolling drain is under way")

    async def _do(self, asked: Asked) -> None:
        name, text = asked.verb.name, asked.text
        if asked.verb.takes == commands.WORKERS:
            self._act(name, self.targets(text), asked)
        elif name in _STEER:
            self.roll(_STEER[name](self._job(text)))
        elif name in ("filter", "mark", "unmark", "sort", "group", "columns"):
            await self._table(name, text)
        elif name == "add" and text:
            self.give(Add(checked_spec(WorkerSpec(text, source=Source.CONSOLE))))
        elif name == "jobs":
            self.push_screen(
                View("Rolling drains", lambda _width: effects.job_lines(self.plane.rollings(), self.seen.gateway.now))
            )
        elif name == "worker":
            await self._go_home()
            self.open_worker_row(commands.find_worker(text, self.seen.rows))
        elif name == "go":
            await self._go(text)
        elif name == "theme":
            self.use_theme(text)
        else:
            await self.run_action(name)

    def open_worker_row(self, row: WorkerRow) -> None:
        """Show a worker."""
        raise NotImplementedError

    def _act(self, name: str, rows: list[WorkerRow], asked: Asked) -> None:
        if name in _EACH:
            self.give_all([self._of(name, row) for row in rows])
        elif name == "cordon":
            if len(rows) == 1 and not rows[0].worker.cordoned:
                self.cordon(rows[0])
            elif len(rows) > 1:
                self.cordon_all(rows)
            else:
                self.say(f"{rows[0].worker.name} is already cordoned", "warning")
        else:
            self._drain_or_remove(rows, asked, remove=name == "remove")

    def _of(self, name: str, row: WorkerRow) -> Command:
        return _EACH[name](row.worker.id)

    def _drain_or_remove(self, rows: list[WorkerRow], asked: Asked, *, remove: bool) -> None:
        options, timeout_s = asked.options, asked.options.get("timeout")
        floor = int(options.get("floor", 1))
        if "max" in options:
            ids = tuple(row.worker.id for row in rows)
            most = int(options["max"])
            self.ask_roll(rows, StartRolling(ids, most, floor, remove, timeout_s, asked.text or "marked workers"))
        elif len(rows) > 1:
            self.drain_all(rows, remove=remove, floor=floor, timeout_s=timeout_s)
        elif remove:
            self.remove(rows[0], timeout_s)
        else:
            self.drain(rows[0], timeout_s)

    async def _table(self, name: str, text: str) -> None:
        """What is about the table; it is shown with it."""
        await self._go_home()
        main = self.main
        if main is None:
            return
        table = main.table
        match name:
            case "filter":
                main.set_filter(text)
            case "mark":
                query = parsed(text)
                ids = {row.worker.id for row in self.seen.rows if query.fits(row, self.seen.gateway.now)}
                table.mark_only(table.marks | ids)
                self.say(f"{len(ids)} marked", "information" if ids else "warning")
            case "unmark":
                table.action_unmark()
            case "sort":
                column, *direction = text.split()
                await table.sort_by(column, reverse=direction == ["desc"] if direction else None)
            case "group":
                await table.group_by("" if text == "none" else text)
            case "columns" if text:
                self.use_columns(commands.columns_of(text) if text != USUAL else ())
            case _:
                await self.run_action("columns")

    def use_columns(self, names: tuple[str, ...]) -> None:
        """Show these columns from now on, and at the next start."""
        self.memory.keep(columns=names)
        if self.main is not None:
            self.main.table.use_columns(names)

    async def _go_home(self) -> None:
        while len(self.screen_stack) > 1 and self.main is not None and self.screen is not self.main:
            await self.pop_screen()

    async def _go(self, place: str) -> None:
        await self._go_home()
        if place in self.PLACES:
            await self.run_action(self.PLACES[place])
