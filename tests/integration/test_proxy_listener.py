"""What the listener makes of clients: turns, limits, silence, and requests that could be read in two ways."""

import asyncio
import json
from random import Random

import pytest

from gateway.proxy.server import DataPlane, ProxySettings
from tests.integration.proxy_world import BODY, Peer, answer, hang_up, make_registry, post, until, world

CHUNKED = b"POST /generate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def headed(*lines: bytes, first: bytes = b"POST /generate HTTP/1.1", body: bytes = b"{}") -> bytes:
    return b"\r\n".join((first, *lines, b"", body))


MALFORMED: dict[str, bytes] = {
    # two lengths
    "length and chunked": headed(b"Host: a", b"Content-Length: 2", b"Transfer-Encoding: chunked"),
    "chunked and length": headed(b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 2"),
    "two lengths that differ": headed(b"Host: a", b"Content-Length: 2", b"Content-Length: 3"),
    "two lengths that agree": headed(b"Host: a", b"Content-Length: 2", b"Content-Length: 2"),
    "a list of lengths": headed(b"Host: a", b"Content-Length: 2, 2"),
    "a signed length": headed(b"Host: a", b"Content-Length: +2"),
    "a negative length": headed(b"Host: a", b"Content-Length: -2"),
    "a hexadecimal length": headed(b"Host: a", b"Content-Length: 0x2"),
    "a length with a space": headed(b"Host: a", b"Content-Length: 1 2"),
    "an empty length": headed(b"Host: a", b"Content-Length: "),
    "a length in words": headed(b"Host: a", b"Content-Length: two"),
    "a length beyond 64 bits": headed(b"Host: a", b"Content-Length: 18446744073709551618"),
    "an underscored length": headed(b"Host: a", b"Content-Length: 1_0"),
    # transfer codings
    "an unknown coding": headed(b"Host: a", b"Transfer-Encoding: xchunked"),
    "identity": headed(b"Host: a", b"Transfer-Encoding: identity"),
    "chunked not last": headed(b"Host: a", b"Transfer-Encoding: chunked, identity"),
    "chunked twice": headed(b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "two codings": headed(b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "a vertical tab before chunked": headed(b"Host: a", b"Transfer-Encoding:\x0bchunked"),
    "a quoted coding": headed(b"Host: a", b'Transfer-Encoding: "chunked"'),
    "a space before the colon": headed(b"Host: a", b"Transfer-Encoding : chunked"),
    "a coding in HTTP/1.0": headed(b"Transfer-Encoding: chunked", first=b"POST /generate HTTP/1.0", body=b"0\r\n\r\n"),
    "a folded coding": headed(b"Host: a", b"Transfer-Encoding:", b" chunked"),
    # lines
    "bare line feeds": b"POST /generate HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
    "one bare line feed": b"POST /generate HTTP/1.1\r\nHost: a\nContent-Length: 2\r\n\r\n{}",
    "a line feed ends the head": b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\n{}",
    "a bare carriage return": b"POST /generate HTTP/1.1\r\nHost: a\rContent-Length: 2\r\n\r\n{}",
    "a folded header": headed(b"Host: a", b"X-A: b", b" c"),
    "a header folded by a tab": headed(b"Host: a", b"X-A: b", b"\tc"),
    "a space before the first header": headed(b" Host: a"),
    "a NUL in a value": headed(b"Host: a", b"X-A: b\0c"),
    "a NUL in a name": headed(b"Host: a", b"X\0A: b"),
    "a header without a colon": headed(b"Host: a", b"X-A"),
    "an empty name": headed(b"Host: a", b": b"),
    "a space in a name": headed(b"Host: a", b"X A: b"),
    "a name in brackets": headed(b"Host: a", b"[X]: b"),
    # the first line
    "no method": headed(b"Host: a", first=b"/generate HTTP/1.1"),
    "an unknown method": headed(b"Host: a", first=b"FETCH /generate HTTP/1.1"),
    "a method in lower case": headed(b"Host: a", first=b"post /generate HTTP/1.1"),
    "a tab in the first line": headed(b"Host: a", first=b"POST\t/generate HTTP/1.1"),
    "no target": headed(b"Host: a", first=b"POST HTTP/1.1"),
    "a relative target": headed(b"Host: a", first=b"POST generate HTTP/1.1"),
    "a foreign scheme": headed(b"Host: a", first=b"POST ftp://a/generate HTTP/1.1"),
    "no version": headed(b"Host: a", first=b"POST /generate"),
    "version 1.2": headed(b"Host: a", first=b"POST /generate HTTP/1.2"),
    "version 2.0": headed(b"Host: a", first=b"POST /generate HTTP/2.0"),
    "version 0.9": headed(b"Host: a", first=b"POST /generate HTTP/0.9"),
    "another protocol": headed(b"Host: a", first=b"POST /generate RTSP/1.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "CONNECT": headed(b"Host: a", first=b"CONNECT a:443 HTTP/1.1"),
    # the host
    "no Host": headed(b"Content-Length: 2"),
    "two Hosts": headed(b"Host: a", b"Host: b", b"Content-Length: 2"),
    "two kinds of content": headed(b"Host: a", b"Content-Type: a/b", b"Content-Type: c/d", b"Content-Length: 2"),
    "an expectation nobody knows": headed(b"Host: a", b"Expect: 200-ok", b"Content-Length: 2"),
    # chunks
    "a chunk size that is no number": CHUNKED + b"xx\r\n{}\r\n0\r\n\r\n",
    "a chunk size with 0x": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk size with a space": CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "an empty chunk size": CHUNKED + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
    "chunks with line feeds": CHUNKED + b"2\n{}\n0\n\n",
    "a chunk ended by a line feed": CHUNKED + b"2\r\n{}\n0\r\n\r\n",
    "a chunk ended by two carriage returns": CHUNKED + b"2\r\n{}\r\r\n0\r\n\r\n",
    "a chunk extension with a line feed": CHUNKED + b"2;a\nb\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", list(MALFORMED))
async def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_closed(name: str) -> None:
    async with world() as w:
        client = await w.client()
        client.send(MALFORMED[name] + post(b"{}", b"/generate"))  # and what follows is never read
        got = await client.message()
        assert got.status in (400, 417, 501, 505), name
        assert got.fields[b"connection"] == b"close"
        assert "error" in json.loads(got.body)
        client.transport.write_eof()
        assert await client.until_closed() == b""
        assert w.workers[0].waiting == 0


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with world(workers=2) as w:
        client = await w.client()
        client.send(b"".join(post(b'{"model":"m","n":%d}' % n) for n in range(20)))
        for n in range(20):
            worker = await w.workers[n % 2].accept() if n < 2 else w.workers[n % 2].peers[0]
            request = await worker.message()
            assert request.body == b'{"model":"m","n":%d}' % n
            worker.send(answer(b"%d" % n))
            assert (await client.message()).body == b"%d" % n
        assert len(w.workers[0].peers) == len(w.workers[1].peers) == 1


async def test_a_valid_request_is_answered_before_the_garbage_behind_it() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post() + b"garbage\r\n\r\n")
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(answer(b"first"))
        assert (await client.message()).body == b"first"
        assert (await client.message()).status == 400


async def test_much_pipelining_stops_the_reading_and_loses_nothing() -> None:
    async with world() as w:
        client = await w.client()
        request = post(b'{"model":"m","x":"' + b"x" * 20_000 + b'"}')
        count = 400
        client.send(request * count)
        worker = await w.workers[0].accept()
        await worker.message()
        await asyncio.sleep(0.05)
        assert client.transport.get_write_buffer_size() > 1_000_000  # held back at the client
        for n in range(count):
            worker.send(answer(b"%d" % n))
            assert (await client.message()).body == b"%d" % n
            if n + 1 < count:
                await worker.message()


async def test_pipelined_requests_wait_until_the_client_reads_the_answers_before_them() -> None:
    count, size = 300, 200_000
    async with world() as w:
        client = await w.client()
        client.transport.pause_reading()
        client.send(post() * count)
        worker = await w.workers[0].accept()
        served = 0
        while served < count:
            try:
                await asyncio.wait_for(worker.message(), 0.5)
            except TimeoutError:
                break
            worker.send(answer(bytes(size)))
            served += 1
        assert served < count  # the rest waits for the client, not in memory
        client.transport.resume_reading()
        for n in range(count):
            assert len((await client.message()).body) == size
            if served + n < count:
                await worker.message()
                worker.send(answer(bytes(size)))


async def test_a_chunked_upload_reaches_the_worker_with_a_length() -> None:
    async with world() as w:
        client = await w.client()
        client.send(CHUNKED)
        for piece in (BODY[:5], BODY[5:6], BODY[6:]):
            client.send(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0)
        client.send(b"0\r\nX-Trailer: 1\r\n\r\n")
        worker = await w.workers[0].accept()
        got = await worker.message()
        assert (got.body, got.fields[b"content-length"]) == (BODY, b"%d" % len(BODY))
        assert b"x-trailer" not in got.fields
        assert b"transfer-encoding" not in got.fields


async def test_100_continue_is_sent_before_the_body_and_in_turn() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post(BODY) + post(BODY, b"/generate", b"Expect: 100-continue")[: -len(BODY)])
        worker = await w.workers[0].accept()
        await worker.message()
        assert not client.inbox
        worker.send(answer(b"first"))
        assert (await client.message()).body == b"first"
        assert await client.take_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(BODY)
        got = await worker.message()
        assert got.body == BODY
        assert b"expect" not in got.fields


async def test_an_absolute_target_is_taken_as_its_path() -> None:
    async with world() as w:
        client = await w.client()
        client.send(headed(b"Host: a", b"Content-Length: 2", first=b"POST http://a:1/generate?x=1 HTTP/1.1"))
        worker = await w.workers[0].accept()
        assert (await worker.message()).first == b"POST /generate?x=1 HTTP/1.1"


@pytest.mark.parametrize("at", [None, 20, 130, -3])
async def test_an_offer_to_upgrade_is_declined_in_silence_and_its_body_is_not_read_as_a_request(at: int | None) -> None:
    async with world() as w:
        client = await w.client()
        upgrade = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
        raw = post(BODY, b"/generate", *upgrade) + CHUNKED[:-2] + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n"
        raw += b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) + b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n"
        client.send(raw[:at])
        await asyncio.sleep(0.01)
        client.send(raw[at:] if at is not None else b"")
        worker = await w.workers[0].accept()
        for _ in range(2):
            request = await worker.message()
            assert {name for name, _ in request.headers} == {b"host", b"content-length", b"x-request-id"}
            assert request.body == BODY
            worker.send(answer())
            assert (await client.message()).status == 200
        assert (await client.message()).status == 404


async def test_a_request_that_says_close_is_the_last() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post(BODY, b"/generate", b"Connection: close") + post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(answer(b"only"))
        got = await client.message()
        assert (got.body, got.fields[b"connection"]) == (b"only", b"close")
        assert await client.until_closed() == b""


async def test_random_bytes_crash_nothing_and_end_in_a_close_or_an_answer() -> None:
    rng = Random(20)
    valid = post(BODY, b"/generate", b"X-A: b") + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"
    async with world(workers=0) as w:
        for n in range(300):
            client = await w.client()
            if n % 2:
                data = rng.randbytes(rng.randrange(1, 300))
            else:
                at = rng.randrange(len(valid))
                data = valid[:at] + rng.randbytes(rng.randrange(1, 4)) + valid[at:]
            client.send(data)
            client.transport.write_eof()
            await client.until_closed()
        await until(lambda: w.plane.connections == 0)
        assert w.plane.in_flight == 0
        client = await w.client()
        client.send(post())
        assert (await client.message()).status == 503


# --- limits ---


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /generate HTTP/1.1\r\nHost: a\r\nX-Large: " + b"x" * 9000,
        b"POST /generate HTTP/1.1\r\nHost: a\r\nX-Large: " + b"x" * 5000 + b"\r\n\r\n",
        b"POST /generate HTTP/1.1\r\nHost: a\r\n" + b"X-Many: 1\r\n" * 500 + b"\r\n",
        b"POST /" + b"x" * 9000,
        CHUNKED + b"0\r\n" + b"X-Trailer: 1\r\n" * 500 + b"\r\n",
        b"\r\n" * 5000,
    ],
    ids=["unfinished header", "one header", "many headers", "target", "trailers", "blank lines"],
)
async def test_a_head_that_is_too_large_gets_431(raw: bytes) -> None:
    async with world(settings=ProxySettings(max_head_bytes=4096)) as w:
        client = await w.client()
        for at in range(0, len(raw), 1000):
            client.send(raw[at : at + 1000])
            await asyncio.sleep(0.001)
        assert (await client.message()).status == 431


