"""`python -m tests.bench.soak --minutes 30 --connections 1000`: does anything grow, leak or complain over time.

Mixed traffic at about half of what the gateway can carry here: JSON, streams, requests their client leaves, large
bodies, errors, and GET and HEAD on control routes. Fails if resident memory grew by more than 5 MB after the
warm-up (a fifth of the time), if descriptors stay open after the clients left, if an answer was not the expected
one, or if the gateway wrote of a coroutine never awaited, a task destroyed, or a traceback.
"""

import argparse
import asyncio
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import median

from tests.bench.client import Answer, Caller, Gone, request_bytes
from tests.bench.gateways import KINDS, OURS, Gateway
from tests.bench.load import PATH, chat_body
from tests.bench.processes import LOAD_CORE, Workers, cpu_s, pinned, status_of
from tests.bench.workers import ANSWER_BYTES, APART, FAILS

GROWTH_MB, SLACK_DESCRIPTORS = 5.0, 4
WARM_UP, WARM_UP_S = 0.2, 120.0
"""The share of the time that is warm-up; at least two minutes (but half of a short run), as long as pools and the
allocator's arenas take to find their size."""
SHARE = 0.5
"""Of the gateway's core that the traffic is to take."""
CALIBRATION_S, CALIBRATION_RATE, MOST_RATE = 6.0, 300.0, 3000.0
WORKERS = 4
AFTERWARDS_S = 20.0
"""How long descriptors may take to close: pools keep idle connections for some seconds."""
BAD_WORDS = ("never awaited", "Task was destroyed", "Traceback")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request: how often, what is sent, and what a good answer is."""

    name: str
    weight: int
    request: bytes
    status: int = 200
    least_bytes: int = 0
    leaves: bool = False
    """The client leaves before the answer is complete."""


def _chat(size: int, *, stream: bool = False, user: str = "") -> bytes:
    return request_bytes("POST", PATH, chat_body(size, stream=stream, user=user))


KINDS_OF_TRAFFIC = (
    Kind("json", 58, _chat(1024), least_bytes=ANSWER_BYTES),
    Kind("stream", 8, _chat(1024, stream=True), least_bytes=6400),
    Kind("stream apart", 4, _chat(1024, stream=True, user=APART), least_bytes=6400),
    Kind("left", 5, _chat(1024, stream=True, user=APART), leaves=True),
    Kind("large body", 4, _chat(100 * 1024), least_bytes=ANSWER_BYTES),
    Kind("worker's error", 4, _chat(1024, user=FAILS), status=400),
    Kind("not JSON", 3, request_bytes("POST", PATH, b'{"model": '), status=400),
    Kind("unknown model", 3, request_bytes("POST", PATH, b'{"model": "nobody", "messages": []}'), status=404),
    Kind("unknown URL", 2, request_bytes("GET", "/nowhere"), status=404),
    Kind("GET workers", 3, request_bytes("GET", "/workers"), least_bytes=100),
    Kind("GET models", 3, request_bytes("GET", "/v1/models"), least_bytes=10),
    Kind("HEAD health", 3, request_bytes("HEAD", "/health")),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """The gateway at one moment, seconds after the clients came."""

    at_s: float
    rss_mb: float
    descriptors: int
    threads: int


@dataclass(slots=True)
class Tally:
    """What the clients saw."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    rate: float = 0.0
    """Requests a second of all clients together; may be changed while they run."""


