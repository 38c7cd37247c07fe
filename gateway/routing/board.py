"""Boards: the loads of all candidates as plain lists of numbers beside the tuple, so that `min` runs over them.

A loop over a thousand workers costs most of a millisecond in Python, `min` over a list of numbers ten
microseconds. So a policy that compares all workers keeps a board for the tuple it was given last; each worker's
meters tell their place on the board of every change. A board leaves all meters when it is closed or dropped:
meters hold the mirrors, mirrors the lists, and nothing but the policy holds the board.

Where every request needs the least of many, even `min` is the largest part of a choice; a `Ranking` keeps a heap
beside the list then.
"""

from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from operator import is_
from typing import Generic, Self

from gateway.routing.policy import C, Candidate
from gateway.routing.weights import Weights
from gateway.workers.meters import EngineLoad, Mirror

NEVER = inf
SCANNED = 64
"""Up to so many scores are searched each time; for more a heap costs less."""


class Attached:
    """Mirrors attached to the meters of some candidates, for as long as this object is kept."""

    __slots__ = ("__weakref__", "_candidates", "_mirrors")

    def __init__(self, candidates: Sequence[Candidate], mirrors: Sequence[Mirror]) -> None:
        self._candidates, self._mirrors = candidates, mirrors
        for candidate, mirror in zip(candidates, mirrors, strict=True):
            meters = candidate.meters
            meters.mirrors = (*meters.mirrors, mirror)

    def close(self) -> None:
        """Take the mirrors away again; once is enough, more does no harm."""
        for candidate, mirror in zip(self._candidates, self._mirrors, strict=True):
            meters = candidate.meters
            mirrors = meters.mirrors
            if len(mirrors) == 1 and mirrors[0] is mirror:
                meters.mirrors = ()
            else:
                meters.mirrors = tuple(other for other in mirrors if other is not mirror)
        self._candidates = self._mirrors = ()

    def __del__(self) -> None:
        self.close()


class _Place:
    """One worker's place on a load board."""

    __slots__ = ("_bounds", "_loads", "_place", "_share")

    def __init__(self, loads: list[float], bounds: "Bounds", place: int, share: float) -> None:
        self._loads, self._bounds, self._place, self._share = loads, bounds, place, share

    def moved(self, in_flight: int) -> None:
        load = self._loads[self._place] = in_flight / self._share
        bounds = self._bounds
        if load > bounds.high:
            bounds.high = load
        elif load < bounds.low:
            bounds.low = load

    def reported(self, load: EngineLoad | None) -> None:
        """What the engine says of itself is not on this board."""


class Bounds:
    """Between what the loads were since somebody looked last."""

    __slots__ = ("high", "low")

    def __init__(self, loads: Sequence[float]) -> None:
        self.high, self.low = max(loads), min(loads)


class LoadBoard(Generic[C]):
    """Requests in flight by weight: (in flight) / weight for each candidate, always current."""

    __slots__ = ("_attached", "bounds", "candidates", "loads", "weights")

    def __init__(self, candidates: Sequence[C]) -> None:
        self.candidates = candidates
        self.weights = Weights(candidates)
        self.loads = [c.meters.in_flight / w for c, w in zip(candidates, self.weights.each, strict=True)]
        self.bounds = Bounds(self.loads)
        self._attached = Attached(candidates, self._mirrors())

    def _mirrors(self) -> Sequence[Mirror]:
        """One for each candidate."""
        return [_Place(self.loads, self.bounds, n, w) for n, w in enumerate(self.weights.each)]

    def serves(self, candidates: Sequence[C]) -> bool:
        """Whether the board is for these candidates as they are; adopts a new tuple of the same ones."""
        if self.candidates is candidates:
            return True
        weights = unchanged(self.weights, candidates)
        if weights is None:
            return False
        self.candidates, self.weights = candidates, weights
        return True

    @classmethod
    def renewed(cls, board: "Self | None", candidates: Sequence[C]) -> "Self":
        """The board for these candidates: the one given if it still is, else a new one in its place."""
        if board is not None:
            if board.serves(candidates):
                return board
            board.close()
        return cls(candidates)

    def close(self) -> None:
        """Stop following the meters."""
        self._attached.close()

    def spread(self, least: float) -> tuple[float, float] | None:
        """The highest and the lowest load where they are more than `least` apart; None where they are not."""
        bounds = self.bounds
        if bounds.high - bounds.low <= least:  # no need to look at all of them
            return None
        high, low = bounds.high, bounds.low = max(self.loads), min(self.loads)
        return (high, low) if high - low > least else None


def unchanged(known: Weights, candidates: Sequence[Candidate]) -> Weights | None:
    """The weights of these candidates if they are the known ones, weighing the same; else None.

    Any fact about any worker makes a new tuple, mostly of the same workers.
    """
    before = known.candidates
    if len(candidates) != len(before) or not all(map(is_, candidates, before)):
        return None
    weights = Weights.renewed(known, candidates)
    return weights if weights.each is known.each or weights.each == known.each else None


def without(scores: list[float], candidates: Sequence[Candidate], avoid: Collection[Candidate]) -> list[float]:
    """The scores with the avoided candidates out of the question. For the rare request that avoids any."""
    if not avoid:
        return scores
    return [NEVER if c in avoid else score for c, score in zip(candidates, scores, strict=True)]


def least(scores: list[float], after: int) -> int:
    """The place of the lowest score; among equals the first one after the place `after`, round and round."""
    lowest = min(scores)
    try:
        return scores.index(lowest, after + 1)
    except ValueError:
        return scores.index(lowest)


class Ranking:
    """Scores by place, and which is the lowest. Equals come in turn; a score of NEVER is out of the question."""

    __slots__ = ("_heap", "_last", "_turn", "_turns", "scores")

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores
        """Not to be changed but by `set`."""
        self._last, self._turn = -1, 0
        self._turns = [0] * len(scores)
        """When each place got its score, or was taken: the turn of its one valid entry in the heap."""
        self._heap: list[tuple[float, int, int]] | None = None if len(scores) <= SCANNED else []
        """(score, turn, place); entries of another turn than the place's are stale."""
        self._renew()

    def set(self, place: int, score: float) -> None:
        scores = self.scores
        if scores[place] == score:
            return
        scores[place] = score
        heap = self._heap
        if heap is not None:
            self._turn = turn = self._turns[place] = self._turn + 1
            if score < NEVER:
                heappush(heap, (score, turn, place))
                if len(heap) > 4 * len(scores):
                    self._renew()

    def least(self) -> int:
        """The place of the lowest score; any place where all are NEVER."""
        heap = self._heap
        if heap is None:
            return least(self.scores, self._last)
        turns = self._turns
        while heap:
            _, turn, place = heap[0]
            if turns[place] == turn:
                return place
            heappop(heap)
        return 0

    def least_without(self, candidates: Sequence[Candidate], avoid: Collection[Candidate]) -> int:
        """The same without the avoided candidates."""
        return least(without(self.scores, candidates, avoid), self._last) if avoid else self.least()

    def took(self, place: int) -> None:
        """The least was taken: it is the turn of its equals."""
        self._last = place
        heap = self._heap
        if heap and heap[0][2] == place and heap[0][1] == self._turns[place]:
            self._turn = turn = self._turns[place] = self._turn + 1
            heapreplace(heap, (heap[0][0], turn, place))

    def _renew(self) -> None:
        """Leave out what is stale."""
        if self._heap is not None:
            turns = self._turns
            self._heap = [(s, turns[n], n) for n, s in enumerate(self.scores) if s < NEVER]
            heapify(self._heap)
