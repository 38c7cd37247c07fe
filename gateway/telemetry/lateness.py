"""How late the event loop is: the health of a process that does everything in one loop.

A timer asks to be woken every few milliseconds and notes by how much it came late; whatever held the loop
(a parser, a redraw, a garbage collection) shows here.
"""

import asyncio
from types import TracebackType
from typing import Self

from gateway.workers.latency import LatencyWindow

TICK_S = 0.025
WINDOW_S = 1.0


class LoopLateness:
    """Measures while entered. `worst_s` is the worst of the last one to two seconds."""

    def __init__(self) -> None:
        self.window = LatencyWindow()
        self._handle: asyncio.TimerHandle | None = None
        self._worst = self._worst_before = 0.0
        self._turned = 0.0
        self._wanted = 0.0

    @property
    def worst_s(self) -> float:
        return max(self._worst, self._worst_before)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._turned = self._loop.time()
        self._arm()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self) -> None:
        self._wanted = self._loop.time() + TICK_S
        self._handle = self._loop.call_at(self._wanted, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        late = max(0.0, now - self._wanted)
        self.window.add(late, now)
        if now - self._turned > WINDOW_S:
            self._worst_before, self._worst, self._turned = self._worst, 0.0, now
        self._worst = max(self._worst, late)
        self._arm()
