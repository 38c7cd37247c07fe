"""The graphs of the Graphs screen as lines: a title with exact values, a y-axis, filled curves, a cursor. Pure.

Curves of one graph lie over one another, the lowest in full, those above it ever thinner, so that they are told apart
without colours too. Zero is a line of dots at the bottom; where nothing was measured there is nothing at all.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan

from gateway.telemetry.samples import Measure
from smg_console.present import scales
from smg_console.present.runs import BLANK, Line, Run, cut, fit, spread, width_of
from smg_console.present.scales import Scale, UnitOf

AXIS = 8
"""Cells left of the curves."""
ZERO = -1
_BITS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""Braille bits of a cell's two columns, bottom dot first."""
_THIN = {1: (0xFF,), 2: (0x95, 0xFF), 3: (0x11, 0x95, 0xFF)}
"""Which dots of a cell are drawn of each curve, tallest first."""
_ASCII = {1: "#", 2: ":#", 3: ".:#"}
_CURSOR_BITS = (0x47, 0xB8)
_RUNS = re.compile(r"(.)\1*", re.DOTALL)
_BRAILLE = 0x2800
_ZERO, _CROSSED, _SAID = "0", "+", "-"
"""Marks of cells beside those of the curves, which are letters."""
CURSOR = "bold foreground"


