"""Boards: the loads of all candidates as plain lists of numbers beside the tuple, so that `min` runs over them.

A loop over a thousand workers costs most of a millisecond in Python, `min` over a list of numbers ten
microseconds. So a policy that compares all workers keeps a board for the tuple it was given last; each worker's
meters tell their place on the board of every change. A board leaves all meters when it is closed or dropped:
meters hold the mirrors, mirrors the lists, and nothing but the policy holds the board.
"""

from collections.abc import Collection, Sequence
from math import inf
from operator import is_
from typing import Generic, Self

from gateway.routing.policy import C, Candidate
from gateway.routing.weights import Weights
from gateway.workers.meters import EngineLoad, Mirror

NEVER = inf


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
            meters.mirrors = tuple(other for other in meters.mirrors if other is not mirror)
        self._candidates = self._mirrors = ()

    def __del__(self) -> None:
        self.close()


class _Place:
    """One worker's place on a load board."""

    __slots__ = ("_high", "_loads", "_place", "_share")

    def __init__(self, loads: list[float], high: list[float], place: int, share: float) -> None:
        self._loads, self._high, self._place, self._share = loads, high, place, share

    def moved(self, in_flight: int) -> None:
        load = self._loads[self._place] = in_flight / self._share
        if load > self._high[0]:
            self._high[0] = load

    def reported(self, load: EngineLoad | None) -> None:
        """What the engine says of itself is not on this board."""


class LoadBoard(Generic[C]):
    """Requests in flight by weight: (in flight) / weight for each candidate, always current."""

    __slots__ = ("_attached", "_high", "candidates", "loads", "weights")

    def __init__(self, candidates: Sequence[C]) -> None:
        self.candidates = candidates
        self.weights = Weights(candidates)
        self.loads = [c.meters.in_flight / w for c, w in zip(candidates, self.weights.each, strict=True)]
        self._high = [max(self.loads)]
        self._attached = Attached(candidates, self._mirrors())

    def _mirrors(self) -> Sequence[Mirror]:
        """One for each candidate."""
        return [_Place(self.loads, self._high, n, w) for n, w in enumerate(self.weights.each)]

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
        if self._high[0] <= least:  # nothing was ever that high: no need to look at all of them
            return None
        low, high = min(self.loads), max(self.loads)
        self._high[0] = high
        return (high, low) if high - low > least else None


def unchanged(known: Weights, candidates: Sequence[Candidate]) -> Weights | None:
    """The weights of these candidates if they are the known ones, weighing the same; else None.

    Any fact about any worker makes a new tuple, mostly of the same workers.
    """
    before = known.candidates
    if len(candidates) != len(before) or not all(map(is_, candidates, before)):
        return None
    weights = Weights(candidates)
    return weights if weights.each == known.each else None


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
