"""The policy `cache_aware`: the worker that has most of the prompt in its KV cache, unless the load is lopsided.

What a worker has in its cache is not known but reckoned: a radix tree remembers which prompts went where. If the
busiest worker has both `balance_abs_threshold` more requests in flight than the idlest and more than
`balance_rel_threshold` times as many, the least loaded gets the request. Else the longest prefix decides, if it is
more than `cache_threshold` of the prompt; among several workers that hold it the least loaded. Else the least
loaded. Least loaded is by requests in flight over weight (the one to be placed counted in), among equals the one
that holds least of the tree, so that a new fleet fills evenly. The tree learns the choice in every case.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, cast

from gateway.routing.board import LoadBoard, Ranking
from gateway.routing.policy import C, Candidate, Explanation, Query
from gateway.routing.radix import Path, Tree, tokens_as_text
from gateway.routing.settings import RoutingSettings
from gateway.workers.meters import EngineLoad, Mirror
from gateway.workers.model import WorkerId

SHARE_ROOM = float(2**40)
"""A score is load * SHARE_ROOM + characters held: one number to compare, in which the load counts first. Exact
up to 8,191 in flight at one worker."""
SLICE = 150
"""Ends of prompts taken out of the tree in one upkeep: less than a millisecond."""


class _Place:
    """One worker's place on the board."""

    __slots__ = ("_bounds", "_loads", "_place", "_ranking", "_shares", "_weight")

    def __init__(self, board: "_Board", place: int) -> None:
        self._loads, self._ranking, self._shares = board.loads, board.ranking, board.shares
        self._bounds, self._place, self._weight = board.bounds, place, board.weights.each[place]

    def moved(self, in_flight: int) -> None:
        place = self._place
        load = self._loads[place] = in_flight / self._weight
        self._ranking.set(place, (in_flight + 1) / self._weight * SHARE_ROOM + self._shares[place])
        bounds = self._bounds
        if load > bounds.high:
            bounds.high = load
        elif load < bounds.low:
            bounds.low = load

    def reported(self, load: EngineLoad | None) -> None:
        """What the engine says of itself does not count here."""


class _Board(LoadBoard[Any]):
    """Loads and scores; also where on it the holders of the tree are."""

    __slots__ = ("_mirrored", "holders", "places", "ranking", "shares")

    def __init__(self, candidates: Sequence[Candidate], holders: list[int], shares: list[int]) -> None:
        self.holders, self.shares = holders, shares
        self.places = {holder: place for place, holder in enumerate(holders)}
        super().__init__(candidates)

    def _mirrors(self) -> Sequence[Mirror]:
        loaded = zip(self.candidates, self.weights.each, self.shares, strict=True)
        self.ranking = Ranking([(c.meters.in_flight + 1) / w * SHARE_ROOM + share for c, w, share in loaded])
        self._mirrored = [_Place(self, place) for place in range(len(self.candidates))]
        return self._mirrored

    def seat(self, place: int, holder: int) -> None:
        """The worker at this place started anew, as this holder."""
        self.places.pop(self.holders[place], None)
        self.holders[place], self.places[holder] = holder, place
        self.set_share(place, 0)

    def set_share(self, place: int, share: int) -> None:
        self.shares[place] = share
        self._mirrored[place].moved(self.candidates[place].meters.in_flight)


class _Decision(NamedTuple):
    place: int
    lopsided: tuple[float, float] | None = None
    """Highest and lowest load, where that decided."""
    matched: int = 0
    """Characters of the prompt that the best holder has; looked for only where it matters."""
    by_cache: bool = False


