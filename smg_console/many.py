"""Acting on several workers at once, rolling drains, and taking an act back.

What it would mean is worked out by `gateway.workers.impact` from what the console sees; the question stays true
while it is open. How one worker is acted on is `acting`'s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textual.screen import ModalScreen

from gateway.errors import GatewayError
from gateway.operations import (
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
from gateway.workers.impact import JointEffect, joint_effect
from gateway.workers.model import Worker, WorkerId
from gateway.workers.rolling_jobs import CancelRolling, RollingCommand, StartRolling
from smg_console.acting import ActingApp
from smg_console.plane import WorkerRow
from smg_console.present import effects, guide, undo
from smg_console.screens.dialogs import Confirm, Question
from smg_console.watch import Watch

ACTS_KEPT = 50
TOLD = 3
"""Answers of many commands that are told one by one."""


@dataclass(frozen=True, slots=True)
class Acted:
    """A command that changed something, and the worker before it."""

    command: Command
    before: Worker | None
    after: Worker


@dataclass(frozen=True, slots=True)
class Rolled:
    """A rolling drain that was begun."""

    command: StartRolling
    job: str


Act = tuple[Acted, ...] | Rolled


class ManyApp(ActingApp):
    """An application whose acting keys act on the marked workers, where some are."""

    seen: Watch
    _acts: list[Act]

    def __init__(self) -> None:
        super().__init__()
        self._acts = []

    @property
    def marked(self) -> Sequence[WorkerRow]:
        """The marked workers; none where one is not at the table."""
        raise NotImplementedError

    # --- the keys ---

    def action_cordon(self) -> None:
        if not self.marked:
            super().action_cordon()
        elif self.may_act():
            self.cordon_all(self.marked, lift=all(row.worker.cordoned for row in self.marked))

    def action_drain(self) -> None:
        if self.marked:
            self.drain_all(self.marked)
        else:
            super().action_drain()

    def action_remove(self) -> None:
        if self.marked:
            self.drain_all(self.marked, remove=True)
        else:
            super().action_remove()

    def action_resume(self) -> None:
        self._each_or(Resume, super().action_resume)

    def action_probe(self) -> None:
        self._each_or(ProbeNow, super().action_probe)

    def action_retry(self) -> None:
        self._each_or(Retry, super().action_retry)

    def action_reset_breaker(self) -> None:
        self._each_or(ResetBreaker, super().action_reset_breaker)

    def _each_or(self, command: Callable[[str], Command], otherwise: Callable[[], None]) -> None:
        if not self.marked:
            otherwise()
        elif self.may_act():
            self.give_all([command(row.worker.id) for row in self.marked])

    # --- many at once ---

    def cordon_all(self, rows: Sequence[WorkerRow], *, lift: bool = False) -> None:
        """Cordon them after a yes, or lift their cordons."""
        if lift:
            self.give_all([Uncordon(row.worker.id) for row in rows])
            return
        commands = [Cordon(row.worker.id) for row in rows]
        self._ask_all(rows, "Cordon", lambda answer: self.give_all(commands) if answer else None)

    def drain_all(
        self, rows: Sequence[WorkerRow], *, remove: bool = False, floor: int = 1, timeout_s: float | None = None
    ) -> None:
        """Drain several, one by one or all at once, after a yes."""
        if not self.may_act():
            return
        ids = tuple(row.worker.id for row in rows)
        now: list[Command] = [Remove(one, timeout_s=timeout_s) if remove else StartDrain(one, timeout_s) for one in ids]
        roll = StartRolling(ids, floor=floor, remove=remove, timeout_s=timeout_s, what=f"{len(ids)} marked workers")
        verb = "Remove" if remove else "Drain"

        def act(answer: str | None) -> None:
            if answer == "extra":
                self.give_all(now)
            elif answer:
                self.roll(roll)

        self._ask_all(rows, verb, act, rolling=True)

    def _ask_all(
        self, rows: Sequence[WorkerRow], verb: str, then: Callable[[str | None], None], *, rolling: bool = False
    ) -> None:
        """Say what it would mean for all of them, and do it after a yes."""
        names = [row.worker.name for row in rows]
        ids = {row.worker.id for row in rows}

        def question() -> Question:
            effect = self.joint_effect(ids)
            lines = effects.joint_lines(effect, names)
            title = f"{verb} {len(names)} workers?"
            if not rolling:
                return Question(title, lines, verb, effects.name_to_type(effect))
            lines = (*lines, "One by one: each is awaited; it stops before the last ready worker of a model.")
            if effect.last:
                lines = (*lines, "All at once is not offered: nobody would be left.")
            return Question(title, lines, "One by one", "", "" if effect.last else "All at once", careful=True)

        if self.may_act():
            self.push_screen(Confirm(question(), question), then)

    def joint_effect(self, ids: set[WorkerId]) -> JointEffect:
        """What taking these workers away would mean, as the console sees the fleet now."""
        fresh = (self.seen.fresh(row) if row.worker.id in ids else row for row in self.seen.rows)
        return joint_effect(((row.worker, row.in_flight) for row in fresh), ids)

    def give_all(self, commands: Sequence[Command]) -> None:
        """Give commands one after another, and tell what came of them in one word."""
        self.run_worker(self._give_all(commands), name="commands", exit_on_error=False)

    async def _give_all(self, commands: Sequence[Command], *, undoing: bool = False) -> None:
        acted: list[Acted] = []
        answers: list[str] = []
        errors: list[str] = []
        for command in commands:
            before = self._worker_of(command)
            try:
                done = await self.plane.execute(command)
            except GatewayError as error:
                errors.append(error.message)
            else:
                answers.append(done.message)
                if done.changed:
                    acted.append(Acted(command, before, done.worker))
        if not undoing:
            self._remember(tuple(acted))
        told = "; ".join(answers[:TOLD]) + (f"; and {len(answers) - TOLD} more" if len(answers) > TOLD else "")
        if answers:
            self.say(told, "information" if acted else "warning")
        for problem in errors[:TOLD]:
            self.say(problem, "error")
        if len(errors) > TOLD:
            self.say(f"and {len(errors) - TOLD} more could not be done", "error")
        await self.frame()

    # --- rolling drains ---

    def ask_roll(self, rows: Sequence[WorkerRow], command: StartRolling) -> None:
        """Say what a rolling drain would mean, and begin it after a yes."""
        names = [row.worker.name for row in rows]
        ids = {row.worker.id for row in rows}
        verb = "Remove" if command.remove else "Drain"

        def question() -> Question:
            effect = self.joint_effect(ids)
            typed = effects.name_to_type(effect) if not command.floor else ""
            limit = f"At most {command.most} at a time; it stops at the first failure"
            limit += f", and before fewer than {command.floor} ready remain." if command.floor else "."
            lines = (*effects.joint_lines(effect, names), limit)
            return Question(f"{verb} {len(names)} workers, rolling?", lines, verb, typed)

        if self.may_act():
            asked = Confirm(question(), question)
            self.push_screen(asked, lambda answer: self.roll(command) if answer else None)

    def roll(self, command: RollingCommand) -> None:
        """Begin a rolling drain, or steer one."""
        self.run_worker(self._roll(command), name=f"rolling {command.verb}", exit_on_error=False)

    async def _roll(self, command: RollingCommand) -> None:
        try:
            done = await self.plane.execute_on_rolling(command)
        except GatewayError as error:
            self.say(error.message, "error")
        else:
            self.say(done.message, "information" if done.changed else "warning")
            if isinstance(command, StartRolling):
                self._remember(Rolled(command, done.job.id))
        await self.frame()

    # --- taking back ---

    def acted(self, command: Command, before: Worker | None, done: Done) -> None:
        self._remember((Acted(command, before, done.worker),))

    def _remember(self, acts: Act) -> None:
        if not isinstance(acts, Rolled):
            acts = tuple(act for act in acts if undo.can_be_undone(act.command))
        if acts:
            self._acts.append(acts)
            del self._acts[:-ACTS_KEPT]

    def action_undo(self) -> None:
        """Take this console's last act back, after saying what will happen."""
        if isinstance(self.screen, ModalScreen) or not self.may_act():
            return
        if not self._acts:
            self.say("there is nothing to undo: this console has not acted yet", "warning")
        elif isinstance(last := self._acts[-1], Rolled):
            self._undo_rolling(last)
        else:
            self._undo(last)

    def _undo(self, acts: tuple[Acted, ...]) -> None:
        commands: list[Command] = []
        lines: list[str] = []
        for act in acts:
            row = self.plane.row(act.after.id)
            try:
                back = undo.opposite(
                    act.command, act.before or act.after, row.worker if row else None, self.seen.gateway.now
                )
            except undo.NoWayBack as error:
                lines.append(f"{error}.")
                continue
            commands.append(back)
            lines.append(undo.says(back, act.after.name))
            if undo.takes_capacity(back):
                lines += self._effect_of(act.after.id)
        if not commands:
            self._acts.pop()
            self.say(lines[0] if lines else "nothing is left of it", "warning")
            return
        self._ask_undo(lines, lambda: self._give_all(commands, undoing=True))

    def _effect_of(self, worker: str) -> tuple[str, ...]:
        try:
            effect = self.plane.effect(worker)
        except GatewayError:
            return ()
        return guide.effect_lines(effect, last=effect.routable and not effect.left)

    def _undo_rolling(self, rolled: Rolled) -> None:
        job_id = rolled.job
        if rolled.command.remove:
            self._acts.pop()
            self.say(f"a rolling removal cannot be undone; :cancel {job_id} stops it", "warning")
            return

        async def back() -> None:
            await self._roll(CancelRolling(job_id))
            job = next((job for job in self.plane.rollings() if job.id == job_id), None)
            names = (*job.done, *(one.name for one in job.under_way), *job.failed) if job is not None else ()
            await self._give_all([Resume(name) for name in names], undoing=True)

        self._ask_undo([f"{job_id} is cancelled, and those that it drained are resumed."], back)

    def _ask_undo(self, lines: Sequence[str], back: Callable[[], object]) -> None:
        def answered(answer: str | None) -> None:
            if answer:
                self._acts.pop()
                self.run_worker(back(), name="undo", exit_on_error=False)  # type: ignore[arg-type]  # a coroutine

        self.push_screen(Confirm(Question("Undo?", tuple(lines[:10]), "Undo")), answered)
