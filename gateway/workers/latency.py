"""Response times in bounded memory: percentiles over the last minute and the last five.

A `LatencyWindow` counts values in buckets that grow by 15 % (so a percentile is at most 8 % off), in slices of
time that are dropped as they age. Slices are made on first use: an idle worker costs nothing, a busy one about
6 KB. Pure: the caller passes `now`, any monotonic clock in seconds.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from math import log
from typing import NewType

FLOOR_S = 0.0005
GROWTH = 1.15
BUCKETS = 118
"""0.5 ms * 1.15**117 is about 105 minutes: longer than any request timeout in use."""
_SLICE_BYTES = 4 * BUCKETS
_PER_LOG = 1.0 / log(GROWTH)
_SCALE = 1.0 / FLOOR_S

MINUTE, FIVE_MINUTES = 60.0, 300.0
_FINE_S, _FINE_SLICES = 10.0, 6
_COARSE_S, _COARSE_SLICES = 60.0, 5


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds; None where nothing was measured in the window."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    count: int = 0


def bucket_of(seconds: float) -> int:
    """The bucket a duration falls in; bucket 0 holds everything up to half a millisecond."""
    if seconds <= FLOOR_S:
        return 0
    return min(BUCKETS - 1, int(log(seconds * _SCALE) * _PER_LOG) + 1)


def bucket_middle(bucket: int) -> float:
    """The duration a bucket stands for: the geometric middle of its bounds, in seconds."""
    return FLOOR_S if bucket == 0 else FLOOR_S * float(GROWTH ** (bucket - 0.5))


Total = NewType("Total", int)
"""Bucket counts as one long integer, four bytes each, so that adding two of them is one step instead of 118.
Nobody answers 2**32 requests within five minutes, so no bucket spills into its neighbour."""
NOTHING = Total(0)


def summed(slices: Iterable["array[int]"]) -> Total:
    """The given bucket counts, added up. Totals may be added to each other with `+`."""
    return Total(sum(int.from_bytes(counts, sys.byteorder) for counts in slices))


def percentiles_of(total: Total) -> Percentiles:
    """Percentiles over a total of bucket counts."""
    if not total:
        return Percentiles()
    counts = array("I", total.to_bytes(_SLICE_BYTES, sys.byteorder))
    reached = list(accumulate(counts))
    count = reached[-1]
    p50, p95, p99 = (bucket_middle(bisect_left(reached, -(-count * share // 100))) for share in (50, 95, 99))
    return Percentiles(p50, p95, p99, count)


def percentiles(slices: Iterable["array[int]"]) -> Percentiles:
    """Percentiles over the sum of the given bucket counts."""
    return percentiles_of(summed(slices))


class _Ring:
    """Bucket counts per slice of time; a slot is reused once its slice is too old."""

    __slots__ = ("_counts", "_epochs", "_slots", "_width_s")

    def __init__(self, width_s: float, slots: int) -> None:
        self._width_s = width_s
        self._slots = slots
        self._epochs: list[int] = [-1] * slots
        self._counts: list[array[int] | None] = [None] * slots

    def add(self, bucket: int, now: float) -> None:
        epoch = int(now / self._width_s)
        slot = epoch % self._slots
        counts = self._counts[slot]
        if counts is None or self._epochs[slot] != epoch:
            counts = self._counts[slot] = array("I", bytes(_SLICE_BYTES))
            self._epochs[slot] = epoch
        counts[bucket] += 1

    def recent(self, now: float) -> list["array[int]"]:
        oldest = int(now / self._width_s) - self._slots + 1
        return [
            counts
            for epoch, counts in zip(self._epochs, self._counts, strict=True)
            if counts is not None and epoch >= oldest
        ]


class LatencyWindow:
    """Durations of one kind at one worker. The window of a minute is 50 to 60 s long, that of five 240 to 300."""

    __slots__ = ("_coarse", "_fine")

    def __init__(self) -> None:
        self._fine: _Ring | None = None
        self._coarse: _Ring | None = None

    def add(self, seconds: float, now: float) -> None:
        """Count one duration."""
        if self._fine is None or self._coarse is None:
            self._fine = _Ring(_FINE_S, _FINE_SLICES)
            self._coarse = _Ring(_COARSE_S, _COARSE_SLICES)
        bucket = bucket_of(seconds)
        self._fine.add(bucket, now)
        self._coarse.add(bucket, now)

    def counts(self, now: float, window_s: float = MINUTE) -> list["array[int]"]:
        """Bucket counts of the window, to be summed with other workers' by `percentiles`."""
        ring = self._fine if window_s <= MINUTE else self._coarse
        return ring.recent(now) if ring is not None else []

    def percentiles(self, now: float, window_s: float = MINUTE) -> Percentiles:
        """p50, p95 and p99 over the last minute (or five)."""
        return percentiles(self.counts(now, window_s))
