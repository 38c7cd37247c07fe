"""A day of one subject's numbers in fixed memory: fine for the last minutes, coarser the older they are.

Three rings: a value a second for five minutes, every ten seconds for an hour, every two minutes for a day. A coarse
row has the mean and the peak of each measure, made of the finer rows it covers, so that a spike stays seen at any
zoom; what was not measured stays out of both. Seconds are numbered as since the epoch, and coarse rows begin at
whole multiples of their step, so that a row once made keeps its values. Seconds that were not sampled are gaps.

A worker's values are kept in two bytes each (eleven bits of precision, far above what percentiles have): 54 KB after
a day, 24 KB after an hour, 7 KB after five minutes; a thousand busy workers take 54 MB. A fleet's and a model's have
four bytes, for their numbers grow beyond what two can hold. Pure.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from struct import Struct, unpack

from gateway.telemetry.samples import Measure

MEASURES = tuple(Measure)
COUNT = len(MEASURES)
STEPS = (1, 10, 120)
"""Seconds of a row in each ring."""
ROWS = (300, 360, 720)
RECENT_S = ROWS[0] * STEPS[0]
SMALL, LARGE = "e", "f"
"""How a value is kept: in two bytes, in four."""
MOST_SMALL = 65504.0

NAN = float("nan")
Row = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Track:
    """One measure over a stretch of time, oldest first; NaN where nothing was measured."""

    means: "array[float]"
    peaks: "array[float]"


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a ring holds: rows of `step_s` seconds, the newest one ending at `end` (seconds since the epoch).

    The newest row may still be filling: then `end` is beyond the last sample.
    """

    step_s: int
    end: int
    tracks: dict[Measure, Track]

    @property
    def count(self) -> int:
        """Rows in each track."""
        return next((len(track.means) for track in self.tracks.values()), 0)


class _Ring:
    """The last rows of one step, at consecutive numbers. Grows to its size, then writes over the oldest."""

    __slots__ = ("_bytes", "_code", "_first", "_most", "_row", "end", "width")

    def __init__(self, width: int, most: int, code: str) -> None:
        self.width = width
        self._code = code
        self._row = Struct(f"={width}{code}")
        self._most = most
        self._bytes = bytearray()
        self._first = 0
        """The number whose row is at the start of the bytes, or was."""
        self.end = 0
        """One beyond the newest row's number."""

    def __len__(self) -> int:
        return len(self._bytes) // self._row.size

    def put(self, number: int, values: Sequence[float]) -> None:
        """The row with this number; numbers only grow. Those left out are gaps."""
        missing = number - self.end
        if not self._bytes or missing >= self._most:
            self._bytes.clear()
            self._first = number
        else:
            for gap in range(self.end, number):
                self._write(gap, (NAN,) * self.width)
        self._write(number, values)
        self.end = number + 1

    def _write(self, number: int, values: Sequence[float]) -> None:
        packed = self._packed(values)
        at = (number - self._first) % self._most * len(packed)
        self._bytes[at : at + len(packed)] = packed

    def _packed(self, values: Sequence[float]) -> bytes:
        try:
            return self._row.pack(*values)
        except OverflowError:
            return self._row.pack(*(min(value, MOST_SMALL) for value in values))

    def rows(self, start: int, end: int) -> Iterator[Row]:
        """The rows there are with numbers from `start` to before `end`, oldest first."""
        for number in range(max(start, self.end - len(self)), min(end, self.end)):
            yield self._row.unpack_from(self._bytes, (number - self._first) % self._most * self._row.size)

    def column(self, at: int) -> "array[float]":
        """All that is kept of one value, oldest first."""
        count = len(self)
        if not count:
            return array("f")
        items = array("H" if self._code == SMALL else "I", bytes(self._bytes))
        packed = items[at :: self.width].tobytes()
        found = array("f", unpack(f"={count}{self._code}", packed))
        turn = (self.end - self._first) % self._most if count == self._most else 0
        return found[turn:] + found[:turn]


