"""The policy `bucket`, for prefill workers: each takes the requests of a range of lengths, so that short prompts do
not wait behind long ones.

The ranges are drawn anew every `bucket_adjust_interval_s` so that each worker's range held its share, by weight, of
the characters that came in the last interval; before anything came the ranges part 4,096 characters evenly. If
the characters outstanding are lopsided, by the thresholds of `cache_aware`, the worker with the fewest
outstanding, by weight, gets the request. Outstanding is what was sent to a worker, of which each request that ends
takes an equal part away, the last one all.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from gateway.routing.board import Attached, least, unchanged, without
from gateway.routing.policy import C, Candidate, Explanation, Query
from gateway.routing.settings import RoutingSettings
from gateway.routing.weights import Weights
from gateway.workers.meters import EngineLoad
from gateway.workers.model import WorkerId

FIRST_LONGEST = 4096
"""Characters that the first ranges part among all workers."""
SAMPLE = 2000
"""Lengths kept of an interval: at most; see `Lengths`."""


class Lengths:
    """A sample of the lengths that came in one interval: all, then every second, every fourth, …"""

    __slots__ = ("_left_out", "_step", "kept")

    def __init__(self) -> None:
        self.kept: list[int] = []
        self._step, self._left_out = 1, 0

    def add(self, length: int) -> None:
        self._left_out += 1
        if self._left_out < self._step:
            return
        self._left_out = 0
        self.kept.append(length)
        if len(self.kept) >= SAMPLE:
            del self.kept[::2]
            self._step *= 2


class _Place:
    """One worker's place in the list of characters outstanding."""

    __slots__ = ("_in_flight", "_loads", "_place")

    def __init__(self, loads: list[float], place: int, in_flight: int) -> None:
        self._loads, self._place, self._in_flight = loads, place, in_flight

    def moved(self, in_flight: int) -> None:
        if in_flight < self._in_flight:
            self._loads[self._place] *= in_flight / self._in_flight
        self._in_flight = in_flight

    def reported(self, load: EngineLoad | None) -> None:
        """What the engine says of itself does not count here."""


class _Board:
    """Characters outstanding by weight and the ranges, beside one tuple of candidates."""

    __slots__ = ("_attached", "bounds", "candidates", "loads", "weights")

    def __init__(self, candidates: Sequence[Candidate], before: "_Board | None") -> None:
        self.candidates = candidates
        self.weights = Weights(candidates)
        known: dict[int, float] = {}
        if before is not None:
            known = {id(c): before.outstanding(place) for place, c in enumerate(before.candidates)}
        self.loads: list[float] = [
            known.get(id(c), 0.0) / weight if c.meters.in_flight else 0.0
            for c, weight in zip(candidates, self.weights.each, strict=True)
        ]
        self.bounds = first_bounds(self.weights.each)
        places = [_Place(self.loads, n, c.meters.in_flight) for n, c in enumerate(candidates)]
        self._attached = Attached(candidates, places)

    def serves(self, candidates: Sequence[Candidate]) -> bool:
        """Whether the board is for these candidates as they are; adopts a new tuple of the same ones."""
        if self.candidates is candidates:
            return True
        weights = unchanged(self.weights, candidates)
        if weights is not None:
            self.candidates, self.weights = candidates, weights
        return weights is not None

    def outstanding(self, place: int) -> float:
        """Characters, not by weight."""
        return self.loads[place] * self.weights.each[place]

    def close(self) -> None:
        self._attached.close()


class _Decision(NamedTuple):
    place: int
    lopsided: tuple[float, float] | None = None


class Bucket:
    name: Final = "bucket"
    reads_text: Final = False

    def __init__(self, settings: RoutingSettings) -> None:
        self._settings = settings
        self._board: _Board | None = None
        self._lengths = Lengths()
        self._adjusted: float | None = None
        self._last = -1

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        board = self._current(candidates, now)
        decision = self._decide(board, query.size, avoid)
        if decision.lopsided is not None:
            self._last = decision.place
        self._lengths.add(query.size)
        board.loads[decision.place] += query.size / board.weights.each[decision.place]
        return candidates[decision.place]

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        board = self._current(candidates, now)
        decision = self._decide(board, query.size, ())
        place = decision.place
        if decision.lopsided is not None:
            high, low = decision.lopsided
            why = f"the characters outstanding are lopsided (from {low:,.0f} to {high:,.0f} at a worker); it has the "
            why += f"fewest ({board.outstanding(place):,.0f})"
        else:
            above = f"{board.bounds[place - 1]:,.0f}" if place else "0"
            to = f"to {board.bounds[place]:,.0f}" if place < len(board.bounds) else "up"
            why = f"its range of lengths is from {above} {to} characters, and the request has {query.size:,}"
        return Explanation(candidates[place].worker.id, why)

    def forget(self, worker_id: WorkerId) -> None:
        board = self._board
        for place, candidate in enumerate(board.candidates if board is not None else ()):
            if board is not None and candidate.worker.id == worker_id:
                board.loads[place] = 0.0

    def tend(self, now: float) -> None:
        if self._board is not None:
            self._adjust(self._board, now)

    def _current(self, candidates: Sequence[Candidate], now: float) -> _Board:
        board = self._board
        if board is None or not board.serves(candidates):
            self._board, before = None, board
            if before is not None:
                before.close()
            board = self._board = _Board(candidates, before)
            if self._lengths.kept:
                board.bounds = bounds_of(self._lengths.kept, board.weights.each)
        self._adjust(board, now)
        return board

    def _adjust(self, board: _Board, now: float) -> None:
        """Draw the ranges anew if it is time."""
        if self._adjusted is None:
            self._adjusted = now
        if now - self._adjusted < self._settings.bucket_adjust_interval_s:
            return
        self._adjusted = now
        if self._lengths.kept:
            board.bounds = bounds_of(self._lengths.kept, board.weights.each)
            self._lengths = Lengths()

    def _decide(self, board: _Board, length: int, avoid: Collection[Candidate]) -> _Decision:
        settings, loads = self._settings, board.loads
        high, low = max(loads), min(loads)
        if high - low > settings.balance_abs_threshold and high > settings.balance_rel_threshold * low:
            return _Decision(least(without(loads, board.candidates, avoid), self._last), (high, low))
        place, end = bisect_left(board.bounds, length), bisect_right(board.bounds, length)
        if end - place > 1:  # several ranges end here: all but the first are empty, and their workers would idle
            place = min(range(place, end), key=loads.__getitem__)
        if not avoid or board.candidates[place] not in avoid:
            return _Decision(place)
        return _Decision(least(without(loads, board.candidates, avoid), self._last))


def first_bounds(weights: Sequence[float]) -> list[float]:
    """Where the ranges end, all but the last, which has no end; before anything is known of the lengths."""
    total = sum(weights)
    return [FIRST_LONGEST * part / total for part in accumulate(weights[:-1])]


def bounds_of(lengths: Sequence[int], weights: Sequence[float]) -> list[float]:
    """Where the ranges end so that each holds its share, by weight, of the characters of these lengths."""
    ordered = sorted(lengths)
    sums = list(accumulate(ordered))
    whole = sum(weights)
    last = len(sums) - 1
    return [float(ordered[bisect_left(sums, sums[-1] * part / whole, 0, last)]) for part in accumulate(weights[:-1])]
