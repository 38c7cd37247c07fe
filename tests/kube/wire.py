"""An API server reduced to its bytes: what it says, in which pieces, and where it stops is the test's.

For what a faithful server does not do on demand: chunks that end inside a character, junk, answers that never end.
"""

import asyncio
import json
from contextlib import suppress
from typing import Any, Self

Json = dict[str, Any]
WATCH = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
HALF = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
    + b'{"kind":"PodList","items":['
)


class Wire:
    """Enter it to serve. Lists are of `pods` at `version`; watches say what the test sends, or nothing."""

    def __init__(self, *pods: Json, version: int = 100, half_lists: bool = False, mute: bool = False) -> None:
        self.pods = list(pods)
        self.version = version
        self.lists = 0
        self.connections = 0
        """Since the start; those that are open still are in `open`."""
        self.open: set[asyncio.StreamWriter] = set()
        self._half_lists = half_lists
        self._mute = mute
        self._watches: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in list(self.open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def watch(self) -> "asyncio.StreamWriter":
        """The next watch that is asked for."""
        return await self._watches.get()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while not self._mute:
                    await self._answer((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1], writer)
                await reader.read()  # until they leave
        finally:
            self.open.discard(writer)
            writer.transport.abort()

    async def _answer(self, target: bytes, writer: asyncio.StreamWriter) -> None:
        if b"watch=" in target:
            writer.write(WATCH)
            self._watches.put_nowait(writer)
        elif self._half_lists:
            self.lists += 1
            writer.write(HALF)
        else:
            self.lists += 1
            meta = {"resourceVersion": str(self.version)}
            body = json.dumps({"kind": "PodList", "metadata": meta, "items": self.pods}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


async def say(watch: asyncio.StreamWriter, *pieces: bytes) -> None:
    """Each piece in a chunk of its own, and written by itself."""
    for piece in pieces:
        watch.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await watch.drain()
        await asyncio.sleep(0)


def event(kind: str, body: Json) -> bytes:
    """A line of a watch, with characters as they are and not escaped."""
    return json.dumps({"type": kind, "object": body}, ensure_ascii=False).encode() + b"\n"
