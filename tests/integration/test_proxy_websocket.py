"""Websockets through the gateway: aiohttp at both ends, and raw bytes where an end must misbehave."""

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError, web

from gateway.proxy.server import DataPlane, ProxySettings
from tests.integration.proxy_world import Peer, World, add_ready, answer, hang_up, make_registry, post, until, world

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


@dataclass(frozen=True, slots=True)
class Idle(ProxySettings):
    """With the setting that the tunnel looks for."""

    websocket_idle_timeout_s: float = 0.0


def handshake(*lines: bytes, target: bytes = b"/v1/realtime?model=m") -> bytes:
    head = (
        b"GET %b HTTP/1.1" % target, b"Host: gw", b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket",
        b"Sec-WebSocket-Key: " + KEY, b"Sec-WebSocket-Version: 13", *lines, b"", b"",
    )  # fmt: skip
    return b"\r\n".join(head)


AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Engine: e\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
)


async def connected(w: World) -> tuple[Peer, Peer]:
    """A client and a worker with a websocket between them."""
    client = await w.client()
    client.send(handshake())
    worker = await w.workers[0].accept()
    await worker.take_until(b"\r\n\r\n")
    worker.send(AGREED)
    assert (await client.message(head_only=True)).status == 101
    return client, worker


# --- real ends ---


@dataclass
class Realtime:
    url: str
    plane: DataPlane
    seen: list[web.Request]


@asynccontextmanager
async def realtime() -> AsyncIterator[Realtime]:
    """An aiohttp server that echoes, behind the gateway."""
    seen: list[web.Request] = []

    async def echo(request: web.Request) -> web.WebSocketResponse:
        seen.append(request)
        ws = web.WebSocketResponse(protocols=("realtime",))
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                if message.data == "bye":
                    await ws.close(code=4000, message=b"as you wish")
                    break
                await ws.send_str("echo " + message.data)
            elif message.type is WSMsgType.BINARY:
                await ws.send_bytes(message.data)
        return ws

    app = web.Application()
    app.router.add_get("/v1/realtime", echo)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry = make_registry()
    entry = add_ready(registry, f"http://127.0.0.1:{runner.addresses[0][1]}", "m", api_key="worker-key")
    try:
        async with DataPlane(registry, policy="round_robin") as plane:
            address = await plane.start("127.0.0.1", 0)
            yield Realtime(f"http://127.0.0.1:{address.port}", plane, seen)
            await until(lambda: plane.in_flight == 0 and entry.meters.in_flight == 0)
    finally:
        await runner.cleanup()


async def test_a_websocket_passes_text_bytes_pings_and_closes_with_its_code() -> None:
    async with realtime() as r, ClientSession() as session:
        async with session.ws_connect(
            f"{r.url}/v1/realtime?model=m&x=1", protocols=("realtime",), headers={"X-Own": "yes"}
        ) as ws:
            assert ws.protocol == "realtime"
            for n in range(50):
                await ws.send_str(str(n))
                assert await ws.receive_str() == f"echo {n}"
            large = bytes(range(256)) * 12_000
            await ws.send_bytes(large)
            assert await ws.receive_bytes() == large
            await ws.ping(b"are you there")
            assert r.plane.in_flight == 1
            await ws.send_str("bye")
            got = await ws.receive()
            assert (got.type, got.data, got.extra) == (WSMsgType.CLOSE, 4000, "as you wish")
        (request,) = r.seen
        assert request.path_qs == "/v1/realtime?model=m&x=1"
        assert request.headers["X-Own"] == "yes"
        assert request.headers["Authorization"] == "Bearer worker-key"
        assert request.headers["X-Request-Id"]


async def test_many_websockets_at_once_do_not_mix() -> None:
    async with realtime() as r, ClientSession() as session:

        async def one(name: str) -> None:
            async with session.ws_connect(f"{r.url}/v1/realtime?model=m") as ws:
                for n in range(20):
                    await ws.send_str(f"{name} {n}")
                    assert await ws.receive_str() == f"echo {name} {n}"

        async with asyncio.TaskGroup() as group:
            for n in range(40):
                group.create_task(one(f"client {n}"))
        assert len(r.seen) == 40


async def test_a_model_that_nobody_serves_is_refused_before_any_worker_is_asked() -> None:
    async with realtime() as r, ClientSession() as session:
        with pytest.raises(WSServerHandshakeError) as refused:
            await session.ws_connect(f"{r.url}/v1/realtime?model=other")
        assert refused.value.status == 404
        assert not r.seen


# --- the handshake ---


