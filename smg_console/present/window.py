"""Which stretch of time the graphs show, how it is cut into columns, and what each column's value is. Pure.

Columns are cut at whole multiples of their width since the epoch, not at the edge of the window: as time goes on a
column keeps its values, and the picture moves left whole instead of simmering.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from math import ceil, floor, isnan

from gateway.telemetry.history import Stretch, step_for

SPANS = (60, 120, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400)
USUAL = 300
DAY_S = SPANS[-1]
TICKS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Window:
    """`span_s` seconds that end at `end`, or now and ever on. `cursor` is a time that is looked at closely. Times in
    seconds since the epoch."""

    span_s: int = USUAL
    end: float | None = None
    cursor: float | None = None

    @property
    def paused(self) -> bool:
        return self.end is not None

    def until(self, now: float) -> float:
        """Where it ends, when the newest sample ended at `now`."""
        return now if self.end is None else self.end

    def pause_or_go_on(self, now: float) -> "Window":
        return replace(self, end=now) if self.end is None else replace(self, end=None)

    def live(self) -> "Window":
        """Follows the present, without a cursor."""
        return replace(self, end=None, cursor=None)

    def zoomed(self, steps: int, now: float) -> "Window":
        """A longer span (`steps` above 0) or a shorter one; a paused one stays where its cursor is."""
        span = SPANS[max(0, min(SPANS.index(self.span_s) + steps, len(SPANS) - 1))]
        if self.end is None:
            return replace(self, span_s=span)
        anchor = self.cursor if self.cursor is not None else self.end
        return replace(self, span_s=span)._ending(anchor + (self.end - anchor) * span / self.span_s, now)

    def scrolled(self, by_s: float, now: float) -> "Window":
        """Moved in time; it pauses. Not beyond what is kept."""
        return self._ending(self.until(now) + by_s, now)

    def _ending(self, end: float, now: float) -> "Window":
        return replace(self, end=min(max(end, now - DAY_S + self.span_s), now))

    def cursor_moved(self, columns: int, grid: "Grid", now: float) -> "Window":
        """The cursor moved by columns; at an edge the window scrolls with it. Without one it begins at the end."""
        if self.cursor is None:
            return replace(self, cursor=grid.middle(grid.count - 1 if columns < 0 else 0))
        at = grid.index(self.cursor) + columns
        if 0 <= at < grid.count:
            return replace(self, cursor=grid.middle(at))
        beyond = at if at < 0 else at - grid.count + 1
        moved = self.scrolled(beyond * grid.width_s, now)
        there = Grid.of(moved, grid.count, now)
        return replace(moved, cursor=there.middle(0 if at < 0 else there.count - 1))


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns of equal width in time; `first` is the number of the leftmost since the epoch."""

    first: int
    count: int
    width_s: float

    @classmethod
    def of(cls, window: Window, count: int, now: float) -> "Grid":
        """A window in so many columns. The last one holds the window's end."""
        width_s = window.span_s / max(1, count)
        last = ceil(window.until(now) / width_s - 1e-6) - 1
        return cls(last - count + 1, count, width_s)

    @property
    def start(self) -> float:
        return self.first * self.width_s

    def index(self, at: float) -> int:
        """The column that holds this time, within the window or not."""
        return floor(at / self.width_s + 1e-6) - self.first

    def middle(self, column: int) -> float:
        """The time in the middle of a column."""
        return (self.first + column + 0.5) * self.width_s

    def cuts(self, stretch: Stretch) -> list[tuple[int, int]]:
        """Of each column, the rows of the stretch that are its: from the first to before the second."""
        step, rows = stretch.step_s, stretch.count
        oldest = stretch.end // step - rows
        if self.width_s < step:
            found = (floor((self.first + n + 0.5) * self.width_s / step) - oldest for n in range(self.count))
            return [(at, at + 1) if 0 <= at < rows else (0, 0) for at in found]
        edges = (ceil((self.first + n) * self.width_s / step - 1e-6) - oldest for n in range(self.count + 1))
        kept = [min(max(at, 0), rows) for at in edges]
        return list(pairwise(kept))


def step_of(window: Window, now: float) -> int:
    """The rows to read: the finest that reach back to the window's beginning."""
    return step_for(now - window.until(now) + window.span_s)


def means(values: Sequence[float], cuts: Sequence[tuple[int, int]]) -> list[float]:
    """The mean of what was measured in each column."""
    return [values[a] if b - a == 1 else _mean(values[a:b]) for a, b in cuts]


def peaks(values: Sequence[float], cuts: Sequence[tuple[int, int]]) -> list[float]:
    """The largest value in each column."""
    return [values[a] if b - a == 1 else _peak(values[a:b]) for a, b in cuts]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not isnan(value)]
    return sum(known) / len(known) if known else NAN


def _peak(values: Sequence[float]) -> float:
    return max((value for value in values if not isnan(value)), default=NAN)


def ticks(grid: Grid, cells: int, per_cell: int) -> list[tuple[int, str]]:
    """Round local times along the axis: the cell each stands at, and how it reads."""
    for step in TICKS:
        label = "00:00:00" if step < 60 else "00:00"
        if cells * step / (grid.width_s * grid.count) >= len(label) + 4:
            break
    begin, end = grid.start, grid.start + grid.count * grid.width_s
    offset = utc_offset(int(begin) // 3600)
    found: list[tuple[int, str]] = []
    at = ceil((begin + offset) / step) * step - offset
    while at < end:
        cell = grid.index(at) // per_cell
        if 0 <= cell < cells:
            found.append((cell, moment(at) if step < 60 else moment(at)[:5]))
        at += step
    return found


@lru_cache(64)
def utc_offset(hour: int) -> int:
    """Seconds that local time is ahead, in this hour since the epoch."""
    offset = datetime.fromtimestamp(hour * 3600).astimezone().utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def moment(at: float) -> str:
    """Local time of day."""
    seconds = int(at + utc_offset(int(at) // 3600)) % 86_400
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def span_text(span_s: int) -> str:
    """`1m`, `30m`, `24h`."""
    return f"{span_s // 3600}h" if span_s % 3600 == 0 else f"{span_s // 60}m"


def width_text(width_s: float, step_s: int) -> str:
    """How long a column is; no shorter than what is measured."""
    width = max(width_s, step_s)
    return f"{width / 60:.3g} min" if width >= 60 else f"{width:.2g} s" if width < 10 else f"{width:.0f} s"
