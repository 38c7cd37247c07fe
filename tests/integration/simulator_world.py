"""What the simulator's tests share: one engine process for many tests, a raw HTTP client, and waiting."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from gateway.simulator.process import SimulatorProcess

MODEL = "sim-model"
QUESTION = [{"role": "user", "content": "What does a drain do?"}]


async def until(condition: Callable[[], Awaitable[Any]], wanted: str, timeout_s: float = 10.0) -> Any:
    """The condition's value once it is true; it lives in another process, so it is polled."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while not (value := await condition()):
        assert loop.time() < end, f"waited {timeout_s:g} s for {wanted}; last seen: {value!r}"
        await asyncio.sleep(0.02)
    return value


@asynccontextmanager
async def client(base: str, **headers: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that does not hide anything: no retries of its own."""
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(base, headers=headers, timeout=timeout) as session:
        yield session


async def call(session: aiohttp.ClientSession, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and decoded JSON (or text)."""
    async with session.request(method, path, json=body) as answer:
        text = await answer.text()
        try:
            return answer.status, json.loads(text)
        except json.JSONDecodeError:
            return answer.status, text


async def stream(session: aiohttp.ClientSession, path: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream, decoded; the last one, if it is [DONE], is checked and left out."""
    async with session.post(path, json={**body, "stream": True}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        lines = (await answer.read()).decode().split("\n\n")
    assert lines.pop() == ""
    events = [line.partition("data: ")[2] for line in lines]
    if events[-1] == "[DONE]":
        events.pop()
    return [json.loads(event) for event in events]


def chat(limit: int = 16, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": QUESTION, "max_tokens": limit, **more}


async def settled(engine: SimulatorProcess) -> dict[str, Any]:
    """The engine's counters once nothing runs or waits."""

    async def idle() -> dict[str, Any] | None:
        stats = await engine.stats()
        return stats if not stats["running"] and not stats["waiting"] else None

    found: dict[str, Any] = await until(idle, "the engine to be idle")
    return found