async def test_many_small_requests_on_one_connection_are_not_taken_for_a_large_head() -> None:
    async with world(settings=ProxySettings(max_head_bytes=512)) as w:
        client = await w.client()
        client.send(post() * 50)
        worker = await w.workers[0].accept()
        for _ in range(50):
            await worker.message()
            worker.send(answer())
            assert (await client.message()).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        post(b"x" * 1001),
        b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n",
        CHUNKED + b"258\r\n" + b"x" * 600 + b"\r\n258\r\n" + b"x" * 600 + b"\r\n0\r\n\r\n",
        b"PUT /anything HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n",
    ],
)
async def test_a_body_that_is_too_large_gets_413_which_the_client_can_read_while_it_still_sends(raw: bytes) -> None:
    async with world(settings=ProxySettings(max_payload_bytes=1000)) as w:
        client = await w.client()
        client.stays_at_eof = True
        client.send(raw)
        got = await client.message()
        assert (got.status, got.fields[b"x-smg-error-code"]) == (413, b"payload_too_large")
        for _ in range(5):
            client.send(b"x" * 100_000)
            await asyncio.sleep(0.01)
        assert not client.closed  # a reset could have taken the answer away
        client.transport.close()
        await until(lambda: w.plane.connections == 0)


async def test_a_body_of_exactly_the_limit_passes() -> None:
    async with world(settings=ProxySettings(max_payload_bytes=len(BODY))) as w:
        client = await w.client()
        client.send(post(BODY))
        assert (await (await w.workers[0].accept()).message()).body == BODY


