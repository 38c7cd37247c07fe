"""Full screens of text: one worker's details, its JSON, the log, and the help."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen

from gateway.workers.model import WorkerId
from smg_console.plane import WorkerRow
from smg_console.present import detail
from smg_console.present.runs import Line
from smg_console.widgets.panels import Header, Keys, Lines


class Text(Lines):
    """Lines from a function of the width."""

    def __init__(self, lines: Callable[[int], Sequence[Line]]) -> None:
        super().__init__(id="text")
        self._lines_of = lines

    def source(self, width: int) -> Sequence[Line]:
        return self._lines_of(width)


class View(Screen[None]):
    """A text with the header above; Esc goes back."""

    BINDINGS: ClassVar = [Binding("escape,backspace", "back", "Back")]

    def __init__(self, title: str, lines: Callable[[int], Sequence[Line]]) -> None:
        super().__init__()
        self._title = title
        self._source = lines

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        yield Text(self._source)
        yield BackKeys(id="keys")

    def on_mount(self) -> None:
        text = self.query_one(Text)
        text.border_title = self._title
        text.focus()

    def action_back(self) -> None:
        self.dismiss()


class BackKeys(Keys):
    KEYS = (("Esc", "back"), ("j k", "scroll"), ("g G", "top, end"), ("?", "help"), ("q", "quit"))


class WorkerKeys(Keys):
    KEYS = (
        ("Esc", "back"),
        ("c", "cordon"),
        ("d", "drain"),
        ("r", "resume"),
        ("x", "remove"),
        ("p", "probe"),
        ("^R", "retry"),
        ("y", "JSON"),
        ("j k", "scroll"),
        ("?", "help"),
    )


class WorkerView(View):
    """One worker, live. The acting keys work here as in the table."""

    def __init__(self, worker_id: WorkerId) -> None:
        super().__init__("Worker", self._detail)
        self.worker_id = worker_id
        self._last: WorkerRow | None = None

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        yield Text(self._detail)
        yield WorkerKeys(id="keys")

    def _detail(self, width: int) -> Sequence[Line]:
        face = self.query_one(Text).face
        row = face.plane.row(self.worker_id)
        if row is not None:
            self._last = row
            return detail.detail_lines(row, face.gateway_row.now, width)
        gone: Line = (("This worker has left the fleet. Esc goes back; the events tell why.", "bold warning"),)
        kept = detail.detail_lines(self._last, face.gateway_row.now, width) if self._last else []
        return [gone, *kept]
