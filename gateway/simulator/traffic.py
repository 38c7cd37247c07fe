"""Gentle traffic for a demo: chats of several turns that share prefixes, some streamed, in slow waves.

`python -m gateway.simulator.traffic --url … --rate …`. Errors are taken as they come: a demo shows those too.
"""

import argparse
import asyncio
import math
import signal
from random import Random

import aiohttp

from gateway.simulator.__main__ import end_with

WAVE_S = 45.0
CONCURRENCY = 64
SYSTEM = "You are a helpful assistant of an operations team. " * 12
QUESTIONS = (
    "Why did the queue grow after the deploy?",
    "Which worker is the slowest one and since when?",
    "Explain what a drain does, step by step.",
    "Write a short summary of last night's incident.",
    "How large should the KV cache be for long contexts?",
)


class Chatter:
    """Sends requests to a gateway at about `rate` a second."""

    def __init__(self, url: str, rate: float, seed: int) -> None:
        self._url = url
        self._rate = rate
        self._rng = Random(seed)
        self._room = asyncio.Semaphore(CONCURRENCY)
        self._chats: list[list[dict[str, str]]] = []

    async def run(self) -> None:
        """Send until cancelled."""
        loop = asyncio.get_running_loop()
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            models: list[str] = []
            while True:
                models = models or await self._models(session)
                wave = 1.0 + 0.7 * math.sin(2 * math.pi * loop.time() / WAVE_S)
                await asyncio.sleep(self._rng.expovariate(max(0.05, self._rate * wave)))
                await self._room.acquire()
                if models:
                    group.create_task(self._ask(session, self._rng.choice(models)))
                else:
                    self._room.release()
                if self._rng.random() < 0.02:
                    models = []  # look again: workers come and go

    async def _models(self, session: aiohttp.ClientSession) -> list[str]:
        try:
            async with session.get(f"{self._url}/v1/models") as answer:
                return [card["id"] for card in (await answer.json())["data"]]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
            return []

    async def _ask(self, session: aiohttp.ClientSession, model: str) -> None:
        rng = self._rng
        if len(self._chats) < 12 or rng.random() < 0.2:
            self._chats.append([{"role": "system", "content": SYSTEM + f"Team {rng.randrange(6)}."}])
            del self._chats[:-24]
        chat = rng.choice(self._chats)
        messages = [*chat[-8:], {"role": "user", "content": rng.choice(QUESTIONS)}]
        body = {
            "model": model,
            "messages": messages,
            "max_tokens": int(min(400, 8 + rng.expovariate(1 / 60))),
            "stream": rng.random() < 0.7,
        }
        try:
            async with session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
                async for _ in answer.content.iter_any():
                    pass
            chat.append(messages[-1])
        except (aiohttp.ClientError, TimeoutError):
            pass
        finally:
            self._room.release()


async def main(options: argparse.Namespace) -> None:
    """Chat until a signal comes, or the parent goes."""
    until = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, until.set)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(end_with(options.parent_pid, until)),
            group.create_task(Chatter(options.url, options.rate, options.seed).run()),
        ]
        await until.wait()
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    made = argparse.ArgumentParser("python -m gateway.simulator.traffic", description="Chat traffic for a gateway.")
    made.add_argument("--url", required=True, help="the gateway's base URL")
    made.add_argument("--rate", type=float, default=5.0, help="requests a second, on average")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--parent-pid", type=int, default=0)
    asyncio.run(main(made.parse_args()))
