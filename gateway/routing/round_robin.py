"""The policy `round_robin`: one after the other, counted for each model apart.

SMG keeps one counter for all; two models that are asked for in turn then each hit the same workers again and
again. When the candidates change the count goes on, so over any stretch with the same candidates no two of
them are more than one request apart.
"""

from collections.abc import Sequence
from typing import Final

from gateway.routing.policy import C

MODELS_COUNTED = 1024
"""Clients may invent model names where a worker serves any; beyond this many the counts start over."""


class RoundRobin:
    name: Final = "round_robin"

    def __init__(self) -> None:
        self._turns: dict[str | None, int] = {}

    def choose(self, candidates: Sequence[C], model: str | None, now: float) -> C:
        turn = self._turns.get(model, 0)
        if not turn and len(self._turns) >= MODELS_COUNTED:
            self._turns.clear()
        self._turns[model] = turn + 1
        return candidates[turn % len(candidates)]
