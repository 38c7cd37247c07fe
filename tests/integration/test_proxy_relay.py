"""Requests and answers through the data plane, over real sockets, with workers under the tests' control."""

import asyncio

import pytest

from tests.integration.proxy_world import (
    BODY,
    STREAM_HEAD,
    answer,
    chunk,
    post,
    world,
)


async def test_a_request_reaches_the_worker_and_its_answer_comes_back_whole() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post(BODY, b"/v1/chat/completions?trace=1", b"X-Custom: a", b"X-Custom: b", b"Cookie: c=d"))
        worker = await w.workers[0].accept()
        request = await worker.message()
        assert request.first == b"POST /v1/chat/completions?trace=1 HTTP/1.1"
        assert request.body == BODY
        assert request.fields[b"host"] == f"127.0.0.1:{w.workers[0].port}".encode()
        assert [value for name, value in request.headers if name == b"x-custom"] == [b"a", b"b"]
        assert request.fields[b"cookie"] == b"c=d"
        worker.send(answer(b'{"a":1}', b"X-Engine: e", b"Content-Type: application/json"))
        got = await client.message()
        assert (got.status, got.body, got.fields[b"x-engine"]) == (200, b'{"a":1}', b"e")
        assert got.fields[b"x-smg-routed-worker-id"] == w.entry.worker.id.encode()
        assert got.fields[b"x-request-id"] == request.fields[b"x-request-id"]
        assert got.fields[b"x-request-id"].startswith(b"chatcmpl-")
        assert len(got.fields[b"x-request-id"]) == len("chatcmpl-") + 24
        assert w.books() == (0, 1, 0, 0, 0)


async def test_a_sound_request_id_of_the_client_is_kept_on_both_sides() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post(BODY, b"/v1/completions", b"X-Request-Id: bad id", b"X-Correlation-Id: abc-1"))
        worker = await w.workers[0].accept()
        assert (await worker.message()).fields[b"x-request-id"] == b"abc-1"
        worker.send(answer(b"{}", b"X-Request-Id: other"))
        ids = [value for name, value in (await client.message()).headers if name == b"x-request-id"]
        assert ids == [b"abc-1"]


async def test_hop_by_hop_headers_end_here_in_both_directions() -> None:
    async with world() as w:
        client = await w.client()
        client.send(
            post(
                BODY,
                b"/generate",
                b"Connection: keep-alive, X-Secret",
                b"X-Secret: 1",
                b"Keep-Alive: timeout=5",
                b"TE: trailers",
                b"Proxy-Authorization: Basic x",
                b"X-Kept: 1",
            )
        )
        worker = await w.workers[0].accept()
        names = {name for name, _ in (await worker.message()).headers}
        assert names == {b"host", b"x-kept", b"content-length", b"x-request-id"}
        worker.send(answer(b"{}", b"Connection: X-Hidden", b"X-Hidden: 1", b"Keep-Alive: timeout=5", b"X-Seen: 1"))
        got = {name for name, _ in (await client.message()).headers}
        assert got == {b"content-length", b"x-seen", b"x-request-id", b"x-smg-routed-worker-id"}


@pytest.mark.parametrize(
    ("sent", "expected"), [(b"Authorization: Bearer own", b"Bearer own"), (b"X-None: 1", b"Bearer workers-key")]
)
async def test_the_workers_key_is_sent_only_where_the_caller_sent_none(sent: bytes, expected: bytes) -> None:
    async with world(api_key="workers-key") as w:
        client = await w.client()
        client.send(post(BODY, b"/v1/completions", sent))
        worker = await w.workers[0].accept()
        assert (await worker.message()).fields[b"authorization"] == expected


async def test_a_connection_to_the_worker_is_used_again() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        for n in range(5):
            await worker.message()
            worker.send(answer(b"%d" % n))
            assert (await client.message()).body == b"%d" % n
            client.send(post())
        assert len(w.workers[0].peers) == 1


async def test_each_chunk_of_a_stream_arrives_before_the_next_is_sent() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(STREAM_HEAD)
        for n in range(20):
            event = b"data: %d\n\n" % n
            worker.send(chunk(event))
            if not n:  # until then another worker could have taken over
                assert (await client.message(head_only=True)).fields[b"transfer-encoding"] == b"chunked"
            assert await client.chunk() == event
        assert w.books()[0] == 1
        worker.send(b"0\r\n\r\n")
        assert await client.chunk() == b""
        assert w.books() == (0, 1, 0, 0, 0)
        assert w.entry.meters.ttft is not None
        client.send(post())
        await worker.message()