@dataclass(frozen=True, slots=True)
class Curve:
    """A measure in a graph. `peak`: of what is merged the largest value is drawn, else the mean. `name` stands
    before its value in the title; a curve without a name shows how far the one below it went, and has no value."""

    measure: Measure
    style: str
    name: str | None = ""
    peak: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A graph: its curves, the tallest first, and how its numbers read."""

    title: str
    short: str
    curves: tuple[Curve, ...]
    unit: UnitOf
    least: float
    """The lowest top the axis may have, so that an idle graph does not magnify noise."""
    nothing: str
    """What is said where nothing was measured."""


def _with_peaks(title: str, short: str, measure: Measure, style: str, unit: UnitOf, least: float, empty: str) -> Chart:
    return Chart(title, short, (Curve(measure, "muted", None, peak=True), Curve(measure, style)), unit, least, empty)


CHARTS = (
    _with_peaks("Requests/s", "Req/s", Measure.REQUESTS, "accent", scales.counts, 1.0, "no requests"),
    _with_peaks("Errors/s", "Err/s", Measure.ERRORS, "error", scales.counts, 1.0, "no requests"),
    _with_peaks("In flight", "In fl", Measure.IN_FLIGHT, "ready", scales.wholes, 4.0, "no requests"),
    _with_peaks("Queue", "Queue", Measure.QUEUE, "draining", scales.wholes, 4.0, "no engine tells its queue"),
    Chart(
        "First byte",
        "TTFT",
        (Curve(Measure.TTFT_P99, "warning", "p99", peak=True), Curve(Measure.TTFT, "accent", "p50")),
        scales.seconds,
        0.1,
        "no streams",
    ),
    Chart(
        "Latency",
        "Lat",
        (
            Curve(Measure.P99, "warning", "p99", peak=True),
            Curve(Measure.P95, "draining", "p95", peak=True),
            Curve(Measure.P50, "accent", "p50"),
        ),
        scales.seconds,
        0.1,
        "no answers",
    ),
    _with_peaks("Prompt tokens/s", "Tok in", Measure.PROMPT, "registering", scales.counts, 10.0, "nobody told"),
    _with_peaks("Output tokens/s", "Tok out", Measure.OUTPUT, "ready", scales.counts, 10.0, "none came"),
)


def top_of(curves: Sequence[Sequence[float]]) -> float:
    """The largest value; NaN: nothing was measured."""
    return max((value for curve in curves for value in curve if not isnan(value)), default=float("nan"))


def chart_lines(
    chart: Chart,
    values: Sequence[Sequence[float]],
    scale: Scale,
    width: int,
    height: int,
    *,
    number: int | None = None,
    cursor: int | None = None,
    ascii_only: bool = False,
) -> list[Line]:
    """A graph in `height` lines. `values` are those of the curves by column, `cursor` is the column looked at, and
    `number` the key that shows this graph alone."""
    if height < 2 or width < AXIS + 4:
        return [BLANK] * max(0, height)
    lines = [_title(chart, values, scale, width, number, cursor)]
    rows = height - 1
    styles = {chr(97 + n): curve.style for n, curve in enumerate(chart.curves)}
    styles |= {_ZERO: "muted", " ": "", _CROSSED: CURSOR, _SAID: "muted"}
    chars, marks = _plotted(values, rows, scale.top, ascii_only=ascii_only)
    if isnan(top_of(values)):
        _say_nothing(chars, marks, chart.nothing)
    if cursor is not None:
        _cross(chars, marks, cursor, ascii_only=ascii_only)
    shares = _marks(rows)
    for y in range(rows):
        label = scale.mark(shares[y]) if y in shares else ""
        axis: Run = (fit(label, AXIS - 1, right=True) + ("┤" if label else "│"), "muted")
        found = _RUNS.finditer(marks[y])
        lines.append((axis, *((chars[y][m.start() : m.end()], styles[m[1]]) for m in found)))
    return lines


def _marks(rows: int) -> dict[int, float]:
    """Which rows have a number beside them, and at which share of the height that is."""
    found = {0: 1.0, rows - 1: 0.0} if rows > 1 else {0: 1.0}
    if rows >= 5:
        found[(rows - 1) // 2 if rows % 2 else rows // 2 - 1] = 0.5
    return found


def _title(
    chart: Chart, values: Sequence[Sequence[float]], scale: Scale, width: int, number: int | None, cursor: int | None
) -> Line:
    runs: list[Run] = [
        (f" {number} " if number is not None else " ", "muted"),
        (f"{chart.title if width >= 44 else chart.short} ", "bold"),
    ]
    named = [(curve, curve_values) for curve, curve_values in zip(chart.curves, values, strict=True)]
    for curve, curve_values in reversed(named):
        if curve.name is not None:
            value = _at(curve_values, cursor)
            runs.append((f" {curve.name}" if curve.name else "", "muted"))
            runs.append((f" {scale.text(value)}", f"bold {CURSOR if cursor is not None else curve.style}"))
    known = [value for value in values[-1] if not isnan(value)]
    highest = top_of(values)
    if not known:
        return cut(runs, width)
    whole = f"min {scale.unit.text(min(known))} mean {scale.unit.text(sum(known) / len(known))} "
    for text in (f"{whole}max {scale.unit.text(highest)} ", f"max {scale.unit.text(highest)} "):
        right: list[Run] = [(text, "muted")]
        if width_of(runs) + width_of(right) < width:
            return spread(runs, right, width)
    return cut(runs, width)


def _at(values: Sequence[float], cursor: int | None) -> float | None:
    """The value at the cursor, or the newest; the last column may have none as yet."""
    if cursor is not None:
        return values[cursor] if 0 <= cursor < len(values) else None
    return next((value for value in reversed(values[-3:]) if not isnan(value)), None)


# --- curves ---


def _plotted(
    values: Sequence[Sequence[float]], rows: int, top: float, *, ascii_only: bool
) -> tuple[list[str], list[str]]:
    """The characters of each row, and which curve each of them shows."""
    steps = rows if ascii_only else rows * 4
    levels = list(zip(*([_level(value, steps, top) for value in curve] for curve in values), strict=True))
    if ascii_only:
        cells = [_ascii_cell(column, rows) for column in levels]
    else:
        if len(levels) % 2:
            levels.append((0,) * len(values))
        cells = [_braille_cell(levels[n], levels[n + 1], rows) for n in range(0, len(levels), 2)]
    if not cells:
        return [""] * rows, [""] * rows
    chars = ["".join(row) for row in zip(*(cell[0] for cell in cells), strict=True)]
    return chars, ["".join(row) for row in zip(*(cell[1] for cell in cells), strict=True)]


def _level(value: float, steps: int, top: float) -> int:
    """How many of `steps` a value fills; 0: nothing was measured."""
    if value != value:
        return 0
    return min(steps, max(1, round(value / top * steps))) if value > 0 else ZERO


Levels = tuple[int, ...]


@lru_cache(32_768)
def _braille_cell(left: Levels, right: Levels, rows: int) -> tuple[str, str]:
    """A cell's characters and marks, top row first."""
    thin = _THIN[len(left)]
    chars, marks = [], []
    for base in range((rows - 1) * 4, -1, -4):
        bits, mark = 0, " "
        for n, mask in enumerate(thin):
            here = 0
            for side, levels in enumerate((left, right)):
                reach = levels[n] - base
                if reach > 0:
                    columns = _BITS[side]
                    for dot in range(min(4, reach)):
                        here |= columns[dot] & mask
                    if reach <= 4:
                        here |= columns[reach - 1]  # its outline
                    mark = chr(97 + n)
            bits |= here
        if not base:
            for side, levels in enumerate((left, right)):
                if ZERO in levels and not max(levels) > 0:
                    bits |= _BITS[side][0]
                    mark = _ZERO if mark == " " else mark
        chars.append(chr(_BRAILLE + bits) if bits else " ")
        marks.append(mark if bits else " ")
    return "".join(chars), "".join(marks)


