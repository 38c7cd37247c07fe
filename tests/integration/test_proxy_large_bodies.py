"""Bodies of the largest size allowed are held once, by the real process, whoever the worker is."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from tests.integration.fleet import HeadlessGateway, until

SIZE = 96 << 20
PIECE = 1 << 20


def kilobytes(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith(f"{name}:")).split()[1])


async def test_a_large_body_takes_its_size_in_memory_once() -> None:
    """The worker reads it at leisure, so the gateway has to hold all of it."""
    received = 0

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST /v1/chat"):
            while received < SIZE:
                received += len(await reader.read(PIECE))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(worker, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    limits = (
        "--policy",
        "round_robin",
        "--max-payload-size",
        str(SIZE),
        "--disable-health-check",
        "--disable-load-monitoring",
    )
    async with HeadlessGateway("--worker-urls", url, *limits) as gateway:

        async def ready() -> bool:
            return (await gateway.call("GET", "/readiness"))[0] == 200

        await until(ready, "a ready worker")
        before = kilobytes(gateway.pid, "VmHWM")
        where = urlsplit(gateway.address)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % SIZE
        )
        begin, end = b'{"model":"unknown","messages":[{"role":"user","content":"', b'"}]}'
        writer.write(begin)
        for at in range(len(begin), SIZE - len(end), PIECE):
            writer.write(b"x" * min(PIECE, SIZE - len(end) - at))
            await writer.drain()
        writer.write(end)
        answer = await reader.read(PIECE)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        grown = (kilobytes(gateway.pid, "VmHWM") - before) * 1024
        writer.close()
        assert received == SIZE
        assert grown < 1.4 * SIZE, f"{grown / SIZE:.2f} times its size"
        assert await gateway.terminate() == 0
    server.close()
