"""The y-axis of a graph: a round top, round marks, and one unit for all its numbers, so that they do not jump. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, isnan, log10

_ROUND = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
LOWERED_AT = 0.4
"""The top comes down only when less than this share of it is needed: else it would go up and down with every peak."""
NONE = "–"


@dataclass(frozen=True, slots=True)
class Unit:
    """How numbers are written: divided, with a suffix, to so many places."""

    divisor: float
    suffix: str
    places: int

    def text(self, value: float | None) -> str:
        if value is None or isnan(value):
            return NONE
        if not value:
            return "0"
        return f"{value / self.divisor:.{self.places}f}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Scale:
    """From 0 to `top`."""

    top: float
    unit: Unit

    def text(self, value: float | None) -> str:
        """A value in the unit of the axis, as wide as the top's."""
        return self.unit.text(value).rjust(len(self.unit.text(self.top)))

    def mark(self, share: float) -> str:
        """What stands at this share of the height: in as few places as it needs."""
        value = self.top * share / self.unit.divisor
        return f"{value:.4g}{self.unit.suffix}" if share else "0"


UnitOf = Callable[[float], Unit]


def counts(top: float) -> Unit:
    """Counts and rates: `0.50`, `12.5`, `480`, `1.25k`."""
    for limit, divisor, suffix in ((10_000.0, 1.0, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M")):
        if top < limit:
            return Unit(divisor, suffix, _places(top / divisor))
    return Unit(1e9, "G", _places(top / 1e9))


def wholes(top: float) -> Unit:
    """Counts of things: no fractions while they are few."""
    unit = counts(top)
    return Unit(1.0, "", 0) if unit.divisor == 1.0 else unit


def seconds(top: float) -> Unit:
    """Durations: all in milliseconds, or all in seconds."""
    if top < 1.0:
        return Unit(0.001, "ms", _places(top * 1000))
    return Unit(1.0, "s", _places(top))


def _places(top: float) -> int:
    return 2 if top <= 10 else 1 if top <= 100 else 0


def round_top(value: float, least: float) -> float:
    """A round number at or above a value."""
    if isnan(value) or value <= least:
        return least
    power = 10.0 ** floor(log10(value))
    for step in _ROUND:
        if step * power >= value * (1 - 1e-9):
            return step * power
    return 10 * power


def steady_top(before: float | None, value: float, least: float) -> float:
    """The top for a largest value, after another one was shown."""
    if before is not None and LOWERED_AT * before <= value <= before:
        return before
    if before is not None and before == least and value <= least:
        return least
    return round_top(value, least)
