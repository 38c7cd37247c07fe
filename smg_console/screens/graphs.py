"""The Graphs screen: what the fleet, a model or a worker did over a minute to a day, with a cursor that tells exactly.

Keys step through whose numbers are shown, zoom, pause, and move a cursor through time. A digit makes one graph fill
the screen. Reading and drawing are the panels'.
"""

from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.screen import Screen

from gateway.workers.model import WorkerId
from smg_console.plane import FLEET, Subject, WorkerRow
from smg_console.present.charts import CHARTS
from smg_console.present.window import Window
from smg_console.widgets.charts import ChartPanel, Shown, Status, TimeAxis
from smg_console.widgets.panel import Panel
from smg_console.widgets.panels import Header, Keys

if TYPE_CHECKING:
    from smg_console.app import ConsoleApp

LEAST_ALL = (76, 20)
"""Cells from which on all graphs have room; below, there is one at a time."""
JUMP = 10
"""Columns that the cursor moves with Shift."""


class GraphKeys(Keys):
    KEYS = (
        ("Esc", "back"),
        ("j k", "whose"),
        ("+ -", "zoom"),
        ("Space", "pause"),
        ("← →", "cursor"),
        ("PgUp", "back in time"),
        ("End", "now"),
        ("1-8", "one graph"),
        ("f", "fleet"),
        ("M", "model"),
        ("w", "worker"),
        ("?", "help"),
        ("q", "quit"),
    )
    DROPPED: ClassVar[tuple[str, ...]] = ("f", "M", "w", "q", "PgUp", "1-8", "End")


