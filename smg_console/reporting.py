"""What an operator keeps of what is seen: pictures of the screen and reports, which `keeping` and `report` make."""

from collections.abc import Coroutine, Iterator
from functools import partial
from pathlib import Path

from textual.app import SystemCommand

from gateway.events import JOURNAL_SIZE
from smg_console import keeping
from smg_console.acting import ActingApp
from smg_console.plane import WorkerRow
from smg_console.present import report
from smg_console.watch import Watch


class ReportingApp(ActingApp):
    """An application that saves what it shows."""

    seen: Watch

    def keeping_commands(self, row: WorkerRow | None) -> Iterator[SystemCommand]:
        """What can be kept, by name; `row` is the worker chosen."""
        yield SystemCommand("Save a picture", "key Ctrl+S: the screen as SVG and text", self.action_save_picture)
        for ending, kind in ((".md", "Markdown"), (".json", "JSON")):
            yield SystemCommand(f"Report of the fleet as {kind}", "into a file", partial(self.save_report, ending))
            if row is not None:
                title = f"Report of {row.worker.name} as {kind}"
                yield SystemCommand(title, "into a file", partial(self.save_report, ending, row))

    def action_save_picture(self) -> None:
        """The screen as SVG and as text."""
        self._keep(keeping.save_picture(self, self.seen.gateway.now))

    def save_report(self, ending: str, row: WorkerRow | None = None) -> None:
        """A report as `.md` or `.json`, of one worker or of the fleet."""
        seen = self.seen
        events = self.plane.past_events(JOURNAL_SIZE if row is not None else report.EVENTS)
        rows = [row] if row is not None else seen.rows
        name = row.worker.name if row is not None else "fleet"

        def made() -> str:
            if ending == ".json":
                return report.as_json(seen.gateway, rows, seen.incidents, events)
            if row is not None:
                return report.worker_markdown(seen.gateway, row, events)
            return report.fleet_markdown(seen.gateway, rows, seen.incidents, events, seen.names)

        self._keep(keeping.save_report(made, name, ending, seen.gateway.now))

    def _keep(self, job: Coroutine[object, object, Path]) -> None:
        async def kept() -> None:
            try:
                path = await job
            except keeping.CannotKeep as error:
                self.say(str(error), "error")
            else:
                self.say(f"saved {path}")

        self.run_worker(kept(), name="keep", exit_on_error=False)
