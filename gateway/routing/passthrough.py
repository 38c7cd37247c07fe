"""The policy `passthrough`: the first worker there is. For fleets of one, or where another balancer decides."""

from collections.abc import Collection, Sequence
from typing import Final

from gateway.routing.policy import C, Candidate, Explanation, Query, Stateless


class Passthrough(Stateless):
    name: Final = "passthrough"
    reads_text: Final = False

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        if not avoid:
            return candidates[0]
        return next(candidate for candidate in candidates if candidate not in avoid)

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        return Explanation(candidates[0].worker.id, f"it is the first of {len(candidates)}")
