"""The event stream: a snapshot and what follows it, resumable, and never a burden to the writer."""

import asyncio
import json
import tracemalloc
from contextlib import suppress
from typing import Any

import aiohttp

from tests.integration.control import TEST, Control, control


async def event(stream: aiohttp.ClientResponse) -> tuple[str, str, Any]:
    """Name, id and data of the next event."""
    while True:
        lines = (await asyncio.wait_for(stream.content.readuntil(b"\n\n"), 5)).decode().strip().split("\n")
        fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
        if "event" in fields:
            return fields["event"], fields.get("id", ""), json.loads(fields["data"])


async def test_a_snapshot_and_then_every_event() -> None:
    async with control() as api:
        api.ready("http://a:1")
        async with api.client.get("/events") as stream:
            name, event_id, snapshot = await event(stream)
            assert (name, event_id) == ("snapshot", f"boot-{api.registry.journal.seq}")
            assert [w["state"] for w in snapshot["workers"]] == ["ready"]
            await api.call("POST", "/workers/w1/cordon", json={"reason": "disk"})
            name, event_id, data = await event(stream)
            assert (name, data["data"]["reason"], data["actor"]) == ("worker_cordoned", "disk", "api")
            assert event_id == f"boot-{api.registry.journal.seq}"


async def test_a_reconnecting_client_gets_what_it_missed_and_no_snapshot() -> None:
    async with control() as api:
        entry = api.ready("http://a:1")
        seen = api.registry.journal.seq
        api.registry.cordon(entry, "one", TEST)
        api.registry.uncordon(entry, TEST)
        async with api.client.get("/events", headers={"Last-Event-ID": f"boot-{seen}"}) as stream:
            names = [(await event(stream))[0] for _ in range(2)]
            assert names == ["worker_cordoned", "worker_uncordoned"]


async def test_an_id_of_another_process_or_one_too_old_gives_a_snapshot() -> None:
    async with control(journal_size=10) as api:
        entry = api.ready("http://a:1")
        for _ in range(10):
            api.registry.cordon(entry, "", TEST)
            api.registry.uncordon(entry, TEST)
        for last in ("other-3", "boot-1", f"boot-{api.registry.journal.seq + 5}"):
            async with api.client.get("/events", headers={"Last-Event-ID": last}) as stream:
                assert (await event(stream))[0] == "snapshot"


async def test_a_reader_that_fell_behind_gets_a_fresh_snapshot() -> None:
    async with control(journal_size=50) as api:
        entry = api.ready("http://a:1")
        async with api.client.get("/events") as stream:
            await event(stream)
            for _ in range(200):
                api.registry.cordon(entry, "", TEST)
                api.registry.uncordon(entry, TEST)
            name, _, snapshot = await event(stream)
            assert name == "snapshot"
            assert snapshot["seq"] == api.registry.journal.seq


async def test_meters_come_when_asked_for() -> None:
    async with control() as api:
        api.ready("http://a:1").meters.began()
        async with api.client.get("/events?meters=1") as stream:
            names = [await event(stream) for _ in range(2)]
            assert [name for name, _, _ in names] == ["snapshot", "meters"]
            assert names[1][2]["workers"][0]["in_flight"] == 1


async def test_fifty_clients_that_stop_reading_cost_the_writer_nothing_and_memory_stays_flat() -> None:
    async with control() as api:
        entry = api.ready("http://a:1")
        readers = [await stalled(api) for _ in range(50)]
        tracemalloc.start()
        try:
            await write(api, entry, 12_000)  # fills the ring, the sockets' buffers and the pauses
            before, _ = tracemalloc.get_traced_memory()
            await write(api, entry, 20_000)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 512 * 1024, f"{(after - before) / 1024:.0f} KB more"
        assert (await api.call("GET", "/workers/w1"))[0] == 200
        for _, writer in readers:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def write(api: Control, entry: Any, count: int) -> None:
    """So many facts, letting readers run between them."""
    for number in range(count // 2):
        api.registry.cordon(entry, "x" * 200, TEST)
        api.registry.uncordon(entry, TEST)
        if number % 50 == 0:
            await asyncio.sleep(0)


async def stalled(api: Control) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that asks for events and reads nothing but the head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port, limit=1024)
    writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
    return reader, writer


async def test_streams_end_when_the_gateway_stops() -> None:
    async with control() as api, api.client.get("/events?meters=1") as stream:
        await event(stream)
        api.stopping = True
        api.registry.note("stopping", "", TEST)
        await asyncio.wait_for(stream.content.read(), 5)
        assert stream.content.at_eof()