class History:
    """The last 24 hours of one subject's measures. `code` says how large its numbers may be."""

    __slots__ = ("_rings",)

    def __init__(self, code: str = LARGE) -> None:
        self._rings = [_Ring(COUNT if not level else 2 * COUNT, most, code) for level, most in enumerate(ROWS)]

    @property
    def end(self) -> int:
        """One beyond the newest second; 0: there is none."""
        return self._rings[0].end

    def append(self, second: int, values: Sequence[float]) -> None:
        """The values of a second, in the order of `MEASURES`. Seconds only grow; others are ignored."""
        fine = self._rings[0]
        if len(fine) and second < fine.end:
            return
        for level in range(1, len(STEPS)) if len(fine) else ():
            number = (fine.end - 1) // STEPS[level]
            if second // STEPS[level] != number:
                self._roll_up(level, number)
        fine.put(second, values)

    def _roll_up(self, level: int, number: int) -> None:
        """A row of this step is complete."""
        merged = self._merged(level, number)
        if merged is not None:
            self._rings[level].put(number, merged)

    def _merged(self, level: int, number: int) -> Row | None:
        """The row of this step and number, of what is there of the finer ones; None: there is nothing."""
        step, finer = STEPS[level], STEPS[level - 1]
        start, end = number * step // finer, (number + 1) * step // finer
        rows = list(self._rings[level - 1].rows(start, end))
        if level > 1 and self._rings[level - 1].end < end:  # the newest of the finer ones is not complete itself
            for finer_number in range(max(start, self._rings[level - 1].end), end):
                row = self._merged(level - 1, finer_number)
                rows += [row] if row is not None else []
        if not rows:
            return None
        columns = list(zip(*rows, strict=True))
        peaks = columns if level == 1 else columns[COUNT:]
        return (*map(_mean, columns[:COUNT]), *map(_peak, peaks))

    def read(self, step_s: int, measures: Sequence[Measure] = MEASURES) -> Stretch:
        """What is kept in rows of `step_s` (one of `STEPS`), what has come of the newest row included."""
        level = STEPS.index(step_s)
        ring = self._rings[level]
        if not level:
            columns = {measure: ring.column(MEASURES.index(measure)) for measure in measures}
            return Stretch(step_s, ring.end, {name: Track(column, column) for name, column in columns.items()})
        tracks = {
            name: Track(ring.column(MEASURES.index(name)), ring.column(COUNT + MEASURES.index(name)))
            for name in measures
        }
        newest = (self.end - 1) // step_s
        row = self._merged(level, newest) if self.end and (not len(ring) or newest >= ring.end) else None
        if row is None:
            return Stretch(step_s, ring.end * step_s, tracks)
        for name, track in tracks.items():
            at = MEASURES.index(name)
            gap = [NAN] * (newest - ring.end if len(ring) else 0)
            track.means.extend([*gap, row[at]])
            track.peaks.extend([*gap, row[COUNT + at]])
            for values in (track.means, track.peaks):
                del values[: -ROWS[level] - 1]
        return Stretch(step_s, (newest + 1) * step_s, tracks)

    def last(self, measure: Measure, count: int = RECENT_S) -> "array[float]":
        """The newest seconds of a measure, oldest first: `count` of them, NaN where there are none."""
        found = self._rings[0].column(MEASURES.index(measure))[-count:]
        return array("f", [NAN]) * (count - len(found)) + found


def _mean(values: Sequence[float]) -> float:
    total = sum(values)
    if total == total:  # as nearly always: none is NaN
        return total / len(values)
    known = [value for value in values if not isnan(value)]
    return sum(known) / len(known) if known else NAN


def _peak(values: Sequence[float]) -> float:
    return max((value for value in values if not isnan(value)), default=NAN)


def step_for(age_s: float) -> int:
    """The finest step whose ring reaches back so far."""
    return next((step for step, rows in zip(STEPS, ROWS, strict=True) if age_s <= step * rows), STEPS[-1])
