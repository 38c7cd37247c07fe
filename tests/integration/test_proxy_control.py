"""The control API on the data plane's port: same connection, real backpressure, cancellation."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.proxy.control import ControlApp
from gateway.proxy.server import ProxySettings
from tests.integration.proxy_world import World, answer, post, until, world

get = b"GET %b HTTP/1.1\r\nHost: gw\r\n\r\n"


class Api:
    """An aiohttp application that keeps notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.written = 0
        self.app = web.Application(client_max_size=64 * 1024 * 1024)
        self.app.router.add_get("/who", self.who)
        self.app.router.add_get("/large", self.large)
        self.app.router.add_get("/stream", self.stream)
        self.app.router.add_get("/flood", self.flood)
        self.app.router.add_get("/hang", self.hang)
        self.app.router.add_get("/crash", self.crash)
        self.app.router.add_post("/echo", self.echo)
        self.app.router.add_post("/later", self.later)
        self.may_read = asyncio.Event()
        self.app.router.add_post("/refuse", self.refuse)
        self.app.router.add_post("/v1/chat/completions", self.who)

    async def who(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"remote": request.remote, "id": request.headers["x-request-id"], "host": request.host}
        )

    async def large(self, request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 5_000_000)

    async def echo(self, request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def later(self, request: web.Request) -> web.Response:
        await self.may_read.wait()
        return web.json_response(len(await request.read()))

    async def refuse(self, request: web.Request) -> web.Response:
        return web.Response(status=403, text="no")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for n in range(3):
            await response.write(b"data: %d\n\n" % n)
        return response

    async def flood(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b"data: %b\n\n" % (b"x" * 8000))
                self.written += 8000
        except asyncio.CancelledError:
            self.notes.append("flood cancelled")
            raise

    async def hang(self, request: web.Request) -> web.Response:
        self.notes.append("hang began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.notes.append("hang cancelled")
            raise
        raise AssertionError("unreachable")

    async def crash(self, request: web.Request) -> web.Response:
        raise web.HTTPInternalServerError(text="crashed")


@asynccontextmanager
async def both(settings: ProxySettings | None = None) -> AsyncIterator[tuple[World, Api]]:
    api = Api()
    async with ControlApp(api.app) as control, world(control=control, settings=settings) as w:
        yield w, api


async def test_control_and_data_requests_alternate_on_one_connection() -> None:
    async with both() as (w, _):
        client = await w.client()
        worker = None
        for _ in range(3):
            client.send(get % b"/who")
            got = await client.message()
            body = json.loads(got.body)
            assert (body["remote"], body["host"]) == ("127.0.0.1", "gw")
            assert body["id"].encode() == got.fields[b"x-request-id"]
            client.send(post())
            worker = worker or await w.workers[0].accept()
            await worker.message()
            worker.send(answer(b"data"))
            assert (await client.message()).body == b"data"
        assert w.plane.tally.answered == {("control", 2): 3, ("/v1/chat/completions", 2): 3}


async def test_pipelined_control_and_data_requests_are_answered_in_order() -> None:
    async with both() as (w, _):
        client = await w.client()
        client.send(get % b"/who" + post() + get % b"/stream" + get % b"/none")
        assert b"remote" in (await client.message()).body
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(answer(b"data"))
        assert (await client.message()).body == b"data"
        assert (await client.message()).body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
        assert (await client.message()).status == 404


async def test_other_methods_on_data_routes_are_the_control_apis_to_refuse() -> None:
    async with both() as (w, _):
        client = await w.client()
        client.send(get % b"/v1/chat/completions")
        got = await client.message()
        assert (got.status, got.fields[b"allow"]) == (405, b"POST")


async def test_head_requests_get_a_head_only() -> None:
    async with both() as (w, _):
        client = await w.client()
        client.send(b"HEAD /large HTTP/1.1\r\nHost: gw\r\n\r\n" + get % b"/who")
        got = await client.message(head_only=True)
        assert (got.status, got.fields[b"content-length"]) == (200, b"5000000")
        assert json.loads((await client.message()).body)["remote"] == "127.0.0.1"


async def test_large_answers_and_uploads_pass() -> None:
    async with both() as (w, _):
        client = await w.client()
        client.send(get % b"/large")
        assert (await client.message()).body == b"x" * 5_000_000
        body = bytes(range(256)) * 20_000
        client.send(post(body, b"/echo"))
        assert (await client.message()).body == body
        client.send(b"POST /echo HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert await client.take_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for _ in range(100):
            client.send(b"4e20\r\n" + body[:20_000] + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert len((await client.message()).body) == 2_000_000


async def test_a_handler_that_does_not_read_holds_the_upload_back() -> None:
    async with both() as (w, api):
        client = await w.client()
        size = 30_000_000
        client.send(b"POST /later HTTP/1.1\r\nHost: gw\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        last = -1
        while last != client.transport.get_write_buffer_size():
            last = client.transport.get_write_buffer_size()
            await asyncio.sleep(0.1)
        assert last > size // 2  # it waits at the client, not here
        api.may_read.set()
        assert (await client.message()).body == b"%d" % size


async def test_an_answer_before_the_end_of_an_upload_reaches_the_client() -> None:
    async with both() as (w, _):
        client = await w.client()
        client.send(b"POST /refuse HTTP/1.1\r\nHost: gw\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1000)
        got = await client.message()
        assert (got.status, got.body) == (403, b"no")
        client.transport.close()
        await until(lambda: w.plane.connections == 0)


async def test_an_upload_that_turns_out_malformed_is_refused() -> None:
    async with both() as (w, _):
        client = await w.client()
        client.send(b"POST /echo HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        await asyncio.sleep(0.02)
        client.send(b"zz\r\n")
        assert (await client.message()).status == 400


async def test_an_upload_that_stalls_is_cut_off() -> None:
    async with both(ProxySettings(idle_timeout_s=0.2)) as (w, _):
        client = await w.client()
        client.send(b"POST /echo HTTP/1.1\r\nHost: gw\r\nContent-Length: 10\r\n\r\nab")
        assert (await client.message()).status == 408


async def test_a_slow_handler_is_not_cut_off() -> None:
    async with both(ProxySettings(idle_timeout_s=0.05, request_timeout_s=0.05)) as (w, api):
        client = await w.client()
        client.send(get % b"/hang")
        await until(lambda: bool(api.notes))
        await asyncio.sleep(0.2)
        assert not client.closed
        assert api.notes == ["hang began"]


async def test_a_client_that_leaves_cancels_its_handler_within_100_ms() -> None:
    async with both() as (w, api):
        client = await w.client()
        client.send(get % b"/hang")
        await until(lambda: api.notes == ["hang began"])
        client.transport.abort()
        assert await until(lambda: api.notes == ["hang began", "hang cancelled"]) < 0.1


async def test_a_stream_arrives_event_by_event_and_leaving_it_cancels_the_handler() -> None:
    async with both() as (w, api):
        client = await w.client()
        client.send(get % b"/flood")
        await client.message(head_only=True)
        assert (await client.chunk()).startswith(b"data: x")
        client.transport.abort()
        assert await until(lambda: api.notes == ["flood cancelled"]) < 0.5


async def test_stalled_readers_of_a_stream_hold_their_handlers_back_with_flat_memory() -> None:
    async with both() as (w, api):
        clients = [await w.client() for _ in range(50)]
        for client in clients:
            client.transport.pause_reading()
            client.send(get % b"/flood")

        async def settled() -> int:
            """What the handlers had written when they stopped writing."""
            last = -1
            while last != api.written:
                last = api.written
                await asyncio.sleep(0.2)
            return last

        async with asyncio.timeout(30):
            written = await settled()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.sleep(0.3)
        assert api.written == written
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024
        mine = w.plane._front
        assert mine is not None
        buffered = [connection._transport.get_write_buffer_size() for connection in mine.connections]
        assert max(buffered) < 500_000
        clients[0].transport.resume_reading()
        await until(lambda: api.written > written + 5_000_000)
        for client in clients:
            client.transport.abort()
        await until(lambda: len(api.notes) == 50)


async def test_an_error_of_the_control_api_is_passed_on() -> None:
    async with both() as (w, _):
        client = await w.client()
        client.send(get % b"/crash")
        assert (await client.message()).status == 500
        client.send(get % b"/who")
        assert (await client.message()).status == 200


async def test_http_1_0_clients_reach_the_control_api() -> None:
    async with both() as (w, _):
        client = await w.client()
        client.send(b"GET /stream HTTP/1.0\r\n\r\n")
        assert (await client.until_closed()).endswith(b"\r\n\r\ndata: 0\n\ndata: 1\n\ndata: 2\n\n")


async def test_closing_the_data_plane_ends_streams_and_cancels_their_handlers() -> None:
    async with both() as (w, api):
        client = await w.client()
        client.send(get % b"/flood")
        await client.message(head_only=True)
        await w.plane.close()
        await client.until_closed()
        await until(lambda: api.notes == ["flood cancelled"])


@pytest.mark.parametrize("raw", [get % b"/none", b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1"])
async def test_without_a_control_api_other_urls_are_unknown(raw: bytes) -> None:
    async with world() as w:
        client = await w.client()
        client.send(raw)
        got = await client.message()
        assert (got.status, json.loads(got.body)["error"]["code"]) == (404, "unknown_url")
