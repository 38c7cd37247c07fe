"""The panels of the Graphs screen: one graph each, the time axis below them, and the line that says what is shown.

All look at one `Shown`: whose numbers, which stretch of time, and the values, read once for all of them.
"""

from collections.abc import Sequence

from textual import events
from textual.message import Message

from gateway.telemetry.history import MEASURES, Stretch
from gateway.telemetry.samples import Measure
from smg_console.plane import FLEET, Plane, Subject
from smg_console.present import charts, window
from smg_console.present.charts import AXIS, CHARTS, Chart
from smg_console.present.numbers import age
from smg_console.present.runs import Line, Run, cut, printable, spread, width_of
from smg_console.present.scales import Scale, steady_top
from smg_console.present.window import Grid, Window
from smg_console.widgets.panel import Panel

IN_STEP_S = 3.5
"""Samples are numbered in turn: their numbers may be so much ahead of the clock, or behind it."""


BEHIND = 1
"""Frames by which the lower half of the graphs follows the upper one after a sample: the terminal's library paints all
that changed at a stretch, which for eight graphs on a large screen would take 4 ms."""


class Shown:
    """What the graphs show."""

    def __init__(self, subject: Subject = FLEET) -> None:
        self.subject = subject
        self.window = Window()
        self.now = 0.0
        """Where the newest sample ends."""
        self.stretch: Stretch | None = None
        self.version = 0
        """While it stands still, the graphs do."""
        self.frame = 0
        """Counts the frames drawn of the screen."""
        self.sampled_at = 0
        """The frame at which a new sample, and nothing else, changed the values."""
        self._read_for: tuple[object, ...] = ()

    def look(self, plane: Plane, wall: float) -> None:
        """Read the values anew if there may be others."""
        taken = 0 if self.window.paused and self.stretch is not None else plane.series_taken()
        looked_at = (self.subject, self.window)
        wanted = (taken, plane.arrived(), looked_at)
        if wanted == self._read_for:
            return
        known, self._read_for = self._read_for[-1:] == (looked_at,), wanted
        found = plane.history(self.subject, window.step_of(self.window, wall), MEASURES)
        self.now = _newest(plane, self.subject, wall)
        if known and (found is None or found is self.stretch):
            return
        self.sampled_at = self.frame if known else self.frame - BEHIND
        self.stretch = found or self.stretch  # of a worker that has left, what was seen of it stays
        self.version += 1

    def come_up(self, plane: Plane, wall: float) -> None:
        """Know the present, for what is held still is not read again."""
        if self.window.paused:
            self.now = _newest(plane, self.subject, wall)

    def show(self, subject: Subject) -> None:
        self.subject = subject
        self._read_for = ()
        self.stretch = None


def _newest(plane: Plane, subject: Subject, wall: float) -> float:
    """Where the newest sample ends."""
    fine = plane.history(subject, 1, (Measure.REQUESTS,))
    if fine is not None and abs(fine.end - wall) < IN_STEP_S:
        return float(fine.end)
    return float(int(wall) + 1)


def cells_of(width: int) -> int:
    """Cells that curves have in a panel of this width."""
    return max(1, width - AXIS)


def curves_of(shown: Shown, chart: Chart, grid: Grid) -> list[list[float]]:
    """The values of a graph's curves, by column."""
    cuts = grid.cuts(shown.stretch) if shown.stretch is not None else []
    values: list[list[float]] = []
    for curve in chart.curves:
        track = shown.stretch.tracks.get(curve.measure) if shown.stretch is not None else None
        if track is None:
            values.append([float("nan")] * grid.count)
        else:
            values.append(window.peaks(track.peaks, cuts) if curve.peak else window.means(track.means, cuts))
    return values


