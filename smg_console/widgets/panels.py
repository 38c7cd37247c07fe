"""The panels around the table: header, health counters, load graphs, and keys."""

from array import array
from collections.abc import Sequence
from typing import ClassVar

from gateway.telemetry.samples import Measure
from gateway.workers.model import WorkerId
from smg_console.present import graphs, incidents, summary
from smg_console.present.runs import BLANK, Line, Run, cut, width_of
from smg_console.widgets.panel import Panel


class Header(Panel):
    """Who we are and how it goes, in one line."""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        plane = self.face.plane
        return [summary.header_line(self.face.seen.gateway, width, read_only=plane.read_only, link=plane.link())]


class Incident(Panel):
    """What is wrong just now, in one line; the screen shows it only then."""

    def line(self, width: int) -> Line | None:
        return incidents.strip(self.face.seen.incidents, width)

    def draw(self, width: int, height: int) -> Sequence[Line]:
        return [self.line(width) or BLANK]


class Counters(Panel):
    """Health at a glance, in a column."""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        lines = summary.counters(self.face.seen.overview, self.face.seen.gateway.now)
        return [*[BLANK] * ((height - len(lines)) // 2), *lines]


class CountersLine(Panel):
    """Health at a glance, in a line."""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        return [summary.counters_line(self.face.seen.overview, self.face.seen.gateway.now, width)]


class Loads(Panel):
    """Graphs of requests, requests in flight and latency: of the fleet or of one worker."""

    def __init__(self, *, id: str, beside: bool = False) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._beside = beside
        self._drawn_for: tuple[object, ...] = ()
        self._graphs: Sequence[Line] = ()

    def whose(self) -> tuple[WorkerId | None, str]:
        """The worker to show, None for the fleet; and its name."""
        return None, "the fleet"

    def draw(self, width: int, height: int) -> Sequence[Line]:
        face = self.face
        worker_id, name = self.whose()
        taken = face.plane.series_taken()
        wanted = (taken, face.plane.arrived(), worker_id, width, height)
        if wanted != self._drawn_for:
            self._drawn_for = wanted

            def get(measure: Measure) -> "array[float]":
                return face.plane.series(measure, worker_id)

            self.set_titles(f"Load of {name}")
            draw = graphs.beside if self._beside else graphs.stacked
            whose = name if self._beside and worker_id is not None else ""
            self._graphs = draw(get, taken, width, height, ascii_only=face.ascii_only, whose=whose)
        return self._graphs


class ChosenLoads(Loads):
    """Graphs of the worker under the cursor."""

    def whose(self) -> tuple[WorkerId | None, str]:
        row = self.face.under_cursor
        return (row.worker.id, row.worker.name) if row is not None else (None, "the fleet")


class EitherLoads(ChosenLoads):
    """Graphs of the fleet, or of the worker under the cursor when that was asked for."""

    def whose(self) -> tuple[WorkerId | None, str]:
        return super().whose() if self.face.graph_worker else Loads.whose(self)


class Keys(Panel):
    """The keys of where one is."""

    KEYS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("a", "add"),
        ("c", "cordon"),
        ("d", "drain"),
        ("r", "resume"),
        ("x", "remove"),
        ("p", "probe"),
        ("Enter", "details"),
        ("/", "filter"),
        (":", "commands"),
        ("?", "help"),
        ("q", "quit"),
        ("w", "graphs"),
        ("s", "discovery"),
        ("l", "log"),
        ("t", "theme"),
    )

    DROPPED: ClassVar[tuple[str, ...]] = ("t", "l", "s", "w", "p", "r", ":", "Enter", "a", "y", "R", "g G")
    """Where there is little room, these leave first, in this order."""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        keys = list(self.KEYS)
        while len(keys) > 1:
            runs: list[Run] = []
            for key, name in keys:
                runs += [(f" {key}", "bold accent"), (f" {name} ", "muted")]
            if width_of(runs) <= width:
                break
            keys = self._fewer(keys)
        return [cut(runs, width)]

    def _fewer(self, keys: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Without the one that is missed least: help knows them all."""
        spare = next((name for name in self.DROPPED if name in dict(keys)), None)
        return [pair for pair in keys if pair[0] != spare] if spare else keys[:-1]


class Lines(Panel, can_focus=True):
    """A longer text that scrolls: details, help, log."""

    BINDINGS: ClassVar = [
        ("down,j", "scroll_by(1)", "Down"),
        ("up,k", "scroll_by(-1)", "Up"),
        ("pagedown,space,ctrl+f", "page(1)", "Page down"),
        ("pageup,ctrl+b", "page(-1)", "Page up"),
        ("home,g", "scroll_by(-100000)", "Top"),
        ("end,G", "scroll_by(100000)", "End"),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._top = 0
        self._all: Sequence[Line] = ()

    def source(self, width: int) -> Sequence[Line]:
        """All lines."""
        raise NotImplementedError

    def draw(self, width: int, height: int) -> Sequence[Line]:
        self._all = self.source(width)
        last = max(0, len(self._all) - height)
        self._top = max(0, min(self._top, last))
        below = len(self._all) - self._top - height
        self.set_titles(self._titles[0], f"{below} more lines below" if below > 0 else "")
        return [cut(line, width) for line in self._all[self._top : self._top + height]]

    def action_scroll_by(self, lines: int) -> None:
        last = max(0, len(self._all) - self.size.height)
        self._top = max(0, min(self._top + lines, last))
        self.tick()

    def action_page(self, pages: int) -> None:
        self.action_scroll_by(pages * max(1, self.size.height - 1))

    def on_mouse_scroll_down(self) -> None:
        self.action_scroll_by(3)

    def on_mouse_scroll_up(self) -> None:
        self.action_scroll_by(-3)
