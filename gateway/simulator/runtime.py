"""The engine's clock: runs the pure model in real time and hands tokens to whoever waits for them.

One task steps the whole batch, so that many requests cost one timer.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.simulator.engine import EngineModel, Job, seed_of, tokens_of
from gateway.simulator.faults import Faults


@dataclass(frozen=True, slots=True)
class Ask:
    """A generation request, whatever API it came through."""

    prompt: str
    max_tokens: int
    stop: tuple[str, ...] = ()
    index: int = 0
    """Which of `n` answers: each differs."""


class Runtime:
    """Runs an `EngineModel`."""

    def __init__(self, model: EngineModel, faults: Faults) -> None:
        self.model = model
        self.faults = faults
        self._news: dict[Job, asyncio.Event] = {}
        self._work = asyncio.Event()

    async def run(self) -> None:
        """Step the batch for ever."""
        while True:
            await self._work.wait()
            while self.model.busy:
                advanced, took_s = self.model.step()
                # Tokens exist once their step is over.
                await asyncio.sleep(took_s * self.faults.slow)
                for job in advanced:
                    if (news := self._news.get(job)) is not None:
                        news.set()
            self._work.clear()

    async def generate(self, ask: Ask) -> AsyncIterator[tuple[str, Job]]:
        """The answer's text piece by piece; leaving the iterator early cancels the job and frees its KV."""
        job = Job(tokens_of(ask.prompt), ask.max_tokens, seed_of(f"{ask.index}:{ask.prompt}"))
        self.model.submit(job)
        news = self._news[job] = asyncio.Event()
        self._work.set()
        said, given = "", 0
        try:
            while True:
                await news.wait()
                news.clear()
                fresh = job.out[given:]
                given = len(job.out)
                for token in fresh:
                    piece = token if not said else f" {token}"
                    cut = _cut(said + piece, ask.stop)
                    if cut is not None:
                        self.model.stop(job)
                        job.finish = "stop"
                        yield cut[len(said) :], job
                        return
                    said += piece
                    yield piece, job
                if job.finish is not None:
                    return
        finally:
            self.model.cancel(job)
            del self._news[job]


def _cut(text: str, stops: tuple[str, ...]) -> str | None:
    """The text before the first stop string, or None if it has none."""
    places = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return text[: min(places)] if places else None
