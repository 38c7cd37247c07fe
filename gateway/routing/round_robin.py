"""The policy `round_robin`: one after the other.

When the candidates change the count goes on, so over any stretch with the same candidates no two of them are
more than one request apart. SMG keeps one counter for all models; here each model has its own policy.
"""

from collections.abc import Collection, Sequence
from typing import Final

from gateway.routing.policy import C, Candidate, Explanation, Query, narrowed
from gateway.workers.model import WorkerId


class RoundRobin:
    name: Final = "round_robin"
    reads_text: Final = False

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        turn = self._turn
        self._turn = turn + 1
        free = narrowed(candidates, avoid)
        return free[turn % len(free)]

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        place = self._turn % len(candidates)
        return Explanation(candidates[place].worker.id, f"it is the turn of number {place + 1} of {len(candidates)}")

    def forget(self, worker_id: WorkerId) -> None:
        """Nothing is remembered."""

    def tend(self, now: float) -> None:
        """Nothing is remembered."""
