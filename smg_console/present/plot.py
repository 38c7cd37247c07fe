"""Series as lines of characters: braille dots (two by four a cell), or columns of ASCII. Pure."""

from collections.abc import Sequence
from math import isnan

NAN = float("nan")
_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""Braille bits of a cell's two columns, bottom dot first."""
_STEPS = " .:|#"
_ROUND = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


def ceiling(values: Sequence[float], least: float = 1.0) -> float:
    """A round number at or above all values: one of `_ROUND` times a power of ten."""
    top = max((value for value in values if not isnan(value)), default=0.0)
    if top <= least:
        return least
    power = 10.0 ** (len(str(int(top))) - 1) if top >= 1 else 0.001
    while power * 10 < top:
        power *= 10
    return next(step * power for step in _ROUND if step * power >= top)


def group_size(values: int, count: int) -> int:
    """How many values share one of `count` columns."""
    return max(1, values // count) if count > 0 else 1


def resampled(values: Sequence[float], count: int, taken: int = 0) -> list[float]:
    """The newest values in `count` columns: the largest of each group where there are more, so peaks stay seen.

    Groups keep to the sample numbers (`taken` is the newest's), so that a column once drawn keeps its value
    and the picture moves left whole instead of simmering. The newest group may still be filling.
    """
    if len(values) <= count:
        return [NAN] * (count - len(values)) + list(values)
    size = group_size(len(values), count)
    newest = taken % size or size
    end = len(values)
    peaks: list[float] = []
    while len(peaks) < count and end > 0:
        start = end - (newest if not peaks else size)
        peaks.append(_peak(values[max(0, start) : end]))
        end = start
    return [NAN] * (count - len(peaks)) + peaks[::-1]


def _peak(group: Sequence[float]) -> float:
    return max((value for value in group if not isnan(value)), default=NAN)


def filled(value: float, steps: int, top: float) -> int:
    """How many of `steps` a value fills; something is always at least one."""
    if isnan(value) or value <= 0:
        return 0
    return min(steps, max(1, round(value / top * steps)))


def braille(points: Sequence[float], height: int, top: float) -> list[str]:
    """Filled columns in `height` lines, two points a cell, top line first."""
    width = (len(points) + 1) // 2
    rows = [[0] * width for _ in range(height)]
    for x, value in enumerate(points):
        for dot in range(filled(value, height * 4, top)):
            rows[height - 1 - dot // 4][x // 2] |= _DOTS[x % 2][dot % 4]
    return ["".join(chr(0x2800 + bits) if bits else " " for bits in row) for row in rows]


def columns(points: Sequence[float], height: int, top: float) -> list[str]:
    """The same in ASCII, a point a cell."""
    steps = len(_STEPS) - 1
    levels = [filled(value, height * steps, top) for value in points]
    return [
        "".join(_STEPS[max(0, min(steps, level - row * steps))] for level in levels)
        for row in range(height - 1, -1, -1)
    ]
