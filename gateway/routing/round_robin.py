"""The policy `round_robin`: one after the other, those of more weight more often.

When the candidates change the count goes on, so over any stretch with the same candidates no two of them of the
same weight are more than one request apart. SMG keeps one counter for all models; here each model has its own
policy. Uneven weights are served by stride scheduling: each worker has a next turn, the earliest is taken and put
off by 1 / weight. A worker that is avoided keeps its turn.
"""

from collections.abc import Collection, Sequence
from heapq import heapify, heapreplace
from typing import Final

from gateway.routing.policy import C, Candidate, Explanation, Query, Stateless, narrowed
from gateway.routing.weights import Weights
from gateway.workers.model import WorkerId


class RoundRobin(Stateless):
    name: Final = "round_robin"
    reads_text: Final = False

    def __init__(self) -> None:
        self._turn = 0
        self._weights: Weights | None = None
        self._turns: list[tuple[float, int]] = []
        """A heap of (next turn, place) where weights are uneven."""

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        weights = self._weights
        if weights is None or weights.candidates is not candidates:
            weights = self._adopt(candidates)
        if not weights.even:
            return candidates[self._by_stride(weights, avoid)]
        turn = self._turn
        self._turn = turn + 1
        free = narrowed(candidates, avoid)
        return free[turn % len(free)]

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        weights = self._weights
        if weights is None or weights.candidates is not candidates:
            weights = self._adopt(candidates)
        if not weights.even:
            turn, place = self._turns[0]
            share = weights.each[place] / len(candidates)
            why = f"its turn is the next (at {turn:.2f}), with a share of {share:.1%} among {len(candidates)}"
            return Explanation(candidates[place].worker.id, why)
        place = self._turn % len(candidates)
        return Explanation(candidates[place].worker.id, f"it is the turn of number {place + 1} of {len(candidates)}")

    def _adopt(self, candidates: Sequence[Candidate]) -> Weights:
        """Go on with these candidates. Those that stay keep their next turn, those that join wait a stride."""
        known = self._next_turns()
        begin = min(known.values(), default=0.0)
        weights = self._weights = Weights.renewed(self._weights, candidates)
        self._turns = []
        if not weights.even:
            for place, candidate in enumerate(candidates):
                stride = 1.0 / weights.each[place]
                turn = known.get(candidate.worker.id, begin + stride)
                self._turns.append((min(turn, begin + stride), place))
            heapify(self._turns)
        return weights

    def _next_turns(self) -> dict[WorkerId, float]:
        if self._weights is None:
            return {}
        before = self._weights.candidates
        return {before[place].worker.id: turn for turn, place in self._turns}

    def _by_stride(self, weights: Weights, avoid: Collection[Candidate]) -> int:
        turns = self._turns
        turn, place = turns[0]
        if not avoid or weights.candidates[place] not in avoid:
            heapreplace(turns, (turn + 1.0 / weights.each[place], place))
            return place
        turn, place = min(one for one in turns if weights.candidates[one[1]] not in avoid)
        turns[turns.index((turn, place))] = (turn + 1.0 / weights.each[place], place)
        heapify(turns)
        return place
