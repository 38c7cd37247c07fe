"""What a worker's `priority` and `cost` mean to the policies: one weight, the share of the load it should carry.

A worker of twice the weight gets twice the requests (`random`, `round_robin`), is taken for as busy as one with
half the requests in flight (`power_of_two`, `least_load`, `cache_aware`, `prefix_hash`) and owns twice as much of
the ring (`consistent_hashing`, `prefix_hash`). Weights are kept per tuple of candidates, by its identity.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import fsum
from operator import is_
from typing import Protocol

from gateway.workers.model import Worker

NORMAL_PRIORITY = 50
LEAST_COST = 0.01


class Weighed(Protocol):
    """Anything with a worker; candidates are."""

    @property
    def worker(self) -> Worker: ...


def weight(worker: Worker) -> float:
    """1.0 for priority 50 at cost 1; grows with the priority, falls with the cost; always positive."""
    spec = worker.spec
    return max(spec.priority, 1) / NORMAL_PRIORITY / max(spec.cost, LEAST_COST)


class Weights:
    """The weights of some candidates in relation to their mean, so that thresholds keep their meaning."""

    __slots__ = ("_specs", "candidates", "cumulative", "each", "even")

    def __init__(self, candidates: Sequence[Weighed]) -> None:
        own = [weight(candidate.worker) for candidate in candidates]
        self._specs = [candidate.worker.spec for candidate in candidates]
        self.candidates = candidates
        self.even = min(own) == max(own)
        """All weigh the same: weights need not be looked at."""
        mean = fsum(own) / len(own)
        self.each = [1.0] * len(own) if self.even else [one / mean for one in own]
        self.cumulative = [] if self.even else list(accumulate(self.each))
        """For drawing by lot; empty where all weigh the same."""

    @classmethod
    def renewed(cls, known: "Weights | None", candidates: Sequence[Weighed]) -> "Weights":
        """The weights of these candidates. Where their specs are the known ones, reckons nothing anew.

        Any fact about any worker makes a new tuple, and mostly weighs the same.
        """
        if known is None or len(known._specs) != len(candidates):
            return cls(candidates)
        if not all(map(is_, known._specs, [candidate.worker.spec for candidate in candidates])):
            return cls(candidates)
        same = cls.__new__(cls)
        same._specs, same.each, same.even = known._specs, known.each, known.even
        same.cumulative, same.candidates = known.cumulative, candidates
        return same
