"""Loads under way, one for each place however many ask; each ends when the last one who asked is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from gateway.tasks import Scope
from gateway.tokenizers.errors import SourceUnusable
from gateway.tokenizers.loading import Say, load
from gateway.tokenizers.model import Model
from gateway.tokenizers.places import Place

Outcome = Model | SourceUnusable
Loader = Callable[[Place, Executor, Say], Awaitable[Model]]


@dataclass(slots=True)
class Load:
    """One load under way."""

    task: asyncio.Task[Outcome]
    waiting: int = 0
    said: str = ""


class Loads:
    """See the module."""

    def __init__(self, scope: Scope, pool: Executor, loader: Loader = load) -> None:
        self._scope = scope
        self._pool = pool
        self._loader = loader
        self._under_way: dict[Place, Load] = {}
        self.succeeded = 0
        self.failed = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def said(self, place: Place) -> str:
        """What the load of a place does just now; empty when there is none."""
        under_way = self._under_way.get(place)
        return under_way.said if under_way is not None else ""

    async def model(self, place: Place) -> Model:
        """The tokenizer of a place. Raises SourceUnusable."""
        under_way = self._under_way.get(place)
        if under_way is None:
            under_way = self._under_way[place] = Load(self._scope.spawn(self._run(place), name=f"load {place}"))
        under_way.waiting += 1
        try:
            outcome = await asyncio.shield(under_way.task)
        finally:
            under_way.waiting -= 1
            if not under_way.waiting:
                under_way.task.cancel()
                self._drop(place, under_way)
        if isinstance(outcome, SourceUnusable):
            raise outcome
        return outcome

    async def _run(self, place: Place) -> Outcome:
        """A failure is an outcome here: the task itself fails only of a mistake in the code."""

        def say(text: str) -> None:
            if (under_way := self._under_way.get(place)) is not None:
                under_way.said = text

        try:
            model = await self._loader(place, self._pool, say)
        except SourceUnusable as error:
            self.failed += 1
            return error
        except Exception as error:  # noqa: BLE001 - the library and the hub's client raise what they like
            self.failed += 1
            return SourceUnusable(f"{place}: {type(error).__name__}: {str(error)[:300]}")
        self.succeeded += 1
        return model

    def _drop(self, place: Place, under_way: Load) -> None:
        if self._under_way.get(place) is under_way:
            del self._under_way[place]