class CacheAware:
    name: Final = "cache_aware"
    reads_text: Final = True

    def __init__(self, settings: RoutingSettings) -> None:
        self._settings = settings
        self.tree = Tree(settings.max_tree_size)
        self._board: _Board | None = None
        self._holder_of: dict[WorkerId, int] = {}
        self._holders = 0

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        board = self._board
        if board is None or board.candidates is not candidates:
            board = self._adopt(candidates)
        text, tokens = _prompt(query)
        path = self.tree.match(text, tokens=tokens)
        decision = self._decide(board, text, path, avoid)
        place = decision.place
        if not decision.by_cache:
            board.ranking.took(place)
        if text:
            self.tree.insert(text, path, board.holders[place], now, tokens=tokens)
            self._note_shares(board)
        return candidates[place]

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        board = self._adopt(candidates)
        text, tokens = _prompt(query)
        path = self.tree.match(text, tokens=tokens)
        decision = self._decide(board, text, path, ())
        if not decision.by_cache:
            held = (upto for node, upto in reversed(path) if self._least_of(board, node.holders, ()) is not None)
            decision = decision._replace(matched=next(held, 0))
        chosen = candidates[decision.place]
        why = self._why(decision, len(text), "tokens" if tokens else "characters", chosen.meters.in_flight)
        return Explanation(chosen.worker.id, why)

    def forget(self, worker_id: WorkerId) -> None:
        holder = self._holder_of.pop(worker_id, None)
        if holder is None:
            return
        self.tree.forget(holder)
        board = self._board
        if board is not None and (place := board.places.get(holder)) is not None:
            board.seat(place, self._holder(worker_id))

    def tend(self, now: float) -> None:
        """Take out of the tree what is void, too much or too old: a slice of it."""
        left = SLICE - self.tree.free(SLICE)
        left -= self.tree.trim(left)
        if self._settings.cache_ttl_s:
            self.tree.expire(now - self._settings.cache_ttl_s, left)
        if self._board is not None:
            self._note_shares(self._board)

    # --- deciding ---

    def _decide(self, board: _Board, text: str, path: Path, avoid: Collection[Candidate]) -> _Decision:
        settings = self._settings
        if not text:
            return _Decision(board.ranking.least_without(board.candidates, avoid))
        spread = board.spread(settings.balance_abs_threshold)
        if spread is not None and spread[0] > settings.balance_rel_threshold * spread[1]:
            return _Decision(board.ranking.least_without(board.candidates, avoid), lopsided=spread)
        enough = settings.cache_threshold * len(text)
        for node, upto in reversed(path):
            if upto <= enough:
                break
            place = self._least_of(board, node.holders, avoid)
            if place is not None:
                return _Decision(place, matched=upto, by_cache=True)
        return _Decision(board.ranking.least_without(board.candidates, avoid))

    def _least_of(self, board: _Board, holders: dict[int, float], avoid: Collection[Candidate]) -> int | None:
        """The place of the least loaded of these holders; None where none of them may be taken."""
        place = board.ranking.least()
        if not avoid and board.holders[place] in holders:
            return place
        found = [*map(board.places.get, holders)]
        if None in found or avoid:
            some = [place for place in found if place is not None and not (avoid and board.candidates[place] in avoid)]
        else:
            some = cast("list[int]", found)
        if len(some) <= 1:
            return some[0] if some else None
        scores = [*map(board.ranking.scores.__getitem__, some)]  # a prefix may be held by a thousand workers
        return some[scores.index(min(scores))]

    def _why(self, decision: _Decision, length: int, unit: str, in_flight: int) -> str:
        settings = self._settings
        fewest = f"least in flight for its weight ({in_flight})"
        if not length:
            return f"the request has no prompt to compare; {fewest}"
        if decision.lopsided is not None:
            high, low = decision.lopsided
            why = f"the load is lopsided ({high:.4g} in flight at the busiest, {low:.4g} at the idlest: more than "
            why += f"{settings.balance_abs_threshold} apart and over {settings.balance_rel_threshold:g} times)"
            return f"{why}; {fewest}"
        found = f"{decision.matched:,} of {length:,} {unit} ({decision.matched / length:.0%})"
        if decision.by_cache:
            return f"{found} are in its cache tree, above the threshold of {settings.cache_threshold:.0%}"
        return f"{found} are in any cache tree, not above the threshold of {settings.cache_threshold:.0%}; {fewest}"

    # --- who is where ---

    def _adopt(self, candidates: Sequence[Candidate]) -> _Board:
        board = self._board
        if board is None or not board.serves(candidates):
            if board is not None:
                board.close()
            holders = [self._holder(candidate.worker.id) for candidate in candidates]
            board = self._board = _Board(candidates, holders, [*map(self.tree.share, holders)])
            known = self._holder_of.items()
            self._holder_of = {
                one: holder for one, holder in known if holder in board.places or self.tree.share(holder)
            }
        return board

    def _holder(self, worker_id: WorkerId) -> int:
        holder = self._holder_of.get(worker_id)
        if holder is None:
            self._holders += 1
            holder = self._holder_of[worker_id] = self._holders
        return holder

    def _note_shares(self, board: _Board) -> None:
        changed = self.tree.changed
        for holder in changed:
            place = board.places.get(holder)
            if place is not None:
                board.set_share(place, self.tree.share(holder))
        changed.clear()


def _prompt(query: Query) -> tuple[str, bool]:
    """The prompt as a string, and whether its characters stand for token ids."""
    if query.tokens:
        text = tokens_as_text(query.tokens)
        if text:
            return text, True
    return query.text, False
