"""The policy `consistent_hashing`: the same key always goes to the same worker, as long as it is there.

The key is the client's routing key, else who asks; requests without either are spread by lot, by weight. If the
worker cannot take requests, or is avoided, the next one clockwise on the ring gets them and all other keys stay.
"""

from collections.abc import Collection, Sequence
from random import Random
from typing import Final

from gateway.routing.policy import C, Candidate, Explanation, Query
from gateway.routing.random_choice import RandomChoice
from gateway.routing.ring import Seats, place_of
from gateway.workers.model import WorkerId


class ConsistentHashing:
    name: Final = "consistent_hashing"
    reads_text: Final = False

    def __init__(self, rng: Random) -> None:
        self._seats = Seats()
        self._keyless = RandomChoice(rng)

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        key = query.key or query.caller
        if not key:
            return self._keyless.choose(candidates, query, now, avoid)
        seats = self._seats
        if seats.candidates is not candidates:
            seats.adopt(candidates)
        seat = seats.find(place_of(key.encode(errors="surrogatepass")), avoided_places(candidates, avoid))
        if not seats.complete:
            seats.go_on()
        return candidates[seat]

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        key = query.key or query.caller
        if not key:
            drawn = self._keyless.explain(candidates, query, now)
            return Explanation(drawn.worker, f"the request has neither a routing key nor a caller; {drawn.why}")
        seats = self._seats
        if seats.candidates is not candidates:
            seats.adopt(candidates)
        place = place_of(key.encode(errors="surrogatepass"))
        chosen = candidates[seats.find(place, set())]
        source = "routing key" if query.key else "caller"
        why = f"the {source}'s place on the ring is {place:016x}, and it owns the next point of those that can be taken"
        why += seats.so_far
        return Explanation(chosen.worker.id, why)

    def forget(self, worker_id: WorkerId) -> None:
        self._seats.forget(worker_id)

    def tend(self, now: float) -> None:
        self._seats.go_on()


def avoided_places(candidates: Sequence[Candidate], avoid: Collection[Candidate]) -> set[int]:
    """Places in the tuple of those to be avoided. For the rare request that avoids any."""
    return {place for place, candidate in enumerate(candidates) if candidate in avoid} if avoid else set()
