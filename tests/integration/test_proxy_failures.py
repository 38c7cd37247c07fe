"""When workers break off, clients leave and the fleet changes under requests: who is told, and the accounts."""

import json
import time

import pytest

from gateway.proxy.retry import RetrySettings
from gateway.proxy.server import ProxySettings
from gateway.tasks import Scope
from gateway.workers.facts import Cause
from gateway.workers.model import Intent
from tests.integration.proxy_world import BODY, STREAM_HEAD, Worker, World, add_ready, answer, chunk, post, until, world


def error_of(body: bytes) -> dict[str, object]:
    error = json.loads(body)["error"]
    assert isinstance(error, dict)
    return error


@pytest.mark.parametrize(
    ("body", "path", "status", "code", "names"),
    [
        (b'{"messages":[]}', b"/v1/chat/completions", 400, "missing_required_parameter", "model"),
        (b'{"model":5}', b"/v1/completions", 400, "invalid_request", "model"),
        (b'{"model":"m","stream":"yes"}', b"/v1/completions", 400, "invalid_request", "stream"),
        (b"[1]", b"/v1/embeddings", 400, "invalid_request", "the body"),
        (b"{", b"/v1/responses", 400, "invalid_request", "JSON"),
        (b"", b"/generate", 400, "invalid_request", "JSON"),
        (b'{"model":"m\xff"}', b"/v1/messages", 400, "invalid_request", "UTF-8"),
        (b'{"model":"nope"}', b"/v1/messages", 404, "model_not_found", "'nope'"),
        (b"file", b"/v1/audio/transcriptions", 400, "invalid_request", "JSON"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(
    body: bytes, path: bytes, status: int, code: str, names: str
) -> None:
    async with world() as w:
        client = await w.client()
        client.send(post(body, path))
        got = await client.message()
        error = error_of(got.body)
        assert (got.status, error["code"]) == (status, code)
        assert names in str(error["message"])
        assert got.fields[b"x-smg-error-code"] == code.encode()
        assert b"x-request-id" in got.fields
        client.send(post())  # the connection is still good
        await (await w.workers[0].accept()).message()


async def test_without_workers_the_answer_is_503_no_workers() -> None:
    async with world(workers=0) as w:
        client = await w.client()
        client.send(post())
        got = await client.message()
        assert (got.status, error_of(got.body)["code"]) == (503, "no_workers")


async def test_when_no_worker_is_routable_the_answer_names_up_to_three_and_why() -> None:
    async with world(workers=5) as w:
        for n, entry in enumerate(w.entries):
            w.registry.cordon(entry, f"reason {n}", Cause("test"))
        client = await w.client()
        client.send(post())
        got = await client.message()
        error = error_of(got.body)
        assert (got.status, error["code"], error["type"]) == (503, "no_available_workers", "server_error")
        assert "w1 is cordoned: reason 0" in str(error["message"])
        assert "and 2 more" in str(error["message"])


async def test_a_worker_that_refuses_connections_gives_502_and_a_probe() -> None:
    async with world() as w:
        await w.workers[0].stop()
        client = await w.client()
        client.send(post())
        got = await client.message()
        assert (got.status, error_of(got.body)["code"]) == (502, "worker_unreachable")
        assert "connection refused" in str(error_of(got.body)["message"])
        assert w.books() == (0, 0, 0, 1, 0)
        assert w.probed == [w.entry.worker.id]
        assert w.entry.meters.last_error == "connection refused"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "connection closed before an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "in the middle of an answer"),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "switched protocols"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "not HTTP"),
    ],
)
async def test_a_worker_that_does_not_answer_in_http_gives_502(raw: bytes, text: str) -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(raw)
        worker.transport.close()
        got = await client.message()
        assert (got.status, error_of(got.body)["code"]) == (502, "worker_connection_lost")
        assert text in str(error_of(got.body)["message"])
        assert got.fields[b"x-smg-routed-worker-id"] == w.entry.worker.id.encode()
        assert w.books() == (0, 0, 0, 1, 0)
        client.send(post())  # the client's connection is not to blame
        await (await w.workers[0].accept()).message()


async def test_a_stream_that_breaks_ends_with_an_error_event_and_a_proper_end() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await client.message(head_only=True)
        assert await client.chunk() == b"data: 1\n\n"
        worker.transport.abort()
        event = await client.chunk()
        assert event.startswith(b"data: {")
        assert event.endswith(b"\n\n")
        assert error_of(event[6:])["code"] == "worker_connection_lost"
        assert await client.chunk() == b""
        assert w.books() == (0, 0, 0, 1, 0)
        client.send(post())
        await (await w.workers[0].accept()).message()


async def test_a_stream_that_breaks_within_an_event_closes_that_event_first() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post(BODY, b"/v1/messages"))
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(STREAM_HEAD + chunk(b'data: {"half'))
        await client.message(head_only=True)
        await client.chunk()
        worker.transport.abort()
        event = await client.chunk()
        assert event.startswith(b"\n\nevent: error\ndata: ")
        assert json.loads(event.partition(b"data: ")[2])["type"] == "error"
        assert await client.chunk() == b""


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\ndata: ",
    ],
)
async def test_another_answer_that_breaks_is_cut_so_that_the_client_notices(head: bytes) -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(head)
        await client.message(head_only=True)
        worker.transport.abort()
        raw = await client.until_closed()
        assert b"0\r\n\r\n" not in raw
        assert len(raw) < 100
        assert w.books() == (0, 0, 0, 1, 0)


