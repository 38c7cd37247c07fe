"""The policy `manual`: a routing key stays with the worker it got first, until it was idle for too long.

A key remembers up to two workers: when its first cannot take a request, a second is assigned beside it, and the
first that can gets the next one. A new key gets its worker by `assignment_mode`: by lot, the least loaded, or the
one with the fewest keys (by weight, all three). A request without a key is assigned the same way, and not
remembered. At most MOST_KEYS keys are remembered; beyond that the one that was idle longest goes.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from hashlib import blake2b
from math import inf
from random import Random
from typing import Any, Final

from gateway.routing.board import LoadBoard, least, unchanged, without
from gateway.routing.policy import C, Candidate, Explanation, Query
from gateway.routing.random_choice import RandomChoice
from gateway.routing.settings import RoutingSettings
from gateway.routing.weights import Weights
from gateway.workers.model import WorkerId

MOST_KEYS = 100_000
"""About 40 MB."""
LONG_KEY = 64
"""Characters from which a key is kept as its hash: clients choose how long their keys are."""
REMEMBERED = 2
SWEPT_AT_ONCE = 500
"""Keys that one upkeep forgets at most: less than a millisecond."""
MODES = ("random", "min_load", "min_group")


class Group:
    """One worker with the number of keys that remember it, from when it is first seen until it is forgotten."""

    __slots__ = ("keys", "seat", "worker_id")

    def __init__(self, worker_id: WorkerId) -> None:
        self.worker_id = worker_id
        self.keys = 0
        self.seat: int | None = None
        """Its place in the tuple of candidates; None while it is not in it."""


class _Assignment:
    __slots__ = ("groups", "used")

    def __init__(self, groups: tuple[Group, ...], used: float) -> None:
        self.groups = groups
        self.used = used


class Manual:
    name: Final = "manual"
    reads_text: Final = False

    def __init__(self, rng: Random, settings: RoutingSettings) -> None:
        if settings.assignment_mode not in MODES:
            raise ValueError(
                f"assignment_mode: there is no {settings.assignment_mode!r}; expected one of {', '.join(MODES)}"
            )
        self._mode, self._max_idle_s = settings.assignment_mode, settings.max_idle_s
        self._lot = RandomChoice(rng)
        self._board: LoadBoard[Any] | None = None
        self._last = -1
        self._keys: OrderedDict[str | bytes, _Assignment] = OrderedDict()
        """The longest idle first."""
        self._groups: dict[WorkerId, Group] = {}
        self._weights: Weights | None = None
        self._seated: list[Group] = []
        self._counts: list[float] = []
        """Keys by weight, parallel to the candidates."""

    def __len__(self) -> int:
        """Keys remembered."""
        return len(self._keys)

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        self._look(candidates)
        if not query.key:
            return candidates[self._assign(candidates, query, now, avoid)]
        key = _kept(query.key)
        known = self._live(key, now)
        seat = self._seat(known, candidates, avoid)
        if seat is None:
            seat = self._assign(candidates, query, now, avoid)
            known = self._remember(key, known, self._seated[seat], now)
        assert known is not None
        known.used = now
        self._keys.move_to_end(key)
        return candidates[seat]

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        self._look(candidates)
        known = self._live(_kept(query.key), now) if query.key else None
        seat = self._seat(known, candidates, ())
        if known is not None and seat is not None:
            idle = f"last used {now - known.used:.0f} s ago"
            which = "first" if known.groups[0].seat == seat else "second, as its first cannot take it"
            return Explanation(candidates[seat].worker.id, f"it is the worker of this routing key ({which}; {idle})")
        what = "the request has no routing key" if not query.key else "the routing key is new"
        if known is not None:
            what = "no worker of this routing key can take it"
        last, mode = self._last, self._mode
        if mode == "random":
            drawn = self._lot.explain(candidates, query, now)
            return Explanation(drawn.worker, f"{what}; {drawn.why}")
        seat = self._assign(candidates, query, now, ())
        self._last = last
        chosen = candidates[seat]
        count = f"least in flight for its weight ({chosen.meters.in_flight})"
        if mode == "min_group":
            count = f"fewest keys for its weight ({self._seated[seat].keys})"
        return Explanation(chosen.worker.id, f"{what}; {count}")

    def forget(self, worker_id: WorkerId) -> None:
        group = self._groups.pop(worker_id, None)
        if group is None:
            return
        seat, group.seat = group.seat, None  # keys that remember it find it without a seat
        if seat is not None:
            fresh = self._seated[seat] = self._groups[worker_id] = Group(worker_id)
            fresh.seat, self._counts[seat] = seat, 0.0

    def tend(self, now: float) -> None:
        """Forget keys that were idle for too long, some at a time."""
        for _ in range(SWEPT_AT_ONCE):
            key = next(iter(self._keys), None)
            if key is None or self._keys[key].used >= now - self._max_idle_s:
                break
            self._drop(key)

    # --- keys ---

    def _live(self, key: str | bytes, now: float) -> _Assignment | None:
        """What is remembered of a key and has not been idle for too long."""
        known = self._keys.get(key)
        return known if known is not None and known.used >= now - self._max_idle_s else None

    def _seat(
        self, known: _Assignment | None, candidates: Sequence[Candidate], avoid: Collection[Candidate]
    ) -> int | None:
        """The first of a key's workers that can take a request."""
        for group in known.groups if known is not None else ():
            seat = group.seat
            if seat is not None and (not avoid or candidates[seat] not in avoid):
                return seat
        return None

    def _remember(self, key: str | bytes, known: _Assignment | None, group: Group, now: float) -> _Assignment:
        """Add a worker to a key: as its last, in place of what it remembered too much or in vain."""
        before = known.groups if known is not None else ()
        stay = tuple(one for one in before if self._groups.get(one.worker_id) is one)[: REMEMBERED - 1]
        if key in self._keys:
            self._drop(key)
        elif len(self._keys) >= MOST_KEYS:
            self._drop(next(iter(self._keys)))
        made = self._keys[key] = _Assignment((*stay, group), now)
        for one in made.groups:
            self._count(one, 1)
        return made

    def _drop(self, key: str | bytes) -> None:
        for group in self._keys.pop(key).groups:
            self._count(group, -1)

    def _count(self, group: Group, more: int) -> None:
        group.keys += more
        if group.seat is not None and self._weights is not None:
            self._counts[group.seat] = group.keys / self._weights.each[group.seat]

    # --- assigning ---

    def _assign(self, candidates: Sequence[Candidate], query: Query, now: float, avoid: Collection[Candidate]) -> int:
        """The place of the worker for a new key."""
        if self._mode == "random":
            chosen = self._lot.choose(candidates, query, now, avoid)
            seat = self._groups[chosen.worker.id].seat
            assert seat is not None
            return seat
        scores = self._counts
        if self._mode == "min_load":
            board = self._board = LoadBoard.renewed(self._board, candidates)
            scores = board.loads
        self._last = least(without(scores, candidates, avoid), self._last)
        return self._last

    def _look(self, candidates: Sequence[Candidate]) -> None:
        """Take note of the candidates, if they are others than before."""
        weights = self._weights
        if weights is not None and weights.candidates is candidates:
            return
        if weights is not None and (same := unchanged(weights, candidates)) is not None:
            self._weights = same
            return
        for group in self._seated:
            group.seat = None
        self._weights = weights = Weights(candidates)
        self._seated = [self._group(candidate.worker.id) for candidate in candidates]
        self._counts = [inf] * len(candidates)
        self._groups = {one: group for one, group in self._groups.items() if group.keys} | {
            group.worker_id: group for group in self._seated
        }
        for seat, group in enumerate(self._seated):
            group.seat, self._counts[seat] = seat, group.keys / weights.each[seat]

    def _group(self, worker_id: WorkerId) -> Group:
        group = self._groups.get(worker_id)
        if group is None:
            group = self._groups[worker_id] = Group(worker_id)
        return group


def _kept(key: str) -> str | bytes:
    if len(key) <= LONG_KEY:
        return key
    return blake2b(key.encode(errors="surrogatepass"), digest_size=16).digest()
