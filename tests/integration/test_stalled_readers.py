"""Fifty clients of the event stream that stop reading: the gateway's memory stays flat, and nobody waits for them."""

import asyncio
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.integration.fleet import HeadlessGateway

CLIENTS = 50


async def stalled(address: str) -> asyncio.StreamWriter:
    """A client that asks for events and reads nothing but the head of the answer."""
    where = urlsplit(address)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1024)
    writer.write(b"GET /events?meters=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
    return writer


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


async def test_memory_stays_flat_and_no_writer_waits() -> None:
    async with HeadlessGateway("--drain-timeout-secs", "5") as gateway:
        await gateway.call("POST", "/workers", {"url": "http://127.0.0.1:9"})
        readers = [await stalled(gateway.address) for _ in range(CLIENTS)]
        loop = asyncio.get_running_loop()

        async def write(events: int) -> float:
            """So many facts, by command; the slowest answer in seconds."""
            slowest = 0.0
            for number in range(events):
                began = loop.time()
                command = "uncordon" if number % 2 else "cordon"
                status, _ = await gateway.call(
                    "POST", f"/workers/w1/{command}", {} if number % 2 else {"reason": "x" * 200}
                )
                assert status == 200
                slowest = max(slowest, loop.time() - began)
            return slowest

        await write(3000)  # fills what the sockets and the pipes hold
        before = resident_kb(gateway.pid)
        slowest = await write(3000)
        grown = resident_kb(gateway.pid) - before
        # The journal itself still fills up: at most 3,000 events of about 1 KB. Fifty queues of them would be 150 MB.
        assert grown < 8 * 1024, f"{grown} KB more"
        assert slowest < 1.0
        for writer in readers:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()
        assert await gateway.terminate() == 0
