"""The policy `least_load`: of all candidates the one where a request will begin soonest, by the engines' reports.

The expected wait in seconds is the queue that the engine reported, plus what was sent there since, as tokens over
its throughput, plus a penalty that grows steeply as its KV cache fills. What was sent since is what is in flight
from here beyond what the report knows of: SMG counts tokens since the last poll, but its polls are simultaneous,
and where they are not, a worker that has just reported would look idle and get everything. A throughput below
the default counts as the default: an engine with little to do reports little. Workers without a fresh report that
names the queue are measured by what is in flight at the mean throughput of the others; without any report the
fewest in flight decide. All divided by weight. Equals get requests in turn.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from gateway.routing.board import NEVER, Attached, Ranking, unchanged
from gateway.routing.policy import C, Candidate, Explanation, Query, Stateless
from gateway.routing.power_of_two import pressure
from gateway.routing.settings import RoutingSettings
from gateway.routing.weights import Weights
from gateway.workers.meters import EngineLoad

TIE_S = 1e-6
"""Seconds that each request in flight adds to a reported wait, so that among equals the one with fewer is taken."""
FASTEST = 1e9
"""Tokens per second; whoever reports more has miscounted."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How a wait is reckoned."""

    settings: RoutingSettings

    def throughput(self, load: EngineLoad) -> int:
        """Tokens per second; whole, so that sums of them are exact."""
        return round(min(max(self.settings.default_throughput, load.throughput or 0.0), FASTEST))

    def counts(self, load: EngineLoad | None, now: float) -> bool:
        """Whether a report says anything about the wait: it names the queue, and is fresh."""
        return load is not None and load.waiting is not None and load.at >= now - self.settings.load_fresh_s

    def reported_wait(self, load: EngineLoad, in_flight: int) -> float:
        """Seconds, for a report that counts."""
        queued = load.waiting_now(in_flight)
        penalty = pressure(load.kv_usage or 0.0, self.settings.kv_pressure_weight)
        tokens = queued * self.settings.mean_prefill_tokens
        return tokens / self.throughput(load) + penalty + (in_flight + 1) * TIE_S


class _Lists:
    """Scores of those with a report that counts (seconds), and of the silent (requests); the other is NEVER."""

    __slots__ = ("expires", "measure", "reported", "silent", "speaking", "throughputs")

    def __init__(self, measure: Measure, candidates: Sequence[Candidate], weights: list[float], now: float) -> None:
        self.measure = measure
        self.speaking = 0
        self.throughputs = 0
        """Sum over those that speak."""
        self.expires = inf
        """When the oldest report that was ever counted ceases to be fresh."""
        reported, silent = [NEVER] * len(candidates), [NEVER] * len(candidates)
        for place, (candidate, weight) in enumerate(zip(candidates, weights, strict=True)):
            in_flight, load = candidate.meters.in_flight, candidate.load
            if load is not None and measure.counts(load, now):
                self.speaks(load)
                reported[place] = measure.reported_wait(load, in_flight) / weight
            else:
                silent[place] = silent_score(in_flight) / weight
        self.reported, self.silent = Ranking(reported), Ranking(silent)

    def speaks(self, load: EngineLoad) -> None:
        """One more with a report that counts."""
        self.speaking += 1
        self.throughputs += self.measure.throughput(load)
        self.expires = min(self.expires, load.at + self.measure.settings.load_fresh_s)

    def falls_silent(self, load: EngineLoad) -> None:
        """This report no longer counts."""
        self.speaking -= 1
        self.throughputs -= self.measure.throughput(load)


def silent_score(in_flight: int) -> float:
    """Requests that wait before one at a worker that does not report."""
    return in_flight + (in_flight + 1) * TIE_S


