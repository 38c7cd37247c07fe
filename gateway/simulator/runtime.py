"""The engine's clock: runs the pure model in real time and wakes whoever waits for tokens.

One timer for the whole batch, armed for the end of the step under way: however many requests run, a step
costs one wake-up. An instant engine needs none: a request is served while it is submitted.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from gateway.simulator.engine import EngineModel, Job
from gateway.simulator.planning import Planned


class Runtime:
    """Runs an `EngineModel` on the running loop. `clock` is the loop's."""

    def __init__(self, model: EngineModel) -> None:
        self.model = model
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._at: float | None = None
        self._wake: dict[Job, Callable[[], object]] = {}

    @property
    def load(self) -> int:
        return len(self.model.running) + len(self.model.waiting)

    def submit(self, jobs: Sequence[Job], wake: Callable[[], object]) -> None:
        """Queue jobs; `wake` is called whenever one of them has got tokens. Raises ValueError as the model does."""
        now = self._loop.time()
        for job in jobs:
            self.model.submit(job, now)
            self._wake[job] = wake
        self._run()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """End jobs at once, if they have not ended."""
        now = self._loop.time()
        for job in jobs:
            self.model.cancel(job, now)
            self._wake.pop(job, None)
        self._arm()

    def slow(self, factor: float) -> None:
        """Change how long steps take, from the next one on."""
        self.model.slowdown = factor

    def throughput(self) -> float:
        """Tokens a second, lately."""
        return self.model.throughput(self._loop.time())

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _run(self) -> None:
        for job in self.model.advance(self._loop.time()):
            if (wake := self._wake.get(job)) is not None:
                wake()
        self._arm()

    def _tick(self) -> None:
        self._at = self._timer = None
        self._run()

    def _arm(self) -> None:
        at = self.model.next_at()
        if at == self._at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = None if at is None else self._loop.call_at(at, self._tick)


class Generation:
    """The choices of one request on their way. Leaving the context cancels what has not ended."""

    def __init__(self, runtime: Runtime, planned: Sequence[Planned]) -> None:
        self.planned = planned
        self._runtime = runtime
        self._jobs = [choice.job for choice in planned]
        self._given = [0] * len(planned)
        self._news = asyncio.Event()

    def __enter__(self) -> Self:
        self._runtime.submit(self._jobs, self._news.set)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runtime.cancel(self._jobs)

    def abort(self) -> None:
        """End what has not ended, and wake whoever waits for it."""
        self._runtime.cancel(self._jobs)
        self._news.set()

    @property
    def ended(self) -> bool:
        """Whether every token has been generated and fetched."""
        return all(job.ended and given == job.generated for job, given in zip(self._jobs, self._given, strict=True))

    async def whole(self) -> None:
        """Wait until every choice has ended."""
        while not all(job.ended for job in self._jobs):
            self._news.clear()
            await self._news.wait()

    async def fresh(self) -> list[tuple[int, str]]:
        """Wait for tokens not fetched yet: which choice, and what each says. None come once it was aborted."""
        while not (pieces := self._fetch()) and not self.ended:
            self._news.clear()
            await self._news.wait()
        return pieces

    def _fetch(self) -> list[tuple[int, str]]:
        pieces = []
        for index, choice in enumerate(self.planned):
            begin, end = self._given[index], choice.job.generated
            if begin < end:
                pieces += [(index, piece) for piece in choice.answer.pieces[begin:end]]
                self._given[index] = end
        return pieces
