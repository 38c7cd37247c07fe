"""Gentle traffic for a demo: chats of several turns that share prefixes, some streamed, in slow waves.

`python -m gateway.simulator.traffic --url … --rate …`. Errors are taken as they come: a demo shows those too.
What is sent when is pure (`Talk`, `rate_at`); `generate` sends it.
"""

import argparse
import asyncio
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from gateway.simulator.lifetime import until_told_to_end

WAVE_S = 90.0
RIPPLE_S = 17.0
CONCURRENCY = 64
TURNS = 6
TALKS = 24
LOOK_S = 5.0
"""How often to ask which models there are: workers come and go."""
TIMEOUT_S = 120.0

_TEAMS = ("storage", "billing", "search", "mobile", "edge", "data")
_GUIDE = (
    "You are a helpful assistant of the {team} team. Answer from the runbook, name the step you are at, and say so "
    "when you do not know. Never promise a time. Prefer short sentences. "
)
_QUESTIONS = (
    "Why did the queue grow after the deploy?",
    "Which worker is the slowest one and since when?",
    "Explain what a drain does, step by step.",
    "Write a short summary of last night's incident for somebody who was asleep.",
    "How large should the KV cache be for long contexts?",
    "Here is a part of the log. What stands out? " + "request took long, queue was full, retried elsewhere; " * 24,
    "And what would you check next?",
    "Is it safe to restart the oldest replica now?",
)


def rate_at(now: float, mean: float) -> float:
    """Requests a second at a time: a slow wave with a ripple on it, never below a fifth of the mean."""
    wave = 1.0 + 0.6 * math.sin(2 * math.pi * now / WAVE_S) + 0.2 * math.sin(2 * math.pi * now / RIPPLE_S)
    return mean * max(0.2, wave)


@dataclass(slots=True)
class Talk:
    """One conversation. All talks of a team begin with the same long text, and each turn repeats those before."""

    model: str
    messages: list[dict[str, str]]
    turns_left: int
    busy: bool = False

    @classmethod
    def begin(cls, models: Sequence[str], rng: Random) -> "Talk":
        guide = _GUIDE.format(team=rng.choice(_TEAMS)) * 6
        return cls(rng.choice(models), [{"role": "system", "content": guide}], rng.randint(1, TURNS))

    def ask(self, rng: Random) -> dict[str, Any]:
        """The body of the next turn. Most are streamed; lengths vary, most are short."""
        self.busy = True
        self.turns_left -= 1
        self.messages.append({"role": "user", "content": rng.choice(_QUESTIONS)})
        most = 16 + int(min(300.0, rng.expovariate(1 / 70)))
        body: dict[str, Any] = {"model": self.model, "messages": list(self.messages), "max_tokens": most}
        if rng.random() < 0.7:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def heard(self, said: str | None) -> None:
        """The turn's answer; None if there was none, which ends the talk."""
        self.busy = False
        if said is None:
            self.turns_left = 0
        else:
            self.messages.append({"role": "assistant", "content": said})


@dataclass(slots=True)
class Tally:
    """What came of it."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    """Errors of the server and of the connection."""
    statuses: dict[int, int] = field(default_factory=dict)


async def generate(
    base_url: str,
    *,
    rate_per_s: float,
    rng: Random,
    stop: asyncio.Event,
    models: Sequence[str] = (),
    tally: Tally | None = None,
    rate: Callable[[float, float], float] = rate_at,
) -> None:
    """Send chats to a gateway until `stop` is set; then what is under way is cut off. Without `models`, asks the
    gateway for them, again and again. Never raises for what the gateway does."""
    made = _Generator(base_url.rstrip("/"), rate_per_s, rng, tuple(models), tally or Tally(), rate)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
        jobs = [group.create_task(made.talk(session))]
        if not models:
            jobs.append(group.create_task(made.look(session)))
        await stop.wait()
        for job in jobs:
            job.cancel()


class _Generator:
    def __init__(
        self,
        url: str,
        rate_per_s: float,
        rng: Random,
        models: tuple[str, ...],
        tally: Tally,
        rate: Callable[[float, float], float],
    ) -> None:
        self._url = url
        self._rate_per_s = rate_per_s
        self._rate = rate
        self._rng = rng
        self._models = models
        self._tally = tally
        self._talks: list[Talk] = []
        self._room = asyncio.Semaphore(CONCURRENCY)

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Keep the models known."""
        while True:
            try:
                async with session.get(f"{self._url}/v1/models") as answer:
                    self._models = tuple(str(card["id"]) for card in (await answer.json())["data"])
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError):
                pass  # asked again soon; meanwhile what was known stays
            await asyncio.sleep(LOOK_S if self._models else 0.5)

    async def talk(self, session: aiohttp.ClientSession) -> None:
        """Send turns at random moments, at the rate of the moment. When all places are taken, it waits."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as turns:
            while True:
                await asyncio.sleep(self._rng.expovariate(max(0.01, self._rate(loop.time(), self._rate_per_s))))
                if not self._models:
                    continue
                await self._room.acquire()
                talk = self._next()
                turns.create_task(self._turn(session, talk, talk.ask(self._rng)))

    def _next(self) -> Talk:
        """A talk that goes on, or a new one."""
        self._talks = [talk for talk in self._talks if talk.turns_left > 0 and talk.model in self._models]
        resting = [talk for talk in self._talks if not talk.busy]
        if resting and (len(self._talks) >= TALKS or self._rng.random() < 0.75):
            return self._rng.choice(resting)
        talk = Talk.begin(self._models, self._rng)
        self._talks.append(talk)
        return talk

    async def _turn(self, session: aiohttp.ClientSession, talk: Talk, body: dict[str, Any]) -> None:
        self._tally.sent += 1
        said: str | None = None
        try:
            async with session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
                self._tally.statuses[answer.status] = self._tally.statuses.get(answer.status, 0) + 1
                whole = await answer.read()
            said = spoken(whole, streamed="stream" in body) if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            pass
        finally:
            talk.heard(said)
            self._tally.answered += said is not None
            self._tally.failed += said is None
            self._room.release()


def spoken(answer: bytes, *, streamed: bool) -> str | None:
    """The text in a chat completion, or None if there is none."""
    parts = [answer]
    if streamed:
        lines = answer.split(b"\n")
        parts = [line[6:] for line in lines if line.startswith(b"data: ") and line != b"data: [DONE]"]
    try:
        choices = [choice for part in parts for choice in json.loads(part)["choices"]]
        texts = [choice["delta" if streamed else "message"].get("content") or "" for choice in choices]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return "".join(texts) if choices else None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m gateway.simulator.traffic", description="Chat traffic for a gateway.")
    made.add_argument("--url", required=True, help="the gateway's base URL")
    made.add_argument("--rate", type=float, default=5.0, help="requests a second, on average")
    made.add_argument("--models", nargs="*", default=(), help="default: what the gateway lists")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--parent-pid", type=int, default=0, help="end when this process is gone")
    return made


async def main(options: argparse.Namespace) -> None:
    """Chat until a signal comes, or the parent goes."""
    stop = asyncio.Event()

    async def end() -> None:
        await until_told_to_end(options.parent_pid)
        stop.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(end())
        await generate(
            options.url, rate_per_s=options.rate, rng=Random(options.seed), stop=stop, models=tuple(options.models)
        )


if __name__ == "__main__":
    asyncio.run(main(parser().parse_args()))
