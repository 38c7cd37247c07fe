"""The way to one client's screen: whole frames or none, and never more in memory than a bound.

A client that reads slowly, or is gone without a word, gets no further frames once `LIMIT` bytes wait for it; what
was dropped is made good by one full repaint when it has read on. Nobody waits for it meanwhile.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

LIMIT = 64 * 1024
"""Bytes that may wait before frames are dropped. A full repaint of a large terminal is about as much."""
LOW = 8 * 1024
LOOK_S = 0.1
"""How often it is looked whether a client has read on."""


class Line(Protocol):
    """What is needed of an SSH channel."""

    def write(self, data: bytes) -> None: ...
    def waiting(self) -> int:
        """Bytes taken and not yet handed to the network."""
        ...


class Nowhere:
    """A `Line` to nobody."""

    def write(self, data: bytes) -> None:
        pass

    def waiting(self) -> int:
        return 0


class Wire:
    """Writes frames. `repaint` is called when a client that lost frames has read on."""

    def __init__(self, line: Line, repaint: Callable[[], object]) -> None:
        self._line = line
        self._repaint = repaint
        self._loop = asyncio.get_running_loop()
        self._parts: list[str] = []
        self._flushing: asyncio.Handle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._closed = False
        self.sent = 0
        """Bytes handed over so far."""
        self.dropped = 0
        """Frames dropped so far."""

    @property
    def behind(self) -> bool:
        """Whether the client has lost frames and not read on yet: drawing is in vain."""
        return self._looking is not None

    def write(self, text: str) -> None:
        """Add to the frame under way; it goes with `flush`, or in the loop's next turn."""
        if self._closed:
            return
        self._parts.append(text)
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """The frame is whole: send it, or drop it."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._closed or not self._parts:
            return
        frame = "".join(self._parts)
        self._parts.clear()
        if self.behind or self._line.waiting() > LIMIT:
            self.dropped += 1
            if self._looking is None:
                self._looking = self._loop.call_later(LOOK_S, self._look)
            return
        self._send(frame)

    def _send(self, text: str) -> None:
        data = text.encode("utf-8", errors="replace")
        self.sent += len(data)
        self._line.write(data)

    def _look(self) -> None:
        if self._line.waiting() > LOW:
            self._looking = self._loop.call_later(LOOK_S, self._look)
        else:
            self._looking = None
            self._repaint()

    def close(self, last: str = "") -> None:
        """Send the last words and nothing more. Who does not read gets them only if there is room."""
        if self._closed:
            return
        self.flush()
        if self._line.waiting() <= LIMIT:
            self._send(last)
        self._closed = True
        self._parts.clear()
        for handle in (self._flushing, self._looking):
            if handle is not None:
                handle.cancel()
