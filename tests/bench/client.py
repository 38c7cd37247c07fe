"""A client cheap enough to load a fast gateway: one kept connection, one request at a time, answers counted.

What is asked, how often, and what the answers should be is the callers'.
"""

import asyncio
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools


class Answer(NamedTuple):
    """`size` and `end` are of the body: its length and its last bytes."""

    status: int
    size: int
    end: bytes


class Gone(Exception):
    """The connection was closed before the answer was complete."""


def request_bytes(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    """A whole request."""
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}"
    if body:
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class Caller(asyncio.Protocol):
    """One connection. Make it with `connect`."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Answer] | None = None
        self._size = 0
        self._end = b""
        self._head_only = False
        self.closed = False

    @classmethod
    async def connect(cls, url: str) -> "Caller":
        """Raises OSError."""
        parts = urlsplit(url)
        _, caller = await asyncio.get_running_loop().create_connection(cls, parts.hostname or "", parts.port or 80)
        return caller

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for all of its answer. Raises Gone. Cancelling leaves the connection closed."""
        if self.closed:
            raise Gone
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        self._size, self._end, self._head_only = 0, b"", request.startswith(b"HEAD")
        self._transport.write(request)
        try:
            return await waiter
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Leave at once, whatever is under way."""
        self.closed = True
        self._transport.abort()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(Gone())

    # --- httptools callbacks ---

    def on_headers_complete(self) -> None:
        if self._head_only:  # the parser cannot be told that no body follows
            self._settle()
            self._parser = httptools.HttpResponseParser(self)

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        self._end = data[-64:]

    def on_message_complete(self) -> None:
        self._settle()

    def _settle(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(Answer(self._parser.get_status_code(), self._size, self._end))
