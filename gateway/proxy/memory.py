"""A connection without sockets: two transports in one process, each the other's far end.

Flow control is real: what one side writes waits here, bounded, while the other does not read, and the writer
is told to pause as a socket transport would tell it. Bytes arrive by the next step of the loop, never from
within `write`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

HIGH_WATER = 64 * 1024


class MemoryTransport(asyncio.Transport):
    """One end. `protocol` is what lives at this end; what it writes goes to the `peer`'s protocol."""

    def __init__(self, loop: asyncio.AbstractEventLoop, extra: dict[str, Any]) -> None:
        super().__init__(extra)
        self._loop = loop
        self._protocol: asyncio.Protocol | None = None
        self._peer: MemoryTransport | None = None
        self._inbox: deque[bytes] = deque()
        self._inbox_bytes = 0
        self._reading = True
        self._ended = False
        self._scheduled = False
        self._closing = False
        self._lost = False
        self._writer_paused = False
        self._high = HIGH_WATER
        self._low = HIGH_WATER // 4

    # --- reading: what the peer wrote ---

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._lost:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        """Hand over what came, as long as the protocol takes it."""
        self._scheduled = False
        peer = self._peer
        while self._inbox and self._reading and not self._closing and self._protocol is not None:
            data = self._inbox.popleft()
            self._inbox_bytes -= len(data)
            self._protocol.data_received(data)
        if peer is not None:
            peer._wake_writer()
        if self._ended and self._reading and (not self._inbox or self._closing):
            self._lose(None)

    # --- writing: what goes to the peer ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        peer = self._peer
        if self._closing or peer is None or peer._lost or not data:
            return
        peer._inbox.append(bytes(data))
        peer._inbox_bytes += len(data)
        peer._schedule()
        if peer._inbox_bytes > self._high and not self._writer_paused:
            self._writer_paused = True
            if self._protocol is not None:
                self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def _wake_writer(self) -> None:
        peer = self._peer
        if self._writer_paused and (peer is None or peer._inbox_bytes <= self._low):
            self._writer_paused = False
            if self._protocol is not None and not self._lost:
                self._protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return 0 if self._peer is None else self._peer._inbox_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low

    def can_write_eof(self) -> bool:
        return False

    # --- ends ---

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """The peer still gets what was written, then loses the connection; so does this side, at once."""
        if self._closing:
            return
        self._closing = True
        self._loop.call_soon(self._lose, None)
        if self._peer is not None:
            self._peer._end()

    def abort(self) -> None:
        """Both sides lose the connection at once, whatever they had still to read."""
        peer = self._peer
        self.close()
        if peer is not None:
            self._loop.call_soon(peer._lose, None)

    def _end(self) -> None:
        """The far end closed."""
        self._ended = True
        self._schedule()

    def _lose(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._inbox.clear()
        self._inbox_bytes = 0
        peer, self._peer = self._peer, None
        protocol, self._protocol = self._protocol, None
        if peer is not None:
            peer._wake_writer()
            peer._end()
        if protocol is not None:
            protocol.connection_lost(exc)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol


def connect_in_memory(
    near: asyncio.Protocol, make_far: Callable[[], asyncio.BaseProtocol], extra: dict[str, Any]
) -> None:
    """Connect two protocols. `extra` is what the far side finds as `get_extra_info` (peername, sockname)."""
    loop = asyncio.get_running_loop()
    far = make_far()
    here, there = MemoryTransport(loop, {}), MemoryTransport(loop, extra)
    here._peer, there._peer = there, here
    here.set_protocol(near)
    there.set_protocol(far)
    far.connection_made(there)
    near.connection_made(here)