class GraphsScreen(Screen[None]):
    """See the module. `near`: the worker that `w` shows first."""

    BINDINGS: ClassVar = [
        Binding("escape,backspace", "back", "Back"),
        Binding("j,down", "step(1)", "Next: models, then workers"),
        Binding("k,up", "step(-1)", "Previous"),
        Binding("f", "fleet", "The fleet"),
        Binding("M", "model", "The next model"),
        Binding("w", "worker", "The next worker"),
        Binding("plus,equals_sign", "zoom(-1)", "Zoom in"),
        Binding("minus", "zoom(1)", "Zoom out"),
        Binding("space", "pause", "Pause"),
        Binding("left", "cursor(-1)", "Cursor back"),
        Binding("right", "cursor(1)", "Cursor on"),
        Binding("shift+left", f"cursor(-{JUMP})", "Cursor back by ten"),
        Binding("shift+right", f"cursor({JUMP})", "Cursor on by ten"),
        Binding("pageup", "scroll(-0.5)", "Back in time"),
        Binding("pagedown", "scroll(0.5)", "On in time"),
        Binding("home,g", "scroll(-100000)", "The oldest"),
        Binding("end,G", "live", "Now"),
        Binding("0", "one(0)", "All graphs"),
        *(Binding(str(n), f"one({n})", chart.title) for n, chart in enumerate(CHARTS, 1)),
    ]

    def __init__(self, subject: Subject = FLEET, near: WorkerId | None = None) -> None:
        super().__init__()
        self.shown = Shown(subject)
        self._near = near
        self._one = 0

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        yield Status(self.shown)
        for n in range(1, len(CHARTS), 2):
            with Horizontal(classes="charts"):
                yield ChartPanel(n, self.shown)
                yield ChartPanel(n + 1, self.shown)
        with Horizontal(classes="axes"):
            yield TimeAxis(1, self.shown)
            yield TimeAxis(2, self.shown)
        yield GraphKeys(id="keys")

    def on_mount(self) -> None:
        self._arrange(self.app.size.width, self.app.size.height)
        self._tell()

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size.width, event.size.height)

    def on_screen_resume(self) -> None:
        self._tell()

    @property
    def _face(self) -> "ConsoleApp":
        return cast("ConsoleApp", self.app)

    # --- arrangement ---

    def _arrange(self, width: int, height: int) -> None:
        """All graphs, or the one that was chosen or there is room for."""
        one = self._one or (0 if width >= LEAST_ALL[0] and height >= LEAST_ALL[1] else 1)
        for row in self.query(".charts"):
            panels = list(row.query(ChartPanel))
            for panel in panels:
                panel.display = not one or panel.id == f"chart-{one}"
            row.display = any(panel.display for panel in panels)
        self.query_one("#axis-2").display = not one

    def action_one(self, number: int) -> None:
        """One graph alone; once more, or 0: all of them."""
        self._one = 0 if number == self._one else number
        self._arrange(self.app.size.width, self.app.size.height)
        self.call_after_refresh(self._redraw)

    # --- whose numbers ---

    def _subjects(self) -> list[Subject]:
        rows = self._face.seen.rows
        models = sorted({row.worker.model_id for row in rows if row.worker.model_id is not None})
        return [FLEET, *(Subject(model=name) for name in models), *(Subject(worker=row.worker.id) for row in rows)]

    @property
    def worker(self) -> WorkerRow | None:
        """The worker whose graphs are shown."""
        worker_id = self.shown.subject.worker
        return self._face.plane.row(worker_id) if worker_id is not None else None

    def _tell(self) -> None:
        """Name whose numbers these are."""
        subject, subjects = self.shown.subject, self._subjects()
        status = self.query_one(Status)
        if subject.worker is not None:
            row = self.worker
            name = self._face.seen.names.get(subject.worker, "")
            status.whose = f"{name} {row.worker.url}" if row is not None else f"{name} has left the fleet"
        else:
            status.whose = f"model {subject.model}" if subject.model is not None else "the fleet"
        same = [one for one in subjects if (one.worker is None, one.model is None) == _kind(subject)]
        status.place = f"{same.index(subject) + 1} of {len(same)}" if subject in same and len(same) > 1 else ""
        self._redraw()

    def _show(self, subject: Subject) -> None:
        self.shown.show(subject)
        self._tell()

    def action_step(self, by: int) -> None:
        """The next or previous one: the fleet, its models, its workers."""
        subjects = self._subjects()
        at = subjects.index(self.shown.subject) if self.shown.subject in subjects else 0
        self._show(subjects[(at + by) % len(subjects)])

    def action_fleet(self) -> None:
        self._show(FLEET)

    def action_model(self) -> None:
        row = self.worker
        if row is not None and row.worker.model_id is not None:  # of a worker its own model
            self._show(Subject(model=row.worker.model_id))
        else:
            self._next_of([one for one in self._subjects() if one.model is not None], "no worker has told its model")

    def action_worker(self) -> None:
        workers = [one for one in self._subjects() if one.worker is not None]
        model, near = self.shown.subject.model, Subject(worker=self._near)
        if model is not None:
            serving = {row.worker.id for row in self._face.seen.rows if row.worker.model_id == model}
            workers = [one for one in workers if one.worker in serving]
        if self.shown.subject.worker is None and near in workers:
            self._show(near)
        else:
            self._next_of(workers, "there is no worker")

    def _next_of(self, subjects: list[Subject], nobody: str) -> None:
        if not subjects:
            self._face.say(nobody, "warning")
            return
        at = subjects.index(self.shown.subject) + 1 if self.shown.subject in subjects else 0
        self._show(subjects[at % len(subjects)])

    # --- which time ---

    @property
    def _now(self) -> float:
        face = self._face
        self.shown.come_up(face.plane, face.seen.gateway.now)
        return self.shown.now

    def _look_at(self, changed: Window) -> None:
        self.shown.window = changed
        self._redraw()

    def _redraw(self) -> None:
        for panel in self.query(Panel):
            panel.tick()

    def action_zoom(self, steps: int) -> None:
        self._look_at(self.shown.window.zoomed(steps, self._now))

    def action_pause(self) -> None:
        self._look_at(self.shown.window.pause_or_go_on(self._now))

    def action_live(self) -> None:
        """Back to the present, without a cursor."""
        self._look_at(self.shown.window.live())

    def action_scroll(self, windows: float) -> None:
        self._look_at(self.shown.window.scrolled(windows * self.shown.window.span_s, self._now))

    def action_cursor(self, columns: int) -> None:
        panel = next(panel for panel in self.query(ChartPanel) if panel.display)
        grid = panel.grid(panel.size.width)
        self._look_at(self.shown.window.cursor_moved(columns, grid, self._now))

    def action_back(self) -> None:
        """First the cursor goes, then the single graph, then the screen."""
        if self.shown.window.cursor is not None:
            self._look_at(Window(self.shown.window.span_s, self.shown.window.end))
        elif self._one:
            self.action_one(0)
        else:
            self.dismiss()


def _kind(subject: Subject) -> tuple[bool, bool]:
    return subject.worker is None, subject.model is None