async def test_chunks_that_are_mostly_overhead_are_refused() -> None:
    async with world() as w:
        client = await w.client()
        client.send(CHUNKED)
        extension = b"1;" + b"x" * 60_000 + b"\r\na\r\n"
        for _ in range(60):
            if client.inbox or client.closed:
                break
            await client.send_slowly(extension)
            await asyncio.sleep(0.001)
        assert (await client.message()).status == 400


# --- silence ---


async def test_a_client_that_drips_its_headers_is_cut_off_in_time() -> None:
    async with world(settings=ProxySettings(header_read_timeout_s=0.3, idle_timeout_s=60.0)) as w:
        client = await w.client()
        loop = asyncio.get_running_loop()
        began = loop.time()
        client.send(b"POST /generate HTTP/1.1\r\nHost: a\r\n")
        while not client.inbox and not client.closed:
            client.send(b"X-Drip: 1\r\n")
            await asyncio.sleep(0.02)
        assert (await client.message()).status == 408
        assert 0.25 < loop.time() - began < 1.0


async def test_a_body_that_stalls_is_cut_off_and_one_that_comes_slowly_is_not() -> None:
    async with world(settings=ProxySettings(idle_timeout_s=0.2)) as w:
        slow, stalled = await w.client(), await w.client()
        stalled.send(post(BODY)[:-5])
        slow.send(post(BODY)[: -len(BODY)])
        for n in range(len(BODY)):
            slow.send(BODY[n : n + 1])
            await asyncio.sleep(0.015)
        assert (await (await w.workers[0].accept()).message()).body == BODY
        assert (await stalled.message()).status == 408