class _Place:
    """One worker's place in the lists."""

    __slots__ = ("_in_flight", "_lists", "_load", "_place", "_weight")

    def __init__(self, lists: _Lists, place: int, weight: float, candidate: Candidate) -> None:
        self._lists, self._place, self._weight = lists, place, weight
        self._in_flight = candidate.meters.in_flight
        self._load = candidate.load if lists.silent.scores[place] == NEVER else None

    def moved(self, in_flight: int) -> None:
        self._in_flight = in_flight
        if self._load is None:
            self._lists.silent.set(self._place, silent_score(in_flight) / self._weight)
        else:
            wait = self._lists.measure.reported_wait(self._load, in_flight)
            self._lists.reported.set(self._place, wait / self._weight)

    def reported(self, load: EngineLoad | None) -> None:
        self.look(load, load.at if load is not None else 0.0)

    def expire(self, now: float) -> None:
        self.look(self._load, now)

    def look(self, load: EngineLoad | None, now: float) -> None:
        lists = self._lists
        if self._load is not None:
            lists.falls_silent(self._load)
        self._load = load if lists.measure.counts(load, now) else None
        if self._load is not None:
            lists.speaks(self._load)
            lists.silent.set(self._place, NEVER)
        else:
            lists.reported.set(self._place, NEVER)
        self.moved(self._in_flight)


class _Board:
    """Follows the meters and reports of one tuple of candidates until it is closed or dropped."""

    __slots__ = ("_attached", "_places", "_weights", "candidates", "lists")

    def __init__(self, candidates: Sequence[Candidate], measure: Measure, now: float) -> None:
        self.candidates = candidates
        self._weights = Weights(candidates)
        each = self._weights.each
        self.lists = _Lists(measure, candidates, each, now)
        self._places = [_Place(self.lists, n, each[n], c) for n, c in enumerate(candidates)]
        self._attached = Attached(candidates, self._places)

    def serves(self, candidates: Sequence[Candidate]) -> bool:
        """Whether the board is for these candidates as they are; adopts a new tuple of the same ones."""
        weights = unchanged(self._weights, candidates)
        if weights is None:
            return False
        self.candidates, self._weights = candidates, weights
        return True

    def expire(self, now: float) -> None:
        self.lists.expires = inf
        for place in self._places:
            place.expire(now)

    def close(self) -> None:
        self._attached.close()


class LeastLoad(Stateless):
    name: Final = "least_load"
    reads_text: Final = False

    def __init__(self, settings: RoutingSettings) -> None:
        self._measure = Measure(settings)
        self._board: _Board | None = None

    def choose(self, candidates: Sequence[C], query: Query, now: float, avoid: Collection[Candidate] = ()) -> C:
        place = self._place(candidates, now, avoid)
        if (board := self._board) is not None:
            board.lists.reported.took(place)
            board.lists.silent.took(place)
        return candidates[place]

    def explain(self, candidates: Sequence[C], query: Query, now: float) -> Explanation:
        place = self._place(candidates, now, ())
        chosen, lists = candidates[place], self._current(candidates, now).lists
        in_flight = chosen.meters.in_flight
        if not lists.speaking:
            why = f"no engine reports its queue; the fewest in flight ({in_flight})"
        elif lists.reported.scores[place] < NEVER and chosen.load is not None:
            wait = self._measure.reported_wait(chosen.load, in_flight)
            why = f"shortest expected wait of {len(candidates)}: {wait:.3f} s ({chosen.load.waiting} waiting there, "
            why += f"{in_flight} in flight from here)"
        else:
            mean = lists.throughputs / lists.speaking
            why = f"shortest expected wait of {len(candidates)}: it does not report its queue; {in_flight} in flight "
            why += f"from here at a mean throughput of {mean:,.0f} tokens/s"
        return Explanation(chosen.worker.id, why)

    def _current(self, candidates: Sequence[Any], now: float) -> _Board:
        board = self._board
        if board is None or (board.candidates is not candidates and not board.serves(candidates)):
            if board is not None:
                board.close()
            board = self._board = _Board(candidates, self._measure, now)
        if now > board.lists.expires:
            board.expire(now)
        return board

    def _place(self, candidates: Sequence[Candidate], now: float, avoid: Collection[Candidate]) -> int:
        lists = self._current(candidates, now).lists
        if not lists.speaking:
            return lists.silent.least_without(candidates, avoid)
        if lists.speaking == len(candidates):
            return lists.reported.least_without(candidates, avoid)
        best, other = lists.reported.least_without(candidates, avoid), lists.silent.least_without(candidates, avoid)
        wait, requests = lists.reported.scores[best], lists.silent.scores[other]
        if avoid:  # where all of one kind are avoided, the best of that kind is one of them
            wait = NEVER if candidates[best] in avoid else wait
            requests = NEVER if candidates[other] in avoid else requests
        per_request = self._measure.settings.mean_prefill_tokens * lists.speaking / lists.throughputs
        return best if wait <= requests * per_request else other
