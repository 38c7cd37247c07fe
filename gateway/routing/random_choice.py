"""The policy `random`: any candidate, with equal chance."""

from collections.abc import Collection, Sequence
from random import Random
from typing import Final

from gateway.routing.policy import C, Candidate, Explanation, Query, narrowed
from gateway.workers.model import WorkerId


class RandomChoice:
    name: Final = "random"
    reads_text: Final = False

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        free = narrowed(candidates, avoid)
        return free[int(self._rng.random() * len(free))]

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        state = self._rng.getstate()
        chosen = self.choose(candidates, query, now)
        self._rng.setstate(state)
        return Explanation(chosen.worker.id, f"drawn by lot among {len(candidates)}")

    def forget(self, worker_id: WorkerId) -> None:
        """Nothing is remembered."""

    def tend(self, now: float) -> None:
        """Nothing is remembered."""