async def test_idle_connections_close_and_busy_ones_do_not() -> None:
    async with world(settings=ProxySettings(idle_timeout_s=0.15)) as w:
        idle, busy = await w.client(), await w.client()
        busy.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        assert await idle.until_closed() == b""
        await asyncio.sleep(0.2)
        worker.send(answer(b"late"))
        assert (await busy.message()).body == b"late"
        assert await busy.until_closed() == b""


async def test_a_client_that_reads_nothing_of_its_last_answer_is_dropped_at_last() -> None:
    async with world(settings=ProxySettings(idle_timeout_s=0.2)) as w:
        client = await w.client()
        client.transport.pause_reading()
        client.send(post())
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(answer(b"x" * 20_000_000))
        worker.send(b"")
        await until(lambda: w.plane.in_flight == 1)
        client.transport.resume_reading()
        assert len((await client.message()).body) == 20_000_000
        await client.until_closed()
        await until(lambda: w.plane.connections == 0)


# --- counters and addresses ---


async def test_the_data_plane_counts_connections_requests_and_errors() -> None:
    async with world() as w:
        client = await w.client()
        await until(lambda: w.plane.connections == 1)
        client.send(post() + post(b"{") + post(BODY, b"/generate"))
        worker = await w.workers[0].accept()
        await worker.message()
        assert w.plane.in_flight == 1
        worker.send(answer(b"no", status=b"500 Oops"))
        assert (await client.message()).status == 500
        assert (await client.message()).status == 400
        await worker.message()
        worker.send(answer())
        await client.message()
        assert w.plane.tally.answered == {
            ("/v1/chat/completions", 5): 1,
            ("/v1/chat/completions", 4): 1,
            ("/generate", 2): 1,
        }
        assert w.plane.tally.refused == {"invalid_request": 1}
        assert (w.plane.requests, w.plane.errors, w.plane.in_flight) == (3, 1, 0)
        assert w.books() == (0, 1, 1, 0, 0)


