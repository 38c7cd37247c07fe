"""The policy `prefix_hash`: prompts that begin alike go to the same worker, unless it is loaded above the average.

The key is the hash of the first `prefix_token_count` token ids, or of four times as many characters, on a ring as
of `consistent_hashing`. If that worker has more in flight than `prefix_hash_load_factor` times the average
(counting the request to be placed) and more than `prefix_hash_balance_abs_threshold`, the least loaded gets it. In
flight counts by weight. A request without a prompt goes to the least loaded.
"""

from array import array
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from gateway.routing.board import LoadBoard, least, without
from gateway.routing.consistent_hashing import avoided_places
from gateway.routing.policy import C, Candidate, Explanation, Query
from gateway.routing.ring import Seats, place_of
from gateway.routing.settings import RoutingSettings
from gateway.workers.model import WorkerId

CHARACTERS_PER_TOKEN = 4


class _Decision(NamedTuple):
    place: int
    home: int | None
    """Where the prefix belongs; None without a prompt."""
    limit: float = 0.0
    """The load above which another one is taken; 0 where it was not reckoned."""


class PrefixHash:
    name: Final = "prefix_hash"
    reads_text: Final = True

    def __init__(self, settings: RoutingSettings) -> None:
        self._settings = settings
        self._seats = Seats()
        self._board: LoadBoard[Any] | None = None
        self._last = -1

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        self._look(candidates)
        decision = self._decide(candidates, query, avoid)
        if not self._seats.complete:
            self._seats.go_on()
        if decision.place != decision.home:
            self._last = decision.place
        return candidates[decision.place]

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        self._look(candidates)
        decision = self._decide(candidates, query, ())
        chosen = candidates[decision.place]
        fewest = f"least in flight for its weight ({chosen.meters.in_flight})"
        if decision.home is None:
            return Explanation(chosen.worker.id, f"the request has no prompt; {fewest}")
        home = candidates[decision.home]
        if decision.place == decision.home:
            why = f"the prompt's first characters or tokens belong to it, and its load ({home.meters.in_flight} in "
            why += "flight) is not above the limit"
        else:
            why = (
                f"the prompt belongs to {home.worker.name}, but its load ({home.meters.in_flight} in flight) is above "
            )
            why += (
                f"{decision.limit:.4g}, which is {self._settings.prefix_hash_load_factor:g} times the average; {fewest}"
            )
        return Explanation(chosen.worker.id, why + self._seats.so_far)

    def forget(self, worker_id: WorkerId) -> None:
        self._seats.forget(worker_id)

    def tend(self, now: float) -> None:
        self._seats.go_on()

    def _look(self, candidates: Sequence[Candidate]) -> None:
        if self._seats.candidates is not candidates:
            self._board = LoadBoard.renewed(self._board, candidates)
            self._seats.adopt(candidates)

    def _decide(self, candidates: Sequence[Candidate], query: Query, avoid: Collection[Candidate]) -> _Decision:
        board, settings = self._board, self._settings
        assert board is not None
        prefix = prefix_of(query, settings.prefix_token_count)
        if not prefix:
            return _Decision(least(without(board.loads, candidates, avoid), self._last), None)
        home = self._seats.find(place_of(prefix), avoided_places(candidates, avoid))
        load = board.loads[home]
        if load <= settings.prefix_hash_balance_abs_threshold:
            return _Decision(home, home)
        limit = settings.prefix_hash_load_factor * (sum(board.loads) + 1) / len(candidates)
        if load <= limit:
            return _Decision(home, home, limit)
        return _Decision(least(without(board.loads, candidates, avoid), self._last), home, limit)


def prefix_of(query: Query, token_count: int) -> bytes:
    """What decides where a request belongs; empty without a prompt."""
    if query.tokens:
        try:
            return array("Q", query.tokens[:token_count]).tobytes()
        except (OverflowError, TypeError):  # no ids that a model can have
            return b""
    return query.text[: token_count * CHARACTERS_PER_TOKEN].encode(errors="surrogatepass")