async def test_a_broken_answer_to_an_http_1_0_client_is_reset_since_a_close_would_look_like_its_end() -> None:
    async with world() as w:
        client = await w.client()
        client.send(b"POST /generate HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        await client.take_until(b"abcde")
        worker.transport.abort()
        await client.until_closed()
        assert isinstance(client.error, ConnectionResetError)


async def test_a_kept_connection_that_the_worker_closed_never_costs_an_error() -> None:
    async with world() as w:
        client = await w.client()
        for n in range(5):
            client.send(post())
            worker = await w.workers[0].accept()
            await worker.message()
            worker.send(answer(b"%d" % n))
            worker.transport.close()
            assert (await client.message()).status == 200
        assert w.books() == (0, 5, 0, 0, 0)
        assert not w.probed


async def test_a_request_that_meets_the_closing_of_a_kept_connection_is_sent_again_once() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        first = await w.workers[0].accept()
        await first.message()
        first.send(answer())
        await client.message()
        client.send(post())
        await first.message()  # the worker read it, but dies without a byte of an answer
        first.transport.abort()
        second = await w.workers[0].accept()
        assert (await second.message()).body == BODY
        second.send(answer(b"second"))
        assert (await client.message()).body == b"second"
        assert w.entry.meters.requests == 2
        assert w.books() == (0, 2, 0, 0, 0)

        client.send(post())
        await second.message()
        second.transport.abort()
        third = await w.workers[0].accept()
        await third.message()
        third.transport.abort()  # a new connection is not tried again
        assert (await client.message()).status == 502
        assert w.books() == (0, 2, 0, 1, 0)
        assert w.workers[0].waiting == 0


async def test_an_idle_worker_connection_that_speaks_unasked_is_dropped() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(answer())
        await client.message()
        worker.send(answer(b"an answer to a question nobody asked"))
        await worker.until_closed()
        client.send(post())
        fresh = await w.workers[0].accept()
        await fresh.message()
        fresh.send(answer(b"right"))
        assert (await client.message()).body == b"right"


async def test_bytes_behind_an_answer_never_become_the_next_one() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post() + post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(answer(b"mine") + answer(b"smuggled"))
        assert (await client.message()).body == b"mine"
        fresh = await w.workers[0].accept()
        await fresh.message()
        fresh.send(answer(b"yours"))
        assert (await client.message()).body == b"yours"


async def test_an_answer_before_the_request_was_read_ends_the_connection_to_the_worker() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post(b'{"model":"m","x":"' + b"x" * 30_000_000 + b'"}'))
        worker = await w.workers[0].accept()
        await worker.take_until(b"\r\n\r\n")
        worker.transport.pause_reading()
        worker.send(answer(b"too large", status=b"413 No"))
        assert (await client.message()).body == b"too large"
        client.send(post())
        fresh = await w.workers[0].accept()
        assert (await fresh.message()).body == BODY


async def test_a_request_that_takes_too_long_gets_504_and_the_worker_is_let_go() -> None:
    async with world(settings=ProxySettings(request_timeout_s=0.1)) as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        got = await client.message()
        assert (got.status, error_of(got.body)["code"]) == (504, "worker_timeout")
        await worker.until_closed()
        assert w.books() == (0, 0, 0, 1, 0)