async def test_half_a_chunk_is_passed_on_without_waiting_for_the_rest() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(STREAM_HEAD + b"a\r\n01234")
        await client.message(head_only=True)
        assert await client.chunk() == b"01234"
        worker.send(b"56789\r\n0\r\n\r\n")
        assert await client.chunk() == b"56789"
        assert await client.chunk() == b""


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 418 Teapot\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\nno", 418, b"no"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nTrailer: t\r\n\r\n", 200, b"ok"),
    ],
)
async def test_answers_of_every_shape_pass(raw: bytes, status: int, body: bytes) -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(raw)
        got = await client.message()
        assert (got.status, got.body) == (status, body)
        client.send(post())
        await worker.message()
        worker.send(answer(b"again"))
        assert (await client.message()).body == b"again"
        assert b"trailer" not in got.fields


async def test_an_answer_that_ends_with_its_connection_is_complete() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(b"HTTP/1.1 200 OK\r\n\r\npart one, ")
        assert (await client.message(head_only=True)).fields[b"transfer-encoding"] == b"chunked"
        assert await client.chunk() == b"part one, "
        worker.send(b"part two")
        worker.transport.close()
        assert await client.chunk() == b"part two"
        assert await client.chunk() == b""
        assert w.books() == (0, 1, 0, 0, 0)


async def test_an_http_1_0_client_gets_a_plain_body_and_a_close() -> None:
    async with world() as w:
        client = await w.client()
        client.send(b"POST /generate HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(STREAM_HEAD + chunk(b"data: 1\n\n") + chunk(b"data: 2\n\n") + b"0\r\n\r\n")
        raw = await client.until_closed()
        assert raw.endswith(b"\r\n\r\ndata: 1\n\ndata: 2\n\n")
        assert b"transfer-encoding" not in raw


async def test_an_http_1_0_client_that_asks_for_it_keeps_its_connection() -> None:
    async with world() as w:
        client = await w.client()
        request = b"POST /generate HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
        client.send(request)
        worker = await w.workers[0].accept()
        for _ in range(2):
            await worker.message()
            worker.send(answer(b"{}"))
            assert (await client.message()).fields[b"connection"] == b"keep-alive"
            client.send(request)


async def test_a_large_body_passes_both_ways_byte_by_byte() -> None:
    async with world() as w:
        client = await w.client()
        body = b'{"model":"m","x":"' + bytes(65 + n % 26 for n in range(300_000)) * 10 + b'"}'
        client.send(post(body))
        worker = await w.workers[0].accept()
        assert (await worker.message()).body == body
        worker.send(answer(body))
        assert (await client.message()).body == body
        assert w.books() == (0, 1, 0, 0, 0)


# --- backpressure ---


async def test_a_slow_client_holds_the_worker_back_with_bounded_memory() -> None:
    async with world() as w:
        client = await w.client()
        client.transport.pause_reading()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(STREAM_HEAD)
        piece, sent, taken = chunk(b"x" * 65536), 0, True
        while taken and sent < 200_000_000:
            try:
                await asyncio.wait_for(worker.send_slowly(piece), 0.5)
            except TimeoutError:
                taken = False
            sent += 65536
        assert sent < 40_000_000  # what kernels buffer; the rest waits at the worker
        client.transport.resume_reading()
        worker.send(b"0\r\n\r\n")
        total = 0
        await client.message(head_only=True)
        while data := await client.chunk():
            total += len(data)
        assert total >= sent
        assert w.books() == (0, 1, 0, 0, 0)


# --- stopping ---


async def test_stopping_waits_for_requests_and_closes_their_connections() -> None:
    async with world() as w:
        idle, busy = await w.client(), await w.client()
        busy.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        assert w.plane.in_flight == 1
        w.plane.begin_stop()
        await idle.until_closed()
        assert await w.plane.drained(0.05) is False
        worker.send(answer(b"last"))
        got = await busy.message()
        assert (got.body, got.fields[b"connection"]) == (b"last", b"close")
        assert await w.plane.drained(1.0) is True
        await busy.until_closed()
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await w.client()


async def test_closing_ends_a_stream_with_an_error_event() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await client.take_until(b"data: 1\n\n\r\n")
        await w.plane.close()
        raw = await client.until_closed()
        assert b'"code":"gateway_stopping"' in raw
        assert raw.endswith(b"0\r\n\r\n")
        await worker.until_closed()
        assert w.books() == (0, 0, 0, 0, 1)
        assert not w.probed
