"""Series as lines of characters: braille dots (two by four a cell), or columns of ASCII."""

from collections.abc import Sequence
from math import isnan

_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""Braille bits of a cell's two columns, bottom dot first."""
_STEPS = " .:|#"


def ceiling(values: Sequence[float], least: float = 1.0) -> float:
    """A round number at or above all values: 1, 2 or 5 times a power of ten."""
    top = max((value for value in values if not isnan(value)), default=0.0)
    if top <= least:
        return least
    power = 10.0 ** (len(str(int(top))) - 1) if top >= 1 else 0.001
    while power * 10 < top:
        power *= 10
    return next(step * power for step in (1, 2, 5, 10) if step * power >= top)


def resampled(values: Sequence[float], count: int) -> list[float]:
    """The newest values, `count` of them: the largest of each group where there are more, so peaks stay seen."""
    if len(values) <= count:
        return [float("nan")] * (count - len(values)) + list(values)
    size = len(values) // count
    newest = values[len(values) - size * count :]
    return [_peak(newest[start : start + size]) for start in range(0, len(newest), size)]


def _peak(group: Sequence[float]) -> float:
    return max((value for value in group if not isnan(value)), default=float("nan"))


def braille(values: Sequence[float], width: int, height: int, top: float) -> list[str]:
    """Filled columns in `height` lines of `width` cells, top line first."""
    columns = resampled(values, width * 2)
    levels = height * 4
    rows = [[0] * width for _ in range(height)]
    for x, value in enumerate(columns):
        if isnan(value):
            continue
        filled = min(levels, max(1 if value > 0 else 0, round(value / top * levels)))
        for dot in range(filled):
            rows[height - 1 - dot // 4][x // 2] |= _DOTS[x % 2][dot % 4]
    return ["".join(chr(0x2800 + bits) for bits in row) for row in rows]


def columns(values: Sequence[float], width: int, height: int, top: float) -> list[str]:
    """The same in ASCII."""
    points = resampled(values, width)
    steps = len(_STEPS) - 1
    lines = []
    for row in range(height - 1, -1, -1):
        line = ""
        for value in points:
            filled = (
                0
                if isnan(value)
                else min(height * steps, max(1 if value > 0 else 0, round(value / top * height * steps)))
            )
            line += _STEPS[max(0, min(steps, filled - row * steps))]
        lines.append(line)
    return lines
