"""The policy `random`: any candidate, with equal chance."""

from collections.abc import Sequence
from random import Random
from typing import Final

from gateway.routing.policy import C


class RandomChoice:
    name: Final = "random"

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def choose(self, candidates: Sequence[C], model: str | None, now: float) -> C:
        return candidates[int(self._rng.random() * len(candidates))]
