"""The panels around the table: header, state diagram, health counters, graphs, events and keys."""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from gateway.events import Event, Lagged
from gateway.telemetry.samples import Measure
from gateway.workers import facts
from gateway.workers.model import State, WorkerId
from smg_console.present import diagram, feed, numbers, plot, summary
from smg_console.present.runs import BLANK, Line, Run, cut, fit, spread, width_of
from smg_console.widgets.panel import Panel

LIT_S = 2.0
"""How long an arrow shines after a worker took it."""
EVENTS_KEPT = 500


class Header(Panel):
    """Who we are and how it goes, in one line."""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        return [summary.header_line(self.face.gateway_row, width, read_only=self.face.plane.read_only)]


class Diagram(Panel):
    """The states and how many workers are in each; arrows shine as workers move."""

    def __init__(self) -> None:
        super().__init__(id="diagram")
        self._lit: dict[diagram.Move, float] = {}

    def saw(self, events: Sequence[Event], now: float) -> None:
        """Light the arrows of what just happened."""
        for event in events:
            if isinstance(event.fact, facts.StateChanged):
                self._lit[diagram.arrow_of((event.fact.old, event.fact.new))] = now + LIT_S
            elif isinstance(event.fact, facts.Registered):
                self._lit[None, State.REGISTERING] = now + LIT_S

    def draw(self, width: int, height: int) -> Sequence[Line]:
        now = self.face.gateway_row.now
        self._lit = {move: until for move, until in self._lit.items() if until > now}
        counts = Counter(row.worker.state for row in self.face.rows)
        if height >= diagram.HEIGHT and width >= diagram.WIDTH:
            indent: Run = (" " * ((width - diagram.WIDTH) // 2), "")
            above = [BLANK] * ((height - diagram.HEIGHT) // 2)
            return [*above, *((indent, *line) for line in diagram.large(counts, self._lit))]
        return [diagram.small(counts, self._lit, width), summary.counters_line(self.face.rows)]


class Counters(Panel):
    """Health at a glance."""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        return summary.counters(self.face.rows, self.face.gateway_row.now, width)


class Graph(Panel):
    """One measure over the last minutes: of the fleet, or of the worker under the cursor."""

    def __init__(self, title: str, measures: Sequence[tuple[Measure, str]], *, id: str) -> None:  # noqa: A002
        super().__init__(id=id, classes="graph")
        self._title = title
        self._measures = measures
        self._seen: tuple[object, ...] = ()
        self._drawn_lines: Sequence[Line] = ()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        face = self.face
        seen = (face.plane.series_taken(), face.graphed, width, height, face.ascii_only)
        if seen != self._seen:
            self._seen = seen
            self._drawn_lines = self._graph(width, height)
        return self._drawn_lines

    def _graph(self, width: int, height: int) -> list[Line]:
        face = self.face
        worker_id: WorkerId | None = face.graphed
        all_series = [face.plane.series(measure, worker_id) for measure, _ in self._measures]
        times = any(measure in (Measure.P50, Measure.P99, Measure.TTFT) for measure, _ in self._measures)
        show = numbers.duration if times else numbers.rate
        runs: list[Run] = [(f"{self._title} ", "bold")]
        for (_, name), series in zip(self._measures, all_series, strict=True):
            last = series[-1] if len(series) else float("nan")
            runs.append((f"{name} {show(last)} " if name else f"{show(last)} ", "accent"))
        series = all_series[-1]
        plot_width, plot_height = max(4, width - 7), max(1, height - 1)
        made = plot.columns if face.ascii_only else plot.braille
        per_cell = 1 if face.ascii_only else 2
        points = plot.resampled(series, plot_width * per_cell) if len(series) else [float("nan")]
        top = plot.ceiling(points, 0.001 if times else 1.0)
        points_shown = len(points) * max(1, len(series) // len(points))
        window = f"{max(1, round(points_shown / 60))}m"
        body = made(list(series) or points, plot_width, plot_height, top)
        style = "draining" if times else "accent"
        lines = [spread(runs, [(window, "muted")], width)]
        for y, row in enumerate(body):
            label = show(top) if y == 0 else "0" if y == plot_height - 1 and plot_height > 1 else ""
            lines.append(((fit(label, 6, right=True) + " ", "muted"), (row, style)))
        return lines


class Feed(Panel):
    """The newest events, the latest at the bottom."""

    def __init__(self) -> None:
        super().__init__(id="feed")
        self.events: list[Event] = []
        self._names: dict[WorkerId, str] = {}
        self._seq = 0

    def fill(self) -> None:
        """Start with what the journal has."""
        self._take(self.face.plane.past_events(EVENTS_KEPT))

    def news(self) -> Sequence[Event]:
        """Take over what happened since the last look, and return it."""
        plane = self.face.plane
        if plane.seq() == self._seq:
            return ()
        found = plane.new_events(self._seq, EVENTS_KEPT)
        if isinstance(found, Lagged):
            found = plane.past_events(EVENTS_KEPT)
            self.events.clear()
        self._take(found)
        return found

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event.fact, facts.Registered):
                self._names[event.fact.worker] = event.fact.name
            self._seq = event.seq
        self.events += events
        del self.events[:-EVENTS_KEPT]

    def draw(self, width: int, height: int) -> Sequence[Line]:
        names = self._names | {row.worker.id: row.worker.name for row in self.face.rows}
        lines = [feed.event_line(event, names, width) for event in self.events[-height:]]
        return [*[BLANK] * (height - len(lines)), *lines]


class Keys(Panel):
    """The keys of where one is."""

    KEYS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("a", "add"),
        ("c", "cordon"),
        ("d", "drain"),
        ("r", "resume"),
        ("x", "remove"),
        ("p", "probe"),
        ("⏎", "info"),
        ("/", "find"),
        (":", "all"),
        ("?", "help"),
        ("q", "quit"),
    )

    def draw(self, width: int, height: int) -> Sequence[Line]:
        keys = list(self.KEYS)
        gap = " "
        while width_of(runs := self._runs(keys, gap)) > width and len(keys) > 2:
            if gap:
                gap = ""  # with little room the keys stand closer, then those in the middle go
            else:
                del keys[-3]
        return [cut(runs, width)]

    def _runs(self, keys: Sequence[tuple[str, str]], gap: str) -> list[Run]:
        runs: list[Run] = []
        for key, name in keys:
            shown = "Ret" if key == "⏎" and self.face.ascii_only else key
            runs += [(f" {shown}", "bold accent"), (f" {name}{gap}", "muted")]
        return runs


class Lines(Panel, can_focus=True):
    """A longer text that scrolls: details, help, log."""

    BINDINGS: ClassVar = [
        ("down,j", "scroll_by(1)", "Down"),
        ("up,k", "scroll_by(-1)", "Up"),
        ("pagedown,space", "scroll_by(20)", "Page down"),
        ("pageup", "scroll_by(-20)", "Page up"),
        ("home,g", "scroll_by(-100000)", "Top"),
        ("end,G", "scroll_by(100000)", "End"),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._top = 0
        self._all: Sequence[Line] = ()

    def source(self, width: int) -> Sequence[Line]:
        """All lines."""
        raise NotImplementedError

    def draw(self, width: int, height: int) -> Sequence[Line]:
        self._all = self.source(width)
        self._top = max(0, min(self._top, len(self._all) - height))
        return [cut(line, width) for line in self._all[self._top : self._top + height]]

    def action_scroll_by(self, lines: int) -> None:
        self._top = max(0, min(self._top + lines, len(self._all) - self.size.height))
        self.tick()

    def on_mouse_scroll_down(self) -> None:
        self.action_scroll_by(3)

    def on_mouse_scroll_up(self) -> None:
        self.action_scroll_by(-3)