async def test_a_handshake_reaches_the_worker_and_its_answer_the_client() -> None:
    async with world() as w:
        client = await w.client()
        client.send(handshake(b"Sec-WebSocket-Protocol: realtime", b"X-Request-Id: mine", b"TE: trailers"))
        worker = await w.workers[0].accept()
        got = await worker.message(head_only=True)
        assert got.first == b"GET /v1/realtime?model=m HTTP/1.1"
        assert dict(got.headers) == {
            b"host": b"127.0.0.1:%d" % w.workers[0].port,
            b"sec-websocket-key": KEY,
            b"sec-websocket-version": b"13",
            b"sec-websocket-protocol": b"realtime",
            b"x-request-id": b"mine",
            b"connection": b"Upgrade",
            b"upgrade": b"websocket",
        }
        assert w.books()[0] == 1
        worker.send(AGREED + b"first words")
        head = await client.message(head_only=True)
        assert head.first == b"HTTP/1.1 101 Switching Protocols"
        assert dict(head.headers) == {
            b"connection": b"Upgrade",
            b"upgrade": b"websocket",
            b"sec-websocket-accept": ACCEPT,
            b"x-engine": b"e",
            b"x-request-id": b"mine",
            b"x-smg-routed-worker-id": w.entry.worker.id.encode(),
        }
        assert await client.take(11) == b"first words"
        await hang_up(client)
        await until(lambda: worker.closed)
        await until(lambda: w.books() == (0, 1, 0, 0, 0))
        assert w.plane.tally.answered == {("/v1/realtime", 1): 1}


@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_frames_that_come_with_the_handshake_are_kept_for_the_worker(step: int) -> None:
    async with world() as w:
        client = await w.client()
        raw = handshake() + b"\x00\r\n\r\nPOST / HTTP/1.1\r\n\xff early"
        for at in range(0, len(raw), step):
            client.send(raw[at : at + step])
            await client.pause()
        worker = await w.workers[0].accept()
        await worker.take_until(b"\r\n\r\n")
        worker.send(AGREED)
        assert await worker.take_until(b"early") == b"\x00\r\n\r\nPOST / HTTP/1.1\r\n\xff early"
        client.send(b"late")
        assert await worker.take(4) == b"late"


async def test_a_handshake_behind_another_request_waits_for_its_turn() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post() + handshake() + b"frames")
        first = await w.workers[0].accept()
        await first.message()
        assert w.workers[0].waiting == 0
        first.send(answer(b"one"))
        assert (await client.message()).body == b"one"
        worker = await w.workers[0].accept()
        await worker.take_until(b"\r\n\r\n")
        worker.send(AGREED)
        assert await worker.take(6) == b"frames"
        assert (await client.message(head_only=True)).status == 101


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request", b"403 Forbidden", b"426 Upgrade", b"500 No"])
async def test_a_worker_that_declines_has_its_answer_passed_on(status: bytes) -> None:
    async with world() as w:
        client = await w.client()
        client.send(handshake() + b"frames that nobody reads")
        worker = await w.workers[0].accept()
        await worker.take_until(b"\r\n\r\n")
        worker.send(answer(b"declined", b"Sec-WebSocket-Version: 13, 8", status=status))
        got = await client.message()
        assert (got.first, got.body) == (b"HTTP/1.1 " + status, b"declined")
        assert got.fields[b"sec-websocket-version"] == b"13, 8"
        assert got.fields[b"connection"] == b"close"
        assert await client.until_closed() == b""
        await until(lambda: w.plane.connections == 0)
        assert w.books() == ((0, 0, 1, 0, 0) if status.startswith(b"5") else (0, 1, 0, 0, 0))


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"garbage\r\n\r\n",
        b"",
    ],
    ids=["another protocol", "no protocol", "no HTTP", "nothing"],
)
async def test_a_worker_that_answers_the_handshake_badly_gives_a_502(raw: bytes) -> None:
    async with world() as w:
        client = await w.client()
        client.send(handshake())
        worker = await w.workers[0].accept()
        await worker.take_until(b"\r\n\r\n")
        worker.send(raw)
        worker.transport.close()
        got = await client.message()
        assert (got.status, got.fields[b"connection"]) == (502, b"close")
        assert w.books() == (0, 0, 0, 1, 0)
        assert w.probed == [w.entry.worker.id]


async def test_a_worker_that_cannot_be_reached_is_passed_over() -> None:
    async with world(workers=2) as w:
        await w.workers[0].stop()
        for _ in range(2):
            client = await w.client()
            client.send(handshake())
            worker = await w.workers[1].accept()
            await worker.take_until(b"\r\n\r\n")
            worker.send(AGREED)
            assert (await client.message(head_only=True)).status == 101
            await hang_up(client)
        await until(lambda: w.books()[0] == 0)


async def test_a_client_that_leaves_during_the_handshake_takes_it_along() -> None:
    async with world() as w:
        client = await w.client()
        client.send(handshake())
        worker = await w.workers[0].accept()
        await worker.take_until(b"\r\n\r\n")
        await hang_up(client)
        await until(lambda: worker.closed)
        await until(lambda: w.books() == (0, 0, 0, 0, 1))
        assert w.plane.in_flight == 0


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        (b"/v1/realtime?model=m", (b"Connection: Upgrade", b"Upgrade: h2c")),
        (b"/v1/realtime?model=m", (b"Upgrade: websocket",)),
        (b"/v1/realtime?model=m", (b"Connection: Upgrade", b"Upgrade: websocket, h2c")),
        (b"/other", (b"Connection: Upgrade", b"Upgrade: websocket")),
    ],
)
async def test_any_other_offer_to_upgrade_is_declined_in_silence(target: bytes, lines: tuple[bytes, ...]) -> None:
    async with world() as w:
        client = await w.client()
        client.send(b"\r\n".join((b"GET %b HTTP/1.1" % target, b"Host: gw", *lines, b"", b"")))
        assert (await client.message()).status == 404
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(answer())
        assert (await client.message()).status == 200


