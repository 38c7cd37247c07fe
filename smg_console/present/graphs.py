"""Graphs as lines: a title with the last value and the window, a y-axis, and a filled curve. Pure."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.telemetry.samples import Measure
from smg_console.present import numbers, plot
from smg_console.present.runs import BLANK, Line, Run, cut, fit, spread, width_of

AXIS = 6
GAP = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """A graph: what it is called, what it shows (the tallest first), and how its numbers read."""

    title: str
    short: str
    measures: tuple[tuple[Measure, str], ...]
    show: Callable[[float | None], str]
    least: float
    """The lowest top the axis may have, so that an idle graph does not magnify noise."""
    styles: tuple[str, ...]


KINDS = (
    Kind("Requests/s", "Req/s", ((Measure.REQUESTS, ""),), numbers.rate, 1.0, ("accent",)),
    Kind("In flight", "In fl", ((Measure.IN_FLIGHT, ""),), numbers.count, 4.0, ("ready",)),
    Kind("Latency", "Lat", ((Measure.P99, "p99"), (Measure.P50, "p50")), numbers.duration, 0.1, ("warning", "accent")),
)

Get = Callable[[Measure], "array[float]"]


def stacked(get: Get, taken: int, width: int, height: int, *, ascii_only: bool, whose: str = "") -> list[Line]:
    """All graphs above one another, filling `height` lines; the first ones get what is left over."""
    share, left = divmod(height, len(KINDS))
    lines: list[Line] = []
    for n, kind in enumerate(KINDS):
        lines += graph(kind, get, taken, width, share + (n < left), ascii_only=ascii_only, whose=whose)
    return lines


def beside(get: Get, taken: int, width: int, height: int, *, ascii_only: bool, whose: str = "") -> list[Line]:
    """All graphs side by side."""
    each = (width - GAP * (len(KINDS) - 1)) // len(KINDS)
    blocks = [graph(kind, get, taken, each, height, ascii_only=ascii_only, whose=whose) for kind in KINDS]
    gap: Run = (" " * GAP, "")
    return [cut([*a, gap, *b, gap, *c], width) for a, b, c in zip(*blocks, strict=True)]


def graph(
    kind: Kind, get: Get, taken: int, width: int, height: int, *, ascii_only: bool, whose: str = ""
) -> list[Line]:
    """One graph in `height` lines of `width` cells."""
    if height < 1 or width < AXIS + 4:
        return [BLANK] * max(0, height)
    cells = width - AXIS
    points_wide = cells if ascii_only else cells * 2
    all_values = [get(measure) for measure, _ in kind.measures]
    curves = [plot.resampled(values, points_wide, taken) for values in all_values]
    top = plot.ceiling([value for curve in curves for value in curve], kind.least)
    window_s = min(len(all_values[0]), points_wide * plot.group_size(len(all_values[0]), points_wide))
    lines = [_title(kind, all_values, width, window_s, whose)]
    draw = plot.columns if ascii_only else plot.braille
    bodies = [draw(curve, height - 1, top) for curve in curves]
    for y in range(height - 1):
        last = y == height - 2
        label = kind.show(top) if y == 0 else "0" if last else ""
        axis: Run = (fit(label, AXIS - 1, right=True) + ("┤" if label else "│"), "muted")
        lines.append((axis, *_layered([body[y] for body in bodies], kind.styles)))
    return lines


def _title(kind: Kind, all_values: Sequence[Sequence[float]], width: int, window_s: int, whose: str) -> Line:
    roomy = width >= 36
    runs: list[Run] = [
        (f"{whose} " if whose else "", "bold accent"),
        (f"{kind.title if roomy else kind.short} ", "bold"),
    ]
    pairs = list(zip(kind.measures, all_values, kind.styles, strict=True))
    for (_, name), values, style in reversed(pairs):
        shown = kind.show(values[-1] if len(values) else None)
        runs += [(f"{name} " if name else "", "muted"), (f"{shown} ", f"bold {style}")]
    window = numbers.age(window_s) if window_s % 60 else f"{window_s // 60}m"
    right: list[Run] = [(f"last {window}" if roomy else window, "muted")] if window_s else []
    return spread(runs, right if width_of(runs) + width_of(right) < width else [], width)


def _layered(rows: Sequence[str], styles: Sequence[str]) -> list[Run]:
    """Curves over one another: where a later (lower) one has dots, the cell has its colour."""
    runs: list[Run] = []
    for chars in zip(*rows, strict=True):
        level = max((n for n, char in enumerate(chars) if char != " "), default=0)
        style = styles[level]
        if runs and runs[-1][1] == style:
            runs[-1] = (runs[-1][0] + chars[0], style)
        else:
            runs.append((chars[0], style))
    return runs
