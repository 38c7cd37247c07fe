"""Taking turns: what costs the loop tens of milliseconds when it begins, and little afterwards, begins one by one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LONGEST_S = 2.0
"""After this a turn is over in any case: who cannot begin must not keep others from it."""


class Turns:
    """One beginning at a time."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(1)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Callable[[], None]]:
        """Wait for a turn. What is yielded ends it, when the beginning is over; leaving ends it as well."""
        await self._free.acquire()
        over = False

        def end() -> None:
            nonlocal over
            if not over:
                over = True
                self._free.release()

        timer = asyncio.get_running_loop().call_later(LONGEST_S, end)
        try:
            yield end
        finally:
            timer.cancel()
            end()
