"""The panels of the Worker screen, each of which asks the plane for its part of one worker."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from gateway.workers.model import WorkerId
from smg_console.plane import Subject, WorkerRow
from smg_console.present import charts, detail, worker
from smg_console.present.charts import CHARTS
from smg_console.present.runs import BLANK, Line, Run, cut
from smg_console.present.scales import Scale, steady_top
from smg_console.present.window import Grid
from smg_console.widgets.charts import Shown, cells_of, curves_of
from smg_console.widgets.panel import Panel
from smg_console.widgets.panels import Keys, Lines

MOST_FLIGHTS = 200
BY_WORTH = (1, 3, 6, 5, 8, 4)
"""Numbers of the graphs, those first that are missed most where there is room for a few."""
LEAST_GRAPH = 5
TWO_WIDE = 96


class Watched:
    """One worker, as it is now or was when last seen."""

    def __init__(self, row: WorkerRow) -> None:
        self.row = row
        self.gone = False

    @property
    def id(self) -> WorkerId:
        return self.row.worker.id


class Part(Panel):
    """A part of a worker's screen that fits its place."""

    def __init__(self, name: str, watched: Watched, lines: Callable[[WorkerRow, float, int, int], list[Line]]) -> None:
        super().__init__(id=name, classes="part")
        self._watched = watched
        self._of = lines

    def draw(self, width: int, height: int) -> Sequence[Line]:
        now = self.face.seen.gateway.now
        return [cut(line, width) for line in self._of(self._watched.row, now, width, height)]


class Head(Panel):
    """Who it is and how it is."""

    def __init__(self, watched: Watched) -> None:
        super().__init__(id="who")
        self._watched = watched

    def draw(self, width: int, height: int) -> Sequence[Line]:
        seen = self._watched
        row = self.face.plane.row(seen.id)
        seen.row, seen.gone = row or seen.row, row is None
        return [cut(line, width) for line in detail.head(seen.row, self.face.seen.gateway.now, gone=seen.gone)]


class Load(Panel):
    """Its graphs over the last five minutes, as many as there is room for, and its numbers in the border."""

    def __init__(self, watched: Watched) -> None:
        super().__init__(id="load", classes="part")
        self._shown = Shown(Subject(worker=watched.id))
        self._watched = watched
        self._tops: dict[int, float] = {}
        self._drawn_for: tuple[object, ...] = ()
        self._picture: list[Line] = []

    def draw(self, width: int, height: int) -> Sequence[Line]:
        self._shown.look(self.face.plane, self.face.seen.gateway.now)
        wanted = (self._shown.version, width, height)
        if wanted != self._drawn_for:
            self._drawn_for = wanted
            self._picture = self._drawn(width, height)
        self.set_titles("Load, last 5 minutes", "h: more")
        return self._picture

    def _drawn(self, width: int, height: int) -> list[Line]:
        wide = 2 if width >= TWO_WIDE else 1
        rows = max(1, min(len(BY_WORTH) // wide, height // LEAST_GRAPH))
        each = (width - wide + 1) // wide
        lines: list[Line] = []
        for row in range(rows):
            tall = (height * (row + 1)) // rows - height * row // rows
            chosen = BY_WORTH[row * wide : row * wide + wide]
            blocks = [self._graph(number, each, tall) for number in chosen]
            gap: Run = (" ", "")
            lines += [
                cut([run for n, block in enumerate(blocks) for run in ((gap, *block[y]) if n else block[y])], width)
                for y in range(tall)
            ]
        return lines

    def _graph(self, number: int, width: int, height: int) -> list[Line]:
        chart, shown = CHARTS[number - 1], self._shown
        grid = Grid.of(shown.window, cells_of(width) * (1 if self.face.ascii_only else 2), shown.now)
        values = curves_of(shown, chart, grid)
        top = self._tops[number] = steady_top(self._tops.get(number), charts.top_of(values), chart.least)
        scale = Scale(top, chart.unit(top))
        return charts.chart_lines(chart, values, scale, width, height, ascii_only=self.face.ascii_only)


class Scrolled(Lines):
    """A part that may be longer than its place."""

    def __init__(self, name: str, title: str, watched: Watched) -> None:
        super().__init__(id=name)
        self.add_class("part")
        self._called = title
        self._watched = watched

    def on_mount(self) -> None:
        self.set_titles(self._called)


class Flights(Scrolled):
    """The requests that are at the worker."""

    def source(self, width: int) -> Sequence[Line]:
        flying = self.face.plane.flights(self._watched.id, MOST_FLIGHTS)
        count = self._watched.row.in_flight
        more = f", the {len(flying)} oldest" if len(flying) == MOST_FLIGHTS else ", oldest first" if count > 1 else ""
        self.set_titles(f"{self._called}: {count}{more}", self._titles[1])
        return worker.flight_lines(flying, width)


class Failures(Scrolled):
    """How requests failed there."""

    def source(self, width: int) -> Sequence[Line]:
        found = self.face.plane.failures(self._watched.id)
        self.set_titles(f"{self._called}: {self._watched.row.errors} in all", self._titles[1])
        return worker.failure_lines(found, self.face.seen.gateway.now, width)


class Moves(Scrolled):
    """Its transitions."""

    def source(self, width: int) -> Sequence[Line]:
        return detail.history(self._watched.row, self.face.seen.gateway.now, width)


class Facts(Scrolled):
    """What it is, what it told, and its numbers."""

    def source(self, width: int) -> Sequence[Line]:
        row = self._watched.row
        return [*detail.facts(row), BLANK, *detail.load(row), BLANK, *detail.capabilities(row)]


class Tabs(Panel):
    """The pages of the screen, where it has more than one."""

    def __init__(self) -> None:
        super().__init__(id="pages")
        self.names: Sequence[str] = ()
        self.at = 0

    def draw(self, width: int, height: int) -> Sequence[Line]:
        runs: list[Run] = []
        for n, name in enumerate(self.names):
            style = "bold reverse accent" if n == self.at else "muted"
            runs += [(f" {n + 1} {name} ", style), (" ", "")]
        return [cut(runs, width)]


class WorkerKeys(Keys):
    KEYS = (
        ("Esc", "back"),
        ("c", "cordon"),
        ("d", "drain"),
        ("r", "resume"),
        ("x", "remove"),
        ("p", "probe"),
        ("R", "retry"),
        ("b", "breaker"),
        ("y", "JSON"),
        ("h", "graphs"),
        ("Tab", "next part"),
        ("j k", "scroll"),
        ("?", "help"),
    )
    DROPPED: ClassVar[tuple[str, ...]] = ("y", "R", "b", "j k", "p", "r")