async def test_it_listens_on_several_addresses_and_on_both_families() -> None:
    async with DataPlane(make_registry()) as plane:
        await plane.start(["127.0.0.1", "127.0.0.2"], 0)
        assert [address.host for address in plane.addresses] == ["127.0.0.1", "127.0.0.2"]
        assert len({address.port for address in plane.addresses}) == 1
    async with DataPlane(make_registry()) as plane:
        address = await plane.start("::", 0)
        loop = asyncio.get_running_loop()
        for host in ("::1", "127.0.0.1"):
            _, peer = await loop.create_connection(Peer, host, address.port)
            peer.send(post())
            assert (await peer.message()).status == 503
            await hang_up(peer)


async def test_a_port_in_use_is_said_in_one_line() -> None:
    async with DataPlane(make_registry()) as one, DataPlane(make_registry()) as other:
        address = await one.start("127.0.0.1", 0)
        with pytest.raises(OSError, match=rf"cannot listen on 127.0.0.1:{address.port}: the port is already in use"):
            await other.start("127.0.0.1", address.port)
        with pytest.raises(OSError, match="this machine has no such address"):
            await other.start("192.0.2.1", 0)
        with pytest.raises(OSError, match="the name does not resolve"):
            await other.start("no-such-host.invalid", 0)
