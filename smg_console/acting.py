"""The keys that act on workers: each builds a command, asks where traffic is at stake, and shows what came of it.

Nothing a command raises ends the console. What is drawn is `app`'s.
"""

from collections.abc import Callable

from textual.app import App
from textual.notifications import SeverityLevel
from textual.screen import ModalScreen

from gateway.errors import GatewayError
from gateway.operations import (
    Add,
    Command,
    Cordon,
    Done,
    ProbeNow,
    Remove,
    ResetBreaker,
    Resume,
    Retry,
    StartDrain,
    Uncordon,
)
from gateway.workers.model import Worker, WorkerId
from smg_console.plane import Plane, WorkerRow
from smg_console.present import guide
from smg_console.present.runs import printable
from smg_console.screens.add_worker import AddWorker
from smg_console.screens.dialogs import Confirm, Question

READ_ONLY = "this console is read-only (--read-only): it shows, and does not act"

_SIGNS: dict[SeverityLevel, str] = {"information": "✓", "warning": "!", "error": "✗"}
_SECONDS: dict[SeverityLevel, float] = {"information": 4.0, "warning": 6.0, "error": 10.0}


class ActingApp(App[None]):
    """An application that gives commands to a plane."""

    plane: Plane
    why_read_only = READ_ONLY

    @property
    def chosen(self) -> WorkerRow | None:
        """The worker that keys act on."""
        raise NotImplementedError

    async def frame(self) -> float:
        """Draw now."""
        raise NotImplementedError

    # --- the keys ---

    def action_add(self) -> None:
        if self.may_act() and not isinstance(self.screen, ModalScreen):
            self.push_screen(AddWorker(), self._added)

    def _added(self, command: Add | None) -> None:
        if command is not None:
            self.give(command)

    def action_cordon(self) -> None:
        if (row := self._to_act_on()) is not None:
            self.cordon(row)

    def cordon(self, row: WorkerRow) -> None:
        """Cordon a worker, or lift its cordon; only where nobody else would be left it is asked first."""
        worker_id = row.worker.id
        if row.worker.cordoned:
            self.give(Uncordon(worker_id))
        elif self._is_last(worker_id):
            self._ask(row, "Cordon", lambda answer: self.give(Cordon(worker_id)) if answer else None)
        else:
            self.give(Cordon(worker_id))

    def _is_last(self, worker_id: WorkerId) -> bool:
        try:
            effect = self.plane.effect(worker_id)
        except GatewayError:
            return False
        return effect.routable and not effect.left

    def action_resume(self) -> None:
        if (row := self._to_act_on()) is not None:
            self.give(Resume(row.worker.id))

    def action_probe(self) -> None:
        if (row := self._to_act_on()) is not None:
            self.give(ProbeNow(row.worker.id))

    def action_retry(self) -> None:
        if (row := self._to_act_on()) is not None:
            self.give(Retry(row.worker.id))

    def action_reset_breaker(self) -> None:
        if (row := self._to_act_on()) is not None:
            self.give(ResetBreaker(row.worker.id))

    def action_drain(self) -> None:
        row = self._to_act_on()
        if row is not None:
            self.drain(row)

    def drain(self, row: WorkerRow, timeout_s: float | None = None) -> None:
        """Drain a worker after a yes."""
        command = StartDrain(row.worker.id, timeout_s)
        self._ask(row, "Drain", lambda answer: self.give(command) if answer else None)

    def action_remove(self) -> None:
        row = self._to_act_on()
        if row is not None:
            self.remove(row)

    def remove(self, row: WorkerRow, timeout_s: float | None = None) -> None:
        """Remove a worker after a yes."""
        worker_id = row.worker.id
        self._ask(
            row,
            "Remove",
            lambda answer: self.give(Remove(worker_id, answer == "extra", timeout_s)) if answer else None,
            extra="Remove now",
        )

    # --- how they act ---

    def give(self, command: Command) -> None:
        """Give a command and show what came of it."""
        self.run_worker(self._give(command), name=f"command {command.verb}", exit_on_error=False)

    async def _give(self, command: Command) -> None:
        before = self._worker_of(command)
        try:
            done = await self.plane.execute(command)
        except GatewayError as error:
            self.say(error.message, "error")
        else:
            if done.changed:
                self.acted(command, before, done)
            self.say(done.message, "information" if done.changed else "warning")
        await self.frame()

    def _worker_of(self, command: Command) -> Worker | None:
        """The worker that a command is about, as it is before it."""
        row = self.plane.row(WorkerId(command.worker)) if not isinstance(command, Add) else None
        return row.worker if row is not None else None

    def acted(self, command: Command, before: Worker | None, done: Done) -> None:
        """A command changed something."""

    def say(self, text: str, severity: SeverityLevel = "information") -> None:
        """Show a sentence for some seconds, with a sign beside the colour."""
        self.notify(
            f"{_SIGNS[severity]} {printable(text)}", severity=severity, markup=False, timeout=_SECONDS[severity]
        )

    def may_act(self) -> bool:
        """Whether acts are allowed here; says so where they are not."""
        if self.plane.read_only:
            self.say(self.why_read_only, "warning")
        return not self.plane.read_only

    def _to_act_on(self) -> WorkerRow | None:
        """The chosen worker; None, with a word why, where there is nothing to act on."""
        if not self.may_act():
            return None
        row = self.chosen
        if row is None:
            self.say("no worker is chosen", "warning")
        return row

    def _ask(self, row: WorkerRow, verb: str, then: Callable[[str | None], None], extra: str = "") -> None:
        """Say what the act would mean, and do it after a yes."""
        worker_id, name = row.worker.id, row.worker.name

        def question() -> Question | None:
            try:
                effect = self.plane.effect(worker_id)
            except GatewayError:  # it left meanwhile; the command will say so
                return None
            last = effect.routable and not effect.left
            lines = guide.effect_lines(effect, last=last)
            if extra:
                lines = (*lines, f"{extra} does not wait: the worker leaves the list, its requests go on unseen.")
            return Question(f"{verb} {name}?", lines, verb, name if last else "", extra, careful=bool(extra))

        asked = question()
        if asked is None:
            self.say(f"{name} has left the fleet", "warning")
        else:
            self.push_screen(Confirm(asked, question), then)
