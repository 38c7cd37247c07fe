"""What workers answer, over real sockets: odd answers pass as they mean, broken ones become a 502, none leaks."""

import asyncio

import pytest

from gateway.proxy.settings import ProxySettings
from tests.integration.proxy_world import BODY, Peer, World, answer, chunk, hang_up, post, until, world
from tests.unit.odd_answers import BROKEN, CHUNKED, OK, SECOND, SOUND


async def asked(w: World) -> tuple[Peer, Peer]:
    """A client that has asked, and the worker that got its request."""
    client = await w.client()
    client.send(post())
    worker = await w.workers[0].accept()
    await worker.message()
    return client, worker


async def send(worker: Peer, raw: bytes, step: int) -> None:
    for at in range(0, len(raw), step):
        worker.send(raw[at : at + step])
        if step < len(raw) < 3000:
            await worker.pause()


@pytest.mark.parametrize("step", [1_000_000, 1, 5])
@pytest.mark.parametrize("name", list(SOUND))
async def test_a_sound_answer_passes_however_it_is_split(name: str, step: int) -> None:
    case = SOUND[name]
    async with world() as w:
        client, worker = await asked(w)
        await send(worker, case.raw, step)
        if case.ends:
            worker.transport.close()
        got = await client.message()
        assert (got.first, got.body) == (b"HTTP/1.1 " + case.status, case.body)
        if case.header is not None:
            assert got.fields.get(case.header[0]) == case.header[1]
        assert not {b"transfer-encoding", b"content-length"} <= set(got.fields)
        client.send(post())  # the next request gets the next answer, whatever came behind this one
        again = worker
        if not case.kept:
            await until(lambda: worker.closed)
            again = await w.workers[0].accept()
        await again.message()
        again.send(answer(b"next"))
        assert (await client.message()).body == b"next"
        assert not client.inbox
        assert w.books() == (0, 2, 0, 0, 0)


@pytest.mark.parametrize("step", [1_000_000, 1])
@pytest.mark.parametrize("name", list(BROKEN))
async def test_a_broken_answer_becomes_a_502_and_nothing_of_it_the_next_ones(name: str, step: int) -> None:
    async with world() as w:
        client, worker = await asked(w)
        await send(worker, BROKEN[name], step if len(BROKEN[name]) < 3000 else 1000)
        got = await client.message()
        assert (got.status, got.fields[b"x-smg-error-code"]) == (502, b"worker_connection_lost"), got.body
        await until(lambda: worker.closed)
        client.send(post())
        again = await w.workers[0].accept()
        await again.message()
        again.send(answer(b"next"))
        assert (await client.message()).body == b"next"
        assert not client.inbox
        assert w.books() == (0, 1, 0, 1, 0)
        assert w.probed == [w.entry.worker.id]


@pytest.mark.parametrize(
    ("begun", "rest"),
    [
        (CHUNKED + chunk(b"x" * 300_000), b"zz\r\n"),
        (CHUNKED + chunk(b"x" * 300_000), b"2\r\n{}!\r\n0\r\n\r\n"),
        (CHUNKED + chunk(b"x" * 300_000), b"2\r\n{}\n0\r\n\r\n"),
        (CHUNKED + chunk(b"x" * 300_000), b"2;\r\n{}\r\n0\r\n\r\n"),
        (CHUNKED + chunk(b"x" * 300_000), b"2;" + b"x" * 10_000 + b"\r\n{}\r\n0\r\n\r\n"),
        (CHUNKED + chunk(b"x" * 300_000), b"0\r\nX-Trailer: " + b"x" * 70_000 + b"\r\n\r\n"),
        (CHUNKED + chunk(b"x" * 300_000), b"0\r\nContent-Length: 5\r\n\r\n"),
        (CHUNKED + chunk(b"x" * 300_000), b"0\r\nX\r\n\r\n"),
        (CHUNKED + chunk(b"x" * 300_000), None),
        (OK + b"Content-Length: 400000\r\n\r\n" + b"x" * 300_000, None),
    ],
)
async def test_an_answer_that_breaks_after_its_beginning_ends_the_clients_connection(
    begun: bytes, rest: bytes | None
) -> None:
    async with world() as w:
        client, worker = await asked(w)
        worker.send(begun)
        head = await client.message(head_only=True)
        assert head.status == 200
        worker.send(rest or b"")
        if rest is None:
            worker.transport.close()
        raw = await client.until_closed()
        assert not raw.endswith(b"0\r\n\r\n")  # else the client would take it for complete
        await until(lambda: w.books() == (0, 0, 0, 1, 0))


async def test_bytes_on_an_idle_connection_to_a_worker_are_never_an_answer() -> None:
    async with world() as w:
        client, worker = await asked(w)
        worker.send(answer())
        await client.message()
        worker.send(SECOND)
        await until(lambda: worker.closed)
        client.send(post())
        again = await w.workers[0].accept()
        await again.message()
        again.send(answer(b"mine"))
        assert (await client.message()).body == b"mine"


async def test_an_answer_that_comes_before_the_request_is_read_is_passed_and_the_connection_not_kept() -> None:
    async with world(settings=ProxySettings(max_payload_bytes=1 << 26)) as w:
        client = await w.client()
        large = b'{"model":"m","x":"' + b"x" * 20_000_000 + b'"}'
        client.send(post(large))
        worker = await w.workers[0].accept()
        await worker.take_until(b"\r\n\r\n")
        worker.transport.pause_reading()
        worker.send(answer(b"early"))
        assert (await client.message()).body == b"early"
        await hang_up(worker)
        client.send(post(BODY))
        again = await w.workers[0].accept()
        await again.message()
        again.send(answer(b"next"))
        assert (await client.message()).body == b"next"


async def test_answers_of_all_kinds_at_once_leak_no_connection() -> None:
    async with world() as w:
        raws = [*BROKEN.values(), *(case.raw for case in SOUND.values())]

        async def ask() -> None:
            client = await w.client()
            client.send(post())
            while not client.inbox and not client.closed:
                await client.more()
            await hang_up(client)

        async def answer_once(raw: bytes, worker: Peer) -> None:
            await worker.message()
            worker.send(raw)
            worker.transport.close()

        async with asyncio.TaskGroup() as group:
            for _ in raws:
                group.create_task(ask())
            for raw in raws:
                group.create_task(answer_once(raw, await w.workers[0].accept()))
        await until(lambda: w.plane.connections == 0 and w.plane.in_flight == 0)
        await until(lambda: all(peer.closed for peer in w.workers[0].peers))
        assert w.books()[0] == 0