def growth_mb(readings: Sequence[Reading], seconds: float) -> float | None:
    """By how much resident memory grew after the warm-up: the median of the last fifth of the readings less that
    of the first fifth. None for too few readings."""
    warm_up_s = max(seconds * WARM_UP, min(WARM_UP_S, seconds / 2))
    warm = [reading.rss_mb for reading in readings if reading.at_s >= warm_up_s]
    some = max(1, len(warm) // 5)
    return median(warm[-some:]) - median(warm[:some]) if len(warm) >= 3 else None


def complaints(log: str) -> list[str]:
    """Lines that no gateway should write."""
    return [line for line in log.splitlines() if any(words in line for words in BAD_WORDS)]


# --- traffic ---


async def client(url: str, rng: Random, connections: int, tally: Tally, stop: asyncio.Event) -> None:
    """One client connection, opened again whenever it is gone."""
    weights = [kind.weight for kind in KINDS_OF_TRAFFIC]
    caller: Caller | None = None
    while not stop.is_set():
        await asyncio.sleep(min(5.0, rng.expovariate(tally.rate / connections)))
        (kind,) = rng.choices(KINDS_OF_TRAFFIC, weights)
        try:
            if caller is None or caller.closed:
                caller = await Caller.connect(url)
            await _ask(caller, kind, rng, tally)
        except (Gone, OSError) as error:
            tally.wrong[f"{kind.name}: {error!r}"] += 1
            caller = None
    if caller is not None:
        caller.close()


async def _ask(caller: Caller, kind: Kind, rng: Random, tally: Tally) -> None:
    try:
        async with asyncio.timeout(rng.uniform(0.0, 0.01) if kind.leaves else 30.0):
            answer = await caller.ask(kind.request)
    except TimeoutError:
        if kind.leaves:
            tally.done[kind.name] += 1
        else:
            tally.wrong[f"{kind.name}: no answer within 30 s"] += 1
        return
    tally.done[kind.name] += 1
    if not _good(answer, kind):
        tally.wrong[f"{kind.name}: status {answer.status}, {answer.size} bytes"] += 1


def _good(answer: Answer, kind: Kind) -> bool:
    return answer.status == kind.status and (kind.leaves or answer.size >= kind.least_bytes)


# --- measuring ---


def read(pid: int, at_s: float) -> Reading:
    status = status_of(pid)
    return Reading(at_s, status["rss_kb"] / 1024, status["descriptors"], status["threads"])


async def watch(gateway: Gateway, tally: Tally, seconds: float, wanted_rate: float | None) -> list[Reading]:
    """Find the rate, then read the gateway again and again until the time is over."""
    began = time.monotonic()
    before = cpu_s(gateway.pid)
    await asyncio.sleep(CALIBRATION_S)
    share = (cpu_s(gateway.pid) - before) / CALIBRATION_S
    tally.rate = wanted_rate or min(MOST_RATE, CALIBRATION_RATE * SHARE / max(share, 0.01))
    print(f"{CALIBRATION_RATE:.0f} requests/s take {share:.0%} of a core; going on with {tally.rate:.0f}/s", flush=True)
    pause_s = min(10.0, seconds / 30)
    readings: list[Reading] = []
    while (at := time.monotonic() - began) < seconds and gateway.returncode is None:
        readings.append(read(gateway.pid, at))
        if len(readings) % 6 == 1:
            told = readings[-1]
            threads = f"{told.descriptors} descriptors, {told.threads} threads"
            print(f"{at:7.0f} s  {told.rss_mb:6.1f} MB  {threads}, {tally.done.total()} requests", flush=True)
        await asyncio.sleep(pause_s)
    return readings


async def run(options: argparse.Namespace, gateway: Gateway) -> list[str]:
    """The soak; returns what failed."""
    seconds = options.minutes * 60
    at_rest = read(gateway.pid, 0.0)
    tally, stop, rng = Tally(rate=CALIBRATION_RATE), asyncio.Event(), Random(options.seed)
    async with asyncio.TaskGroup() as group:
        for _ in range(options.connections):
            group.create_task(client(gateway.url, Random(rng.random()), options.connections, tally, stop))
        readings = await watch(gateway, tally, seconds, options.rate)
        stop.set()
    failures = [f"{count} times {what}" for what, count in tally.wrong.most_common(10)]
    if gateway.returncode is not None:
        return [*failures, f"the gateway ended with exit code {gateway.returncode}: {gateway.output()[-500:]}"]
    grown = growth_mb(readings, seconds)
    after = await _left_behind(gateway, at_rest)
    print(", ".join(f"{count} {name}" for name, count in tally.done.most_common()))
    print(f"resident memory: {at_rest.rss_mb:.1f} MB at rest, grew by {grown or 0:+.1f} MB after the warm-up")
    print(
        f"descriptors: {at_rest.descriptors} at rest, {max(r.descriptors for r in readings)} most, {after} afterwards"
    )
    print(f"threads: {at_rest.threads} at rest, {max(r.threads for r in readings)} most")
    if grown is None:
        failures.append("the run was too short to tell growth")
    elif grown > GROWTH_MB:
        failures.append(f"resident memory grew by {grown:.1f} MB, more than {GROWTH_MB:g}")
    if after > at_rest.descriptors + SLACK_DESCRIPTORS:
        failures.append(f"{after - at_rest.descriptors} descriptors more than before, {AFTERWARDS_S:g} s after the end")
    return failures


async def _left_behind(gateway: Gateway, at_rest: Reading) -> int:
    """Open descriptors once they are back to what they were, or time is up."""
    found = 0
    for _ in range(int(AFTERWARDS_S / 0.5)):
        found = read(gateway.pid, 0.0).descriptors
        if found <= at_rest.descriptors:
            break
        await asyncio.sleep(0.5)
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m tests.bench.soak", description=__doc__)
    made.add_argument("--minutes", type=float, default=30.0)
    made.add_argument("--connections", type=int, default=1000)
    made.add_argument("--rate", type=float, help="requests a second of all together (default: half a core's worth)")
    made.add_argument("--seed", type=int, default=1)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 if anything failed."""
    import uvloop

    options = parser().parse_args(arguments)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    pinned(LOAD_CORE)
    try:
        with Workers(WORKERS) as workers, Gateway(KINDS[OURS], workers.urls, "power_of_two") as gateway:
            gateway.ready(workers, 60)
            failures = uvloop.run(run(options, gateway))
            gateway.end(20)
            failures += complaints(gateway.output(1 << 30))
    except KeyboardInterrupt:
        return 130
    for failure in failures:
        print(f"FAILED {failure}")
    print("passed" if not failures else f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