class ChartPanel(Panel):
    """One graph. `number` is its key."""

    def __init__(self, number: int, shown: Shown) -> None:
        super().__init__(id=f"chart-{number}", classes="chart")
        self._number = number
        self._behind = BEHIND if number > len(CHARTS) // 2 else 0
        self._chart = CHARTS[number - 1]
        self._shown = shown
        self._drawn_for: tuple[object, ...] = ()
        self._top: float | None = None
        self._top_of: tuple[object, ...] = ()
        self._picture: Sequence[Line] = ()

    def grid(self, width: int) -> Grid:
        """The columns of a panel of this width."""
        per_cell = 1 if self.face.ascii_only else 2
        return Grid.of(self._shown.window, cells_of(width) * per_cell, self._shown.now)

    class Pointed(Message):
        """A click on a time. Times in seconds since the epoch."""

        def __init__(self, at: float) -> None:
            super().__init__()
            self.at = at

    def on_click(self, event: events.Click) -> None:
        place = event.get_content_offset(self)
        if place is not None and place.x >= AXIS:
            column = (place.x - AXIS) * (1 if self.face.ascii_only else 2)
            self.post_message(self.Pointed(self.grid(self.size.width).middle(column)))

    def draw(self, width: int, height: int) -> Sequence[Line]:
        shown = self._shown
        shown.look(self.face.plane, self.face.seen.gateway.now)
        wanted = (shown.version, width, height)
        due = self._drawn_for[1:] != wanted[1:] or shown.frame - shown.sampled_at >= self._behind
        if due and wanted != self._drawn_for:
            self._drawn_for, self._picture = wanted, self._drawn(width, height)
        return self._picture

    def _drawn(self, width: int, height: int) -> Sequence[Line]:
        shown, grid = self._shown, self.grid(width)
        values = curves_of(shown, self._chart, grid)
        cursor = shown.window.cursor
        return charts.chart_lines(
            self._chart,
            values,
            self._scale(charts.top_of(values)),
            width,
            height,
            number=self._number,
            cursor=grid.index(cursor) if cursor is not None else None,
            ascii_only=self.face.ascii_only,
        )

    def _scale(self, highest: float) -> Scale:
        """Its top stays as long as it fits, while the same is looked at."""
        looked_at = (self._shown.subject, self._shown.window.span_s)
        if looked_at != self._top_of:
            self._top, self._top_of = None, looked_at
        self._top = steady_top(self._top, highest, self._chart.least)
        return Scale(self._top, self._chart.unit(self._top))


class TimeAxis(Panel):
    """The times below a column of graphs."""

    def __init__(self, number: int, shown: Shown) -> None:
        super().__init__(id=f"axis-{number}", classes="axis")
        self._shown = shown

    def draw(self, width: int, height: int) -> Sequence[Line]:
        shown, cells = self._shown, cells_of(width)
        per_cell = 1 if self.face.ascii_only else 2
        grid = Grid.of(shown.window, cells * per_cell, shown.now)
        at = shown.window.cursor
        cursor = None if at is None else (grid.index(at) // per_cell, window.moment(at))
        return [charts.axis_line(window.ticks(grid, cells, per_cell), width, cursor)]


class Status(Panel):
    """Whose numbers these are, over which time, and where the cursor stands."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(id="shown")
        self._shown = shown
        self.place = ""
        """Which of the subjects this is: `2 of 14`."""
        self.whose = ""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        shown, view = self._shown, self._shown.window
        shown.frame += 1
        left: list[Run] = [(f" {printable(self.whose)} ", "bold reverse accent"), (f" {self.place}", "muted")]
        end = view.until(shown.now)
        if view.paused:
            when = f"{window.moment(end - view.span_s)} to {window.moment(end)}"
            state: list[Run] = [("‖ paused ", "bold warning"), (f"{when}, ", "")]
        else:
            state = [("live ", "bold ready"), ("last ", "")]
        state.append((f"{window.span_text(view.span_s)} ", "bold"))
        if view.cursor is not None:
            ago = age(max(0.0, self.face.seen.gateway.now - view.cursor))
            state.insert(0, (f"│ {window.moment(view.cursor)} ({ago} ago)  ", charts.CURSOR))
        if width_of(left) + width_of(state) > width:
            left = left[:1]
        return [spread(left, state, width) if width_of(state) < width else cut(state, width)]