async def test_a_worker_that_cannot_be_connected_to_in_time_gives_504() -> None:
    settings = ProxySettings(connect_timeout_s=0.1, retry=RetrySettings(attempts=1))
    async with world(workers=0, settings=settings) as w:
        entry = add_ready(w.registry, "http://192.0.2.1:9", "m")  # TEST-NET: goes nowhere
        w.entries.append(entry)
        client = await w.client()
        client.send(post())
        got = await client.message()
        assert got.status in (502, 504)  # 502 where the network says at once that there is no way
        assert w.books() == (0, 0, 0, 1, 0)


# --- clients that leave ---


async def left(w: World) -> None:
    await until(lambda: w.books()[0] == 0)


async def test_when_the_client_leaves_before_an_answer_the_worker_notices_within_100_ms() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        client.transport.abort()
        assert await until(lambda: worker.closed) < 0.1
        await left(w)
        assert w.books() == (0, 0, 0, 0, 1)
        assert w.plane.tally.client_left == 1
        assert w.plane.in_flight == 0


async def test_when_the_client_leaves_mid_stream_the_worker_notices_within_100_ms() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await client.take_until(b"data: 1\n\n")
        client.transport.close()
        assert await until(lambda: worker.closed) < 0.1
        await left(w)
        assert w.books() == (0, 0, 0, 0, 1)


async def test_when_the_client_leaves_while_dialling_the_dial_is_called_off() -> None:
    async with world(workers=0, settings=ProxySettings(connect_timeout_s=30.0)) as w:
        entry = add_ready(w.registry, "http://192.0.2.1:9", "m")
        w.entries.append(entry)
        client = await w.client()
        client.send(post())
        await until(lambda: entry.meters.requests == 1)
        client.transport.abort()
        await left(w)
        assert w.books()[3] + w.books()[4] == 1


# --- the fleet changes ---


async def test_a_removed_workers_request_goes_on_to_its_end_and_its_connections_close() -> None:
    async with world(settings=ProxySettings(pool_idle_timeout_s=60.0)) as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await client.take_until(b"data: 1\n\n\r\n")
        w.registry.remove_now(w.entry, "test", Cause("test"))
        worker.send(chunk(b"data: 2\n\n") + b"0\r\n\r\n")
        assert await client.chunk() == b"data: 2\n\n"
        assert await client.chunk() == b""
        assert w.books() == (0, 1, 0, 0, 0)
        await worker.until_closed()


async def test_idle_connections_close_when_the_worker_leaves_and_when_they_have_waited_too_long() -> None:
    async with world(settings=ProxySettings(pool_idle_timeout_s=0.1)) as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        began = time.monotonic()
        worker.send(answer())
        await client.message()
        await worker.until_closed()
        assert time.monotonic() - began > 0.09
    async with world(settings=ProxySettings(pool_idle_timeout_s=60.0)) as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(answer())
        await client.message()
        w.registry.remove_now(w.entry, "test", Cause("test"))
        await worker.until_closed()


async def test_the_pool_keeps_no_more_idle_connections_than_it_may() -> None:
    async with world(settings=ProxySettings(pool_max_idle=2, pool_idle_timeout_s=60.0)) as w:
        clients = [await w.client() for _ in range(5)]
        peers = []
        for client in clients:
            client.send(post())
            peers.append(await w.workers[0].accept())
            await peers[-1].message()
        for client, peer in zip(clients, peers, strict=True):
            peer.send(answer())
            await client.message()
        await until(lambda: sum(peer.closed for peer in peers) == 3)


async def test_a_draining_worker_is_gone_when_its_last_request_has_ended() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        w.registry.drain(w.entry, Intent.REMOVE, None, "test", Cause("test"))
        assert len(w.registry) == 1
        worker.send(answer())
        assert (await client.message()).status == 200
        assert len(w.registry) == 0


async def test_nothing_of_a_refusing_workers_answers_gets_into_the_answer_of_the_next() -> None:
    """Also where the refusals are all alike, and so known by their heads."""

    async def serve(worker: Worker, reply: bytes) -> None:
        peer = await worker.accept()
        while True:
            await peer.message()
            peer.send(reply)

    async with world(workers=2) as w, Scope("workers") as scope:
        for worker, reply in zip(w.workers, (answer(b"busy", status=b"503 Busy"), answer(b"fine")), strict=True):
            scope.spawn(serve(worker, reply), name=worker.url)
        client = await w.client()
        for _ in range(8):
            client.send(post())
            got = await client.message()
            assert (got.status, got.body) == (200, b"fine")
        assert w.plane.tally.retries >= 3
        await scope.close()
