"""`python -m tests.bench.policies`: what our routing policies gain on simulated engines, with one seeded workload each.

Four engines of which one is three times slower, near 60 % of their capacity: the 99th percentile of the time to the
first token must be lower with power_of_two and least_load than with round_robin. Prompts that share long beginnings:
cache_aware must find at least 1.5 times as much in the engines' prefix caches as random. Engines are fresh for each
policy. A policy that the gateway does not know is skipped with a line.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from typing import Any

import aiohttp

from gateway.simulator.process import SimulatorProcess
from tests.bench.gateways import KINDS, OURS, Gateway, Unavailable
from tests.bench.paced import percentile
from tests.bench.processes import LOAD_CORE, pinned

MODEL = "sim-model"
SPEED = 4.0
SPEEDS = (SPEED, SPEED, SPEED, SPEED / 3)
SLOW_RATE, SLOW_BODIES = 0.6, (40, 3000, 16, 160)
"""Share of the capacity; prompt words and answer tokens, least and most."""
BATCH_TOKENS_S, PREFILL_TOKENS_S = 627.0, 8000.0
"""What an engine of speed 1 decodes with a full batch of 32, and prefills (see EngineSettings)."""
PREFIXES, PREFIX_WORDS, CACHE_TOKENS = 32, 1500, 24_000
"""An engine's cache holds about half of the prefixes: who spreads them over all engines has each evicted."""
GAIN = 1.5


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: when it is due (seconds from the start), what it says, how long its answer may be."""

    at_s: float
    text: str
    answer: int
    stream: bool


def capacity_per_s(speeds: Sequence[float], prompt: float, answer: float) -> float:
    """Requests a second that engines of these speeds sustain, with mean lengths in tokens."""
    return sum(speeds) / (prompt / PREFILL_TOKENS_S + answer / BATCH_TOKENS_S)


def mixed_load(rng: Random, seconds: float) -> list[Ask]:
    """Prompts and answers of all lengths, most of them short, near the share of the capacity that is wanted."""
    low, high, short, long = SLOW_BODIES
    mean_prompt, mean_answer = low + (high - low) / 3, short + (long - short) / 2
    rate = SLOW_RATE * capacity_per_s(SPEEDS, mean_prompt, mean_answer)
    asks: list[Ask] = []
    at = rng.expovariate(rate)
    while at < seconds:
        words = low + int((high - low) * rng.random() ** 2)
        text = f"{rng.getrandbits(40):010x} " + "lorem " * words
        asks.append(Ask(at, text, rng.randint(short, long), stream=rng.random() < 0.8))
        at += rng.expovariate(rate)
    return asks


def shared_load(rng: Random, seconds: float) -> list[Ask]:
    """Each prompt begins with one of several long texts and ends differently."""
    prefixes = [" ".join(f"w{rng.getrandbits(24):06x}" for _ in range(PREFIX_WORDS)) for _ in range(PREFIXES)]
    rate = 20.0
    return [
        Ask(n / rate, f"{rng.choice(prefixes)} question {rng.getrandbits(32)}", 8, stream=False)
        for n in range(int(seconds * rate))
    ]


@dataclass(slots=True)
class Outcome:
    """What came of one policy's run. Times to the first token in seconds; the share of prompt tokens from caches."""

    policy: str
    first_s: list[float]
    failed: int = 0
    cached: float = 0.0

    @property
    def p99_s(self) -> float:
        return percentile(sorted(self.first_s), 0.99)

    def text(self) -> str:
        times = sorted(self.first_s)
        if times:
            told = f"TTFT p50 {percentile(times, 0.5):.3f} s  p99 {self.p99_s:.3f} s"
        else:
            told = f"from the prefix cache {self.cached:.1%}"
        return f"{self.policy:14} {told}" + (f"  {self.failed} FAILED" if self.failed else "")


Outcomes = dict[str, Outcome]


async def run_policy(policy: str, asks: Sequence[Ask], flags: Sequence[Sequence[str]]) -> Outcome:
    """The workload through a gateway with this policy over fresh engines. Raises Unavailable."""
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(SimulatorProcess(*each)) for each in flags]
        gateway = stack.enter_context(Gateway(KINDS[OURS], [engine.url for engine in engines], policy))
        timeout = aiohttp.ClientTimeout(total=60)
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))
        await _serving(gateway, session, len(engines))
        outcome = Outcome(policy, [])
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for ask in asks:
                await asyncio.sleep(max(0.0, began + ask.at_s - time.monotonic()))
                group.create_task(_ask(session, gateway.url, ask, outcome))
        stats = [await engine.stats() for engine in engines]
        seen = sum(each["cache_seen_tokens"] for each in stats)
        outcome.cached = sum(each["cache_hit_tokens"] for each in stats) / seen if seen else 0.0
        return outcome