@lru_cache(8192)
def _ascii_cell(levels: Levels, rows: int) -> tuple[str, str]:
    signs = _ASCII[len(levels)]
    chars, marks = [], []
    for base in range(rows - 1, -1, -1):
        reached = [n for n, level in enumerate(levels) if level > base]
        zero = not base and not reached and ZERO in levels
        chars.append(signs[reached[-1]] if reached else "_" if zero else " ")
        marks.append(chr(97 + reached[-1]) if reached else _ZERO if zero else " ")
    return "".join(chars), "".join(marks)


def _cross(chars: list[str], marks: list[str], cursor: int, *, ascii_only: bool) -> None:
    """Draw the cursor's line through all rows."""
    cell = cursor if ascii_only else cursor // 2
    if not 0 <= cell < len(chars[0]):
        return
    for y, row in enumerate(chars):
        char = row[cell]
        if ascii_only:
            char = "|" if char in " _" else char
        elif char == " " or ord(char) >= _BRAILLE:
            bits = 0 if char == " " else ord(char) - _BRAILLE
            char = chr(_BRAILLE + (bits | _CURSOR_BITS[cursor % 2]))
        chars[y] = f"{row[:cell]}{char}{row[cell + 1 :]}"
        marks[y] = f"{marks[y][:cell]}{_CROSSED}{marks[y][cell + 1 :]}"


def _say_nothing(chars: list[str], marks: list[str], text: str) -> None:
    """A word in the middle of an empty graph."""
    y, cells = len(chars) // 2, len(chars[0])
    if len(text) + 2 > cells:
        return
    at = (cells - len(text)) // 2
    chars[y] = f"{' ' * at}{text}{' ' * (cells - at - len(text))}"
    marks[y] = f"{' ' * at}{_SAID * len(text)}{' ' * (cells - at - len(text))}"


# --- the time axis ---


def axis_line(marks: Sequence[tuple[int, str]], width: int, cursor: tuple[int, str] | None = None) -> Line:
    """Times below the graphs, each beginning under its tick; that of the cursor on top of them."""
    cells = max(0, width - AXIS)
    text = [" "] * cells
    for cell, label in marks:
        if cell + len(label) + 1 <= cells:
            text[cell : cell + len(label) + 1] = f"╵{label}"
    line = "".join(text)
    if cursor is None:
        return ((" " * AXIS, ""), (line, "muted"))
    cell, label = cursor
    label = f" {label} "
    at = max(0, min(cell - len(label) // 2, cells - len(label)))
    after = at + len(label)
    return ((" " * AXIS, ""), (line[:at], "muted"), (label, f"reverse {CURSOR}"), (line[after:], "muted"))
