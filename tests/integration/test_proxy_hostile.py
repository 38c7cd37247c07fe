"""Hostile requests over real sockets: each is refused, nothing reaches a worker, nothing leaks, and life goes on."""

import re
from collections.abc import AsyncIterator

import pytest

from tests.integration.proxy_world import World, answer, hang_up, post, until, world
from tests.unit.hostile import GOOD, Hostile, cases

CASES = cases()
ANSWERS = re.compile(rb"HTTP/1\.1 [0-9]{3} ").findall


@pytest.fixture(scope="module")
def at_least_200() -> None:
    assert len(CASES) >= 200
    assert len({case.data for case in CASES}) == len(CASES)


async def refused(w: World, case: Hostile, *, step: int) -> None:
    """Send it in pieces of this size and see it refused."""
    client = await w.client()
    if case.statuses:
        for at in range(0, len(case.data), step):
            client.send(case.data[at : at + step])
            if step < len(case.data) < 400:  # so that the pieces arrive apart
                await client.pause()
        raw = await client.until_closed()
        assert raw.startswith(b"HTTP/1.1 "), case.name
        assert int(raw[9:12]) in case.statuses, (case.name, raw)
        assert len(ANSWERS(raw)) == 1, case.name
        assert b"\r\nconnection: close\r\n" in raw, case.name
    else:
        client.send(case.data)
        client.transport.write_eof()
        raw = await client.until_closed()
        assert not raw.startswith(b"HTTP/1.1 2"), (case.name, raw)
    await hang_up(client)


@pytest.mark.parametrize("step", [1_000_000, 7])
@pytest.mark.usefixtures("at_least_200")
async def test_hostile_requests_are_refused_and_reach_no_worker(step: int) -> None:
    async with world() as w:
        for case in CASES:
            await refused(w, case, step=step)
        await until(lambda: w.plane.connections == 0)
        assert w.workers[0].waiting == 0, "a worker was connected to"
        assert w.books() == (0, 0, 0, 0, 0)
        client = await w.client()
        client.send(GOOD)
        worker = await w.workers[0].accept()
        await worker.message()
        worker.send(answer(b"alive"))
        assert (await client.message()).body == b"alive"


@pytest.fixture
async def busy() -> AsyncIterator[World]:
    async with world() as w:
        yield w


async def test_a_hostile_request_behind_a_good_one_ends_the_connection_after_the_good_ones_answer() -> None:
    async with world() as w:
        worker = None
        for case in CASES:
            if not case.statuses or len(case.data) > 10_000:
                continue
            client = await w.client()
            client.send(post() + case.data)
            if worker is None:
                worker = await w.workers[0].accept()
            seen = await worker.message()
            assert seen.first.startswith(b"POST /v1/chat/completions"), case.name
            worker.send(answer(b"good"))
            raw = await client.until_closed()
            head, _, rest = raw.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), (case.name, raw)
            assert rest.startswith(b"goodHTTP/1.1 "), (case.name, raw)
            assert int(rest[13:16]) in case.statuses, (case.name, rest)
            assert len(ANSWERS(raw)) == 2, case.name
            assert not worker.inbox, case.name
            await hang_up(client)
        assert w.workers[0].waiting == 0
