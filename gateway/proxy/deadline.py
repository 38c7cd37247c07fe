"""One moment by which something must have happened, moved often and reached seldom.

Moving it later costs an assignment: the loop's timer stays where it is and, when it fires early, is set again
for what is left. So a connection that serves thousands of requests a second touches the loop's timers about
once per timeout.
"""

import asyncio
from collections.abc import Callable
from math import inf


class Deadline:
    """Calls `passed` once the clock has reached `at`, unless it was moved. `mono` is monotonic seconds."""

    __slots__ = ("_armed_for", "_handle", "_loop", "_mono", "_passed", "at")

    def __init__(self, loop: asyncio.AbstractEventLoop, mono: Callable[[], float], passed: Callable[[], None]) -> None:
        self._loop = loop
        self._mono = mono
        self._passed = passed
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for = inf
        self.at = inf

    def move(self, at: float) -> None:
        """Make `at` the moment; `math.inf`: none."""
        self.at = at
        if at < self._armed_for:
            self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed_for = self.at
        self._handle = self._loop.call_later(max(0.0, self.at - self._mono()) + 0.001, self._look)

    def _look(self) -> None:
        self._handle = None
        self._armed_for = inf
        if self.at == inf:
            return
        if self._mono() < self.at:
            self._arm()
            return
        self.at = inf
        self._passed()

    def drop(self) -> None:
        """Forget it for good and let go of the owner."""
        self.at = self._armed_for = inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
