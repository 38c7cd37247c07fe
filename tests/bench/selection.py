"""`python -m tests.bench.selection`: what a choice costs, by policy and size of the fleet, in one process.

Measures the policies alone, without sockets: mean and worst time of `choose`, what following the meters adds to
each request, what a change of the fleet costs, and for `cache_aware` time and memory with a full tree of prompts
that share system prompts. Prints a table; `--json FILE` writes what was measured ("-": to standard output).
"""

import argparse
import gc
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random

from gateway.routing.cache_aware import CacheAware
from gateway.routing.policies import POLICY_NAMES, make_policy
from gateway.routing.policy import Policy, Query
from gateway.routing.settings import RoutingSettings
from gateway.workers.entry import Entry
from gateway.workers.meters import EngineLoad, Outcome
from gateway.workers.model import State, Worker, WorkerId, WorkerSpec

NOW = 1000.0
WORDS = ("the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not")
PROMPT = 4096
SYSTEM_PROMPTS = 20
GOALS_US = {"least_load": 50.0, "cache_aware": 60.0, "bucket": 60.0}
GOAL_US = 5.0


def _clock_s() -> float:
    """What reading the clock twice adds to a measurement."""
    began = time.thread_time()
    for _ in range(20_000):
        time.thread_time()
    return (time.thread_time() - began) / 20_000