async def _serving(gateway: Gateway, session: aiohttp.ClientSession, workers: int) -> None:
    """Wait until all of the workers are ready."""
    deadline = time.monotonic() + 30
    ready = 0
    while ready < workers:
        if gateway.returncode is not None:
            raise Unavailable(gateway.output().strip().splitlines()[-1])
        if time.monotonic() > deadline:
            raise RuntimeError(f"{ready} of {workers} workers were ready in time")
        await asyncio.sleep(0.1)
        try:
            async with session.get(f"{gateway.url}/workers") as answer:
                listed = (await answer.json())["workers"]
        except aiohttp.ClientError:
            continue
        ready = sum(worker["state"] == "ready" for worker in listed)


async def _ask(session: aiohttp.ClientSession, url: str, ask: Ask, outcome: Outcome) -> None:
    body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": ask.text}], "stream": ask.stream}
    began = time.monotonic()
    first: float | None = None
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body | {"max_tokens": ask.answer}) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if first is None and line.startswith(b"data: ") and _says_something(line):
                    first = time.monotonic() - began
    except (aiohttp.ClientError, TimeoutError):
        outcome.failed += 1
        return
    if ask.stream and first is None:
        outcome.failed += 1
    elif first is not None:
        outcome.first_s.append(first)


def _says_something(line: bytes) -> bool:
    if line.startswith(b"data: [DONE]"):
        return False
    choices = json.loads(line[6:]).get("choices")
    return bool(choices and choices[0].get("delta", {}).get("content"))


async def compare(title: str, policies: Sequence[str], asks: Sequence[Ask], flags: Sequence[Sequence[str]]) -> Outcomes:
    """The outcomes by policy; those that the gateway refuses are left out with a line."""
    print(f"\n{title}: {len(asks)} requests over {asks[-1].at_s:.0f} s", flush=True)
    found: dict[str, Outcome] = {}
    for policy in policies:
        try:
            found[policy] = await run_policy(policy, asks, flags)
        except Unavailable as refused:
            if "--policy" not in str(refused):
                raise
            print(f"{policy:14} skipped: {refused}", flush=True)
        else:
            print(found[policy].text(), flush=True)
    return found


def slow_verdicts(found: Outcomes) -> list[tuple[str, bool]]:
    """Whether those that look at load beat the one that does not."""
    base = found.get("round_robin")
    others = [outcome for outcome in found.values() if base is not None and outcome is not base]
    return [
        (f"p99 TTFT {other.policy} / round_robin {other.p99_s / base.p99_s:.2f}, goal < 1", other.p99_s < base.p99_s)
        for other in others
        if base is not None and base.p99_s
    ]


def cache_verdicts(found: Outcomes) -> list[tuple[str, bool]]:
    """Whether cache_aware finds enough more than random."""
    if not {"cache_aware", "random"} <= found.keys() or not found["random"].cached:
        return []
    gain = found["cache_aware"].cached / found["random"].cached
    return [(f"prefix cache hits cache_aware / random {gain:.2f}, goal >= {GAIN}", gain >= GAIN)]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m tests.bench.policies", description=__doc__)
    made.add_argument("--part", action="append", choices=["slow", "cache"], help="one part (default: both)")
    made.add_argument("--seconds", type=float, default=40.0, help="of each policy's run [40]")
    made.add_argument("--seed", type=int, default=1, help="of the workload [1]")
    return made


async def measure(parts: Sequence[str], seconds: float, seed: int) -> int:
    """Exit code 1 if a goal was missed or a request failed."""
    verdicts: list[tuple[str, bool]] = []
    if "slow" in parts:
        engines = [["--speed", str(speed)] for speed in SPEEDS]
        asks = mixed_load(Random(seed), seconds)
        found = await compare("one of four slower", ("round_robin", "power_of_two", "least_load"), asks, engines)
        verdicts += slow_verdicts(found) + _whole(found)
    if "cache" in parts:
        engines = [["--speed", "10", "--kv-tokens", str(CACHE_TOKENS)] for _ in range(4)]
        asks = shared_load(Random(seed), seconds)
        found = await compare("shared prefixes", ("random", "cache_aware"), asks, engines)
        verdicts += cache_verdicts(found) + _whole(found)
    print()
    for text, met in verdicts:
        print(f"{'met   ' if met else 'MISSED'} {text}")
    return 0 if all(met for _, met in verdicts) else 1


def _whole(found: Outcomes) -> list[tuple[str, bool]]:
    return [(f"{each.policy}: {each.failed} requests failed", False) for each in found.values() if each.failed]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    pinned(LOAD_CORE)  # engines inherit it
    os.environ["NO_PROXY"] = "*"
    try:
        return asyncio.run(measure(options.part or ["slow", "cache"], options.seconds, options.seed))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
