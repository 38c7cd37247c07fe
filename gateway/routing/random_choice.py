"""The policy `random`: any candidate, with a chance in proportion to its weight."""

from bisect import bisect
from collections.abc import Collection, Sequence
from random import Random
from typing import Final

from gateway.routing.policy import C, Candidate, Explanation, Query, Stateless, narrowed
from gateway.routing.weights import Weights


class RandomChoice(Stateless):
    name: Final = "random"
    reads_text: Final = False

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._weights: Weights | None = None

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        if avoid:
            free = narrowed(candidates, avoid)
            return free[drawn(self._rng, Weights(free))]
        weights = self._weights
        if weights is None or weights.candidates is not candidates:
            weights = self._weights = Weights.renewed(weights, candidates)
        return candidates[drawn(self._rng, weights)]

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        state = self._rng.getstate()
        chosen = self.choose(candidates, query, now)
        self._rng.setstate(state)
        by_weight = "" if Weights(candidates).even else ", by weight"
        return Explanation(chosen.worker.id, f"drawn by lot among {len(candidates)}{by_weight}")


def drawn(rng: Random, weights: Weights) -> int:
    """A place drawn by lot, in proportion to the weights."""
    if weights.even:
        return int(rng.random() * len(weights.each))
    cumulative = weights.cumulative
    return bisect(cumulative, rng.random() * cumulative[-1], 0, len(cumulative) - 1)