CLOCK_S = _clock_s()


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. Times in microseconds."""

    what: str
    fleet: int
    mean_us: float
    worst_us: float
    goal_us: float | None = None


class Prompts:
    """Endless chat prompts of about 4 KB: one of some system prompts (1 to 2 KB), then text of their own."""

    def __init__(self, rng: Random) -> None:
        self._rng, self._number = rng, 0
        self._soup = " ".join(rng.choices(WORDS, k=400_000))
        self._systems = [self.piece(rng.randrange(1024, 2048)) for _ in range(SYSTEM_PROMPTS)]

    def piece(self, length: int) -> str:
        """Text that no other piece begins like."""
        self._number += 1
        at = self._rng.randrange(len(self._soup) - length)
        return f"{self._number} {self._soup[at : at + length]}"

    def fresh(self) -> str:
        system = self._rng.choice(self._systems)
        return f"system {system} user {self.piece(PROMPT - len(system))}"


def fleet(count: int, rng: Random, *, uneven: bool = False, busy: int = 0) -> tuple[Entry, ...]:
    """Ready workers with a fresh report and some requests in flight."""
    made = []
    for number in range(count):
        spec = WorkerSpec(
            f"http://10.0.{number // 250}.{number % 250}:8000", priority=40 + number % 21 if uneven else 50
        )
        one = Entry(Worker(WorkerId(f"id{number}"), f"w{number}", spec, 1, State.READY, 0.0, 0.0, ""))
        for _ in range(rng.randrange(8) + busy):
            one.meters.began()
        one.load = EngineLoad(NOW, running=4, waiting=rng.randrange(3), kv_usage=rng.random(), throughput=3000.0)
        made.append(one)
    return tuple(made)


def timed(policy: Policy, candidates: tuple[Entry, ...], queries: Iterator[Query], calls: int, *, work: bool) -> Row:
    """Time `choose` by this thread's CPU time, so that other programs do not show. `work`: each request begins where
    it was sent, and one that began earlier ends."""
    clock, took, worst, under_way = time.thread_time, 0.0, 0.0, deque[Entry]()
    for query in islice(queries, calls):
        began = clock()
        chosen = policy.choose(candidates, query, NOW)
        spent = clock() - began
        took += spent
        worst = max(worst, spent)
        if work:
            chosen.meters.began()
            under_way.append(chosen)
            if len(under_way) > len(candidates):
                under_way.popleft().meters.ended(Outcome.OK, 0.1, NOW)
    for one in under_way:
        one.meters.ended(Outcome.OK, 0.1, NOW)
    mean = max(0.0, took / calls - CLOCK_S)
    return Row(policy.name, len(candidates), mean * 1e6, worst * 1e6)


def each_policy(rng: Random, calls: int) -> list[Row]:
    rows = []
    prompts = Prompts(rng)
    queries = [
        Query(
            "m", text=prompts.piece(PROMPT), size=rng.randrange(200, 20_000), key=f"user-{n % 500}", caller=f"c{n % 50}"
        )
        for n in range(1000)
    ]
    for name in POLICY_NAMES:
        for count, uneven in ((2, False), (100, False), (1000, False), (1000, True)):
            policy, candidates = make_policy(name, rng), fleet(count, rng, uneven=uneven)
            timed(policy, candidates, iter(queries), len(queries), work=True)
            row = timed(policy, candidates, cycle(queries), calls, work=True)
            goal = GOALS_US.get(name, GOAL_US) if count == 1000 else None
            rows.append(Row(name + (", uneven weights" if uneven else ""), count, row.mean_us, row.worst_us, goal))
    return rows


def changes(rng: Random) -> list[Row]:
    """The first choice after a worker joined, and after a fact that changed nothing for the policy."""
    rows = []
    for name in POLICY_NAMES:
        policy, candidates = make_policy(name, rng), fleet(1000, rng)
        queries = cycle([Query("m", text="Hello, world. " * 20, size=100, key="k", caller="c")])
        began = time.thread_time()
        policy.choose(candidates[:999], next(queries), NOW)
        first = time.thread_time() - began
        timed(policy, candidates[:999], queries, 2000, work=False)
        joined = timed(policy, candidates, queries, 1, work=False).mean_us
        same = timed(policy, (*candidates,), queries, 1, work=False).mean_us
        rows.append(Row(f"{name}: very first choice", 1000, first * 1e6, first * 1e6))
        rows.append(Row(f"{name}: a worker joined", 1000, joined, joined))
        rows.append(Row(f"{name}: another fact", 1000, same, same))
    return rows


def mirrors(rng: Random, calls: int) -> list[Row]:
    """What `began` and `ended` cost together, followed by no board, and by those of some policies."""
    rows = []
    for names in ((), ("least_load",), ("cache_aware",), ("least_load", "cache_aware")):
        candidates = fleet(10, rng)
        policies = [make_policy(name, rng) for name in names]
        for policy in policies:
            policy.choose(candidates, Query(), NOW)
        meters = candidates[0].meters
        began = time.thread_time()
        for _ in range(calls):
            meters.began()
            meters.ended(Outcome.CANCELLED, 0.1, NOW)
        each = (time.thread_time() - began) / calls * 1e6
        rows.append(Row(f"began and ended, followed by {' and '.join(names) or 'nobody'}", 10, each, each))
    return rows


def full_tree(rng: Random, calls: int, size: int) -> tuple[list[Row], dict[str, float]]:
    """`cache_aware` with a tree that is full: time by kind of request, and memory."""
    gc.collect()
    before, began = resident_mb(), time.perf_counter()
    prompts, policy = Prompts(rng), CacheAware(RoutingSettings(max_tree_size=size))
    candidates = fleet(1000, rng)
    fresh = [prompts.fresh() for _ in range(1000)]
    base = resident_mb()
    while policy.tree.size < size * 0.999:
        timed(policy, candidates, (Query(text=prompts.fresh()) for _ in range(500)), 500, work=True)
    filled = time.perf_counter() - began
    facts = {"characters": float(policy.tree.size), "prompts": float(policy.tree.ends), "filled_s": filled}
    facts |= {"resident_mb_before": before, "tree_mb": resident_mb() - base}
    rows = []

    def measure(what: str, texts: Callable[[], str], some: tuple[Entry, ...] = candidates) -> None:
        row = timed(policy, some, (Query(text=texts()) for _ in range(calls)), calls, work=True)
        rows.append(
            Row(f"cache_aware, full tree: {what}", len(some), row.mean_us, row.worst_us, GOALS_US["cache_aware"])
        )

    again = cycle(fresh)
    measure("new user text after a shared system prompt", prompts.fresh)
    measure("a prompt it knows", lambda: next(again))
    measure("a conversation that goes on", lambda: next(again) + prompts.piece(200))
    measure("nothing in common", lambda: prompts.piece(PROMPT))
    gc.disable()
    measure("new user text, no garbage collection", prompts.fresh)
    measure("nothing in common, no garbage collection", lambda: prompts.piece(PROMPT))
    gc.enable()
    for one in candidates:
        for _ in range(80):
            one.meters.began()
    measure("all busy, new user text", prompts.fresh)
    for one in candidates[:100]:
        for _ in range(200):
            one.meters.began()
    measure("lopsided load, new user text", prompts.fresh)
    gc.collect()
    facts["tree_mb_after_eviction"] = resident_mb() - base
    for one in candidates[:500]:
        policy.forget(one.worker.id)
    worst = slices = 0.0
    ends = -1
    while ends != policy.tree.ends:
        ends, began = policy.tree.ends, time.thread_time()
        policy.tend(NOW)
        worst, slices = max(worst, time.thread_time() - began), slices + 1
    rows.append(Row("cache_aware: tend after half the fleet left", 1000, worst * 1e6, worst * 1e6, 1000.0))
    facts |= {"slices": slices, "tree_mb_after_half_left": resident_mb() - base}
    began = time.perf_counter()
    gc.collect()
    facts["gc_full_ms"] = (time.perf_counter() - began) * 1e3
    return rows, facts


def resident_mb() -> float:
    """Resident memory of this process; Linux only."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def main() -> int:
    made = argparse.ArgumentParser("python -m tests.bench.selection", description=__doc__)
    made.add_argument("--calls", type=int, default=20_000, help="of each measurement [20000]")
    made.add_argument("--tree", type=int, default=64 * 1024 * 1024, help="characters of the full tree [67108864]")
    made.add_argument("--json", metavar="FILE", help='write what was measured; "-": to standard output')
    options = made.parse_args()
    rng = Random(1)
    rows = each_policy(rng, options.calls) + changes(rng) + mirrors(rng, options.calls * 5)
    tree_rows, facts = full_tree(rng, options.calls, options.tree)
    rows += tree_rows
    told = sys.stderr if options.json == "-" else sys.stdout
    for row in rows:
        goal = f"  goal {row.goal_us:g}{'' if row.mean_us <= row.goal_us else '  MISSED'}" if row.goal_us else ""
        print(f"{row.what:60} {row.fleet:5} {row.mean_us:9.2f} µs, worst {row.worst_us:9.1f}{goal}", file=told)
    print(", ".join(f"{name} {value:,.1f}" for name, value in facts.items()), file=told)
    if options.json:
        text = json.dumps({"rows": [asdict(row) for row in rows], "full_tree": facts}, indent=1)
        print(text) if options.json == "-" else Path(options.json).write_text(text)
    return 1 if any(row.goal_us and row.mean_us > row.goal_us for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
