"""A data plane between a raw client and workers that do exactly what a test tells them, over real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import cast

from gateway.proxy.control import ControlDoor
from gateway.proxy.server import DataPlane, ProxySettings
from gateway.workers.entry import Entry
from gateway.workers.facts import Cause
from gateway.workers.model import Capabilities, HealthOverride, ModelCard, Secret, WorkerId, WorkerSpec
from gateway.workers.registry import Registry

TEST = Cause("test")
SOON_S = 5.0
"""Longest wait for something that should happen at once."""


async def until(condition: Callable[[], bool], timeout_s: float = SOON_S) -> float:
    """Wait until the condition holds; returns the seconds it took."""
    began = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)
    return time.monotonic() - began


class Peer(asyncio.Protocol):
    """One end of a TCP connection whose bytes a test reads and writes by hand."""

    def __init__(self) -> None:
        self.inbox = bytearray()
        self.closed = False
        self.error: Exception | None = None
        self.stays_at_eof = False
        """Keeps its own direction open after the other side has ended the other."""
        self.transport: asyncio.Transport
        self._grew = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.inbox += data
        self._grew.set()

    def eof_received(self) -> bool:
        return self.stays_at_eof

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed, self.error = True, exc
        self._grew.set()
        self._drained.set()

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    async def send_slowly(self, data: bytes) -> None:
        """Send and wait until the other side took it."""
        self.send(data)
        await self._drained.wait()

    async def pause(self) -> None:
        """Let what was sent arrive before more is sent."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def more(self) -> None:
        """Wait for bytes. Raises EOFError once the connection is closed."""
        if self.closed:
            raise EOFError(f"closed after {bytes(self.inbox[:200])!r}")
        self._grew.clear()
        async with asyncio.timeout(SOON_S):
            await self._grew.wait()

    async def until_closed(self) -> bytes:
        """Everything until the other side closes."""
        while not self.closed:
            await self.more()
        return bytes(self.inbox)

    async def take(self, size: int) -> bytes:
        while len(self.inbox) < size:
            await self.more()
        data = bytes(self.inbox[:size])
        del self.inbox[:size]
        return data

    async def take_until(self, mark: bytes) -> bytes:
        while (at := self.inbox.find(mark)) < 0:
            await self.more()
        return await self.take(at + len(mark))

    async def message(self, *, head_only: bool = False) -> "Message":
        """The next request or answer, whole."""
        head = await self.take_until(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        message = Message(first, headers)
        if head_only:
            return message
        fields = message.fields
        if b"content-length" in fields:
            message.body = await self.take(int(fields[b"content-length"]))
        elif fields.get(b"transfer-encoding") == b"chunked":
            while chunk := await self.chunk():
                message.chunks.append(chunk)
            message.body = b"".join(message.chunks)
        return message

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        size = int((await self.take_until(b"\r\n"))[:-2], 16)
        data = await self.take(size + 2)
        assert data[-2:] == b"\r\n"
        return data[:-2]


@dataclass
class Message:
    first: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)

    @property
    def fields(self) -> dict[bytes, bytes]:
        return dict(self.headers)

    @property
    def status(self) -> int:
        return int(self.first.split(b" ")[1])


class Worker:
    """A server under a test's control: `await accept()` gives each connection as it comes."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.port = 0
        self.server: asyncio.Server | None = None
        self._came: asyncio.Queue[Peer] = asyncio.Queue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _connected(self) -> Peer:
        peer = Peer()
        self.peers.append(peer)
        self._came.put_nowait(peer)
        return peer

    async def accept(self) -> Peer:
        async with asyncio.timeout(SOON_S):
            return await self._came.get()

    @property
    def waiting(self) -> int:
        """Connections nobody accepted so far."""
        return self._came.qsize()

    async def start(self) -> None:
        self.server = await asyncio.get_running_loop().create_server(self._connected, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener; connections stay."""
        if self.server is not None:
            self.server.close()
            self.server = None


async def hang_up(*peers: Peer) -> None:
    """Close these ends and wait until they are closed."""
    for peer in peers:
        peer.transport.abort()
    await until(lambda: all(peer.closed for peer in peers))


@dataclass
class World:
    """A started data plane and what surrounds it."""

    plane: DataPlane
    registry: Registry
    workers: list[Worker]
    probed: list[WorkerId]
    entries: list[Entry]
    clients: list[Peer] = field(default_factory=list)

    async def client(self) -> Peer:
        host, port = self.plane.address
        _, peer = await asyncio.get_running_loop().create_connection(Peer, host, port)
        self.clients.append(peer)
        return peer

    @property
    def entry(self) -> Entry:
        return self.entries[0]

    def books(self) -> tuple[int, int, int, int, int]:
        """Of all workers: in flight, ok, server errors, transport errors, cancelled."""
        meters = [entry.meters for entry in self.entries]
        return (
            sum(m.in_flight for m in meters),
            sum(m.ok for m in meters),
            sum(m.server_errors for m in meters),
            sum(m.transport_errors for m in meters),
            sum(m.cancelled for m in meters),
        )


def make_registry() -> Registry:
    return Registry(wall=time.time, mono=time.monotonic, rng=Random(7))


def add_ready(registry: Registry, url: str, *models: str, api_key: str | None = None, checked: bool = False) -> Entry:
    """List a worker and bring it to ready."""
    spec = WorkerSpec(
        url=url,
        models=tuple(ModelCard(name) for name in models),
        api_key=Secret(api_key) if api_key else None,
        health=HealthOverride(disabled=not checked, success_threshold=1),
    )
    entry = registry.register(spec, TEST)
    if checked:
        from gateway.workers.health import ProbeResult

        registry.observe_probe(entry.worker.id, 1, ProbeResult(True, 0.001), TEST)
    registry.observe_capabilities(entry.worker.id, 1, Capabilities(), TEST)
    assert registry.routable(models[0] if models else None)
    return entry


@asynccontextmanager
async def world(
    *,
    workers: int = 1,
    models: tuple[str, ...] = ("m",),
    settings: ProxySettings | None = None,
    control: ControlDoor | None = None,
    api_key: str | None = None,
    policy: str = "round_robin",
) -> AsyncIterator[World]:
    """A data plane on a free port in front of workers that wait to be told what to do."""
    problems: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(str(context)))
    registry = make_registry()
    servers = [Worker() for _ in range(workers)]
    for server in servers:
        await server.start()
    entries = [add_ready(registry, server.url, *models, api_key=api_key, checked=True) for server in servers]
    probed: list[WorkerId] = []
    plane = DataPlane(
        registry, policy=policy, settings=settings, control=control, probe_now=probed.append, rng=Random(3)
    )
    try:
        async with plane:
            await plane.start("127.0.0.1", 0)
            here = World(plane, registry, servers, probed, entries)
            yield here
    finally:
        for server in servers:
            await server.stop()
        await hang_up(*here.clients, *(peer for server in servers for peer in server.peers))
    assert not problems, problems


BODY = b'{"model":"m","messages":[]}'


def post(body: bytes = BODY, path: bytes = b"/v1/chat/completions", *lines: bytes) -> bytes:
    """A request on a data route, as bytes."""
    head = b"".join(line + b"\r\n" for line in lines)
    return b"POST %b HTTP/1.1\r\nHost: gw\r\nContent-Length: %d\r\n%b\r\n%b" % (path, len(body), head, body)


def answer(body: bytes = b'{"ok":1}', *lines: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"".join(line + b"\r\n" for line in lines)
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), head, body)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
