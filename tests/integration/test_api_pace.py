"""The pace of the event stream: signs of life while nothing happens, numbers on time, stuck clients let go."""

import asyncio
from itertools import pairwise

import aiohttp
import pytest

from gateway.api import events
from tests.integration.control import TEST, control


async def message(stream: aiohttp.ClientResponse) -> bytes:
    """The next message, comments too."""
    async with asyncio.timeout(5):
        return await stream.content.readuntil(b"\n\n")


async def test_a_quiet_stream_with_rare_numbers_still_shows_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEPALIVE_S", 0.05)
    async with control() as api, api.client.get("/events?meters=3600") as stream:
        assert (await message(stream)).startswith(b"event: snapshot")
        assert (await message(stream)).startswith(b"event: meters")
        for _ in range(3):
            assert await message(stream) == b": still here\n\n"


async def test_numbers_come_on_time_whatever_happens_in_between() -> None:
    loop = asyncio.get_running_loop()
    async with control() as api, api.client.get("/events?meters=1") as stream:
        entry = api.ready("http://a:1")
        times: list[float] = []
        while len(times) < 3:
            if (await message(stream)).startswith(b"event: meters"):
                times.append(loop.time())
                loop.call_later(0.8, api.registry.cordon, entry, "", TEST)
                loop.call_later(0.8, api.registry.uncordon, entry, TEST)
        # Were the wait begun anew with every event, they would be 1.8 s apart.
        assert all(later - earlier < 1.5 for earlier, later in pairwise(times)), times


async def test_a_client_that_stops_reading_is_let_go_and_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STUCK_S", 0.3)
    async with control() as api, api.client.get("/events") as other:
        entry = api.ready("http://a:1")
        reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port, limit=1024)
        writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
        runner = api.client.server.runner
        assert runner is not None
        server = runner.server
        assert server is not None

        async def read() -> None:
            while True:
                await other.content.readany()

        reading = asyncio.Task(read())
        async with asyncio.timeout(20):
            while len(server.connections) > 1:  # until its socket is full, and then until it is given up
                for _ in range(50):
                    api.registry.cordon(entry, "x" * 1000, TEST)
                    api.registry.uncordon(entry, TEST)
                await asyncio.sleep(0.01)
        assert not reading.done()
        reading.cancel()
        writer.transport.abort()
        assert (await api.call("GET", "/workers/w1"))[0] == 200


async def test_a_client_that_reads_slowly_is_not_taken_for_a_stuck_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece has its time, not the whole: a large snapshot over a slow line takes as long as it takes."""
    monkeypatch.setattr(events, "STUCK_S", 0.5)

    class SlowClient(aiohttp.web.StreamResponse):
        def __init__(self) -> None:
            super().__init__()
            self.taken = 0

        async def write(self, data: bytes | bytearray | memoryview) -> None:
            await asyncio.sleep(0.1)
            self.taken += len(data)

    client = SlowClient()
    await events.write(client, b"x" * (10 * events.PIECE))
    assert client.taken == 10 * events.PIECE