async def test_a_handshake_that_nobody_can_take_is_refused() -> None:
    async with world(workers=0) as w:
        client = await w.client()
        client.send(handshake() + b"frames")
        got = await client.message()
        assert (got.status, got.fields[b"connection"]) == (503, b"close")
        assert json.loads(got.body)["error"]["code"] == "no_workers"
        assert await client.until_closed() == b""
        assert w.plane.in_flight == 0


# --- bytes ---


@pytest.mark.parametrize("to_worker", [True, False])
async def test_a_side_that_reads_slowly_holds_the_other_back_and_nothing_is_lost(to_worker: bool) -> None:
    async with world() as w:
        client, worker = await connected(w)
        source, sink = (client, worker) if to_worker else (worker, client)
        sink.transport.pause_reading()
        piece, sent = b"0123456789abcdef" * 4096, 0
        for _ in range(2000):
            source.send(piece)
            sent += len(piece)
            if source.transport.get_write_buffer_size() > 4_000_000:
                break
            await source.pause()
        assert source.transport.get_write_buffer_size() > 1_000_000  # it is held back at its source
        await asyncio.sleep(0.05)
        assert source.transport.get_write_buffer_size() > 1_000_000
        sink.send(b"the other way is free")
        assert await source.take(21) == b"the other way is free"
        sink.transport.resume_reading()
        assert await sink.take(sent) == piece * (sent // len(piece))


# --- ends ---


@pytest.mark.parametrize("client_first", [True, False])
async def test_a_half_close_passes_and_the_other_direction_goes_on(client_first: bool) -> None:
    async with world() as w:
        client, worker = await connected(w)
        first, second = (client, worker) if client_first else (worker, client)
        first.stays_at_eof = second.stays_at_eof = True
        ended = asyncio.Event()

        def note() -> bool:
            ended.set()
            return True

        second.eof_received = note  # type: ignore[method-assign]  # to hear of it
        first.send(b"last words")
        first.transport.write_eof()
        async with asyncio.timeout(5):
            await ended.wait()
        assert await second.take(10) == b"last words"
        second.send(b"x" * 300_000)
        assert await first.take(300_000) == b"x" * 300_000
        assert w.books()[0] == 1
        second.transport.close()
        await until(lambda: w.books() == (0, 1, 0, 0, 0))
        first.transport.close()
        await until(lambda: w.plane.connections == 0)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("client_first", [True, False])
async def test_a_side_that_leaves_ends_the_other(client_first: bool, reset: bool) -> None:
    async with world() as w:
        client, worker = await connected(w)
        first, second = (client, worker) if client_first else (worker, client)
        if reset:
            sock = first.transport.get_extra_info("socket")
            sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: a close resets
            first.transport.abort()
        else:
            first.transport.close()
        await until(lambda: second.closed)
        lost = reset and not client_first
        await until(lambda: w.books() == ((0, 0, 0, 1, 0) if lost else (0, 1, 0, 0, 0)))
        assert (w.plane.in_flight, w.plane.connections) == (0, 0)


async def test_an_idle_websocket_ends_only_where_that_is_wanted() -> None:
    async with world(settings=Idle(websocket_idle_timeout_s=0.15, idle_timeout_s=0.05)) as w:
        client, worker = await connected(w)
        for _ in range(6):
            client.send(b"ping")
            assert await worker.take(4) == b"ping"
            await asyncio.sleep(0.05)
        assert not client.closed
        await until(lambda: client.closed and worker.closed)
    async with world(settings=ProxySettings(idle_timeout_s=0.05)) as w:
        client, worker = await connected(w)
        await asyncio.sleep(0.3)
        worker.send(b"still here")
        assert await client.take(10) == b"still here"


async def test_a_websocket_counts_as_in_flight_until_its_end() -> None:
    async with world() as w:
        client, worker = await connected(w)
        assert (w.plane.in_flight, w.entry.meters.in_flight) == (1, 1)
        client.send(b"x")
        await worker.take(1)
        assert (w.plane.in_flight, w.entry.meters.in_flight) == (1, 1)
        worker.transport.close()
        await until(lambda: (w.plane.in_flight, w.entry.meters.in_flight) == (0, 0))


async def test_closing_the_gateway_ends_websockets_after_what_was_written() -> None:
    async with world() as w:
        client, worker = await connected(w)
        w.plane.begin_stop()
        worker.send(b"said while stopping")
        assert await client.take(19) == b"said while stopping"
        assert w.plane.in_flight == 1
        await w.plane.close()
        assert await client.until_closed() == b""
        assert (client.error, worker.error) == (None, None)
        await until(lambda: worker.closed)
        assert w.books() == (0, 0, 0, 0, 1)
