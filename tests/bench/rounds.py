"""Rounds: every gateway of a setup runs at the same time, and each round loads one after the other.

The order turns from round to round, so that none always runs first. Void rounds are kept, with their reason.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby

from tests.bench.cases import Case
from tests.bench.gateways import KINDS, Gateway, Unavailable
from tests.bench.load import ask, run_wrk
from tests.bench.processes import Workers, cpu_s, rss_mb
from tests.bench.results import DIRECT, Sample

Say = Callable[[str], None]
WARM_UP_S = 1.0


def measure_all(cases: Sequence[Case], names: Sequence[str], rounds: int, seconds: float, say: Say) -> Iterator[Sample]:
    """Every sample as it is taken; cases of one setup share their gateways."""
    ordered = sorted(cases, key=lambda case: case.setup)
    for (count, policy), group in groupby(ordered, key=lambda case: case.setup):
        with ExitStack() as stack:
            workers = stack.enter_context(Workers(count))
            gateways = _started(stack, names, workers, policy, say)
            if gateways:
                yield from _measure(list(group), gateways, workers, rounds, seconds, say)


def _started(stack: ExitStack, names: Sequence[str], workers: Workers, policy: str, say: Say) -> list[Gateway]:
    """Those of the gateways that take part."""
    gateways: list[Gateway] = []
    timeout_s = 60 + 0.2 * len(workers.ports)
    for name in names:
        try:
            gateway = stack.enter_context(Gateway(KINDS[name], workers.urls, policy))
            gateway.ready(workers, timeout_s)
        except Unavailable as error:
            say(f"skipped with policy {policy}, {len(workers.ports)} workers: {error}")
        else:
            gateways.append(gateway)
    return gateways


def _measure(
    cases: Sequence[Case], gateways: list[Gateway], workers: Workers, rounds: int, seconds: float, say: Say
) -> Iterator[Sample]:
    for case in cases:
        for gateway in gateways:
            run_wrk(gateway.url, case.exchange, case.connections, WARM_UP_S)
    for number in range(rounds):
        for case in cases:
            turn = number % len(gateways)
            for gateway in (*gateways[turn:], *gateways[:turn]):
                yield _told(sample(case, gateway, number, seconds), say)
            if case.latency_goal:
                run = run_wrk(workers.urls[0], case.exchange, case.connections, seconds)
                yield _told(
                    Sample(case.name, DIRECT, number, 0.0, run.rate, run.p50_us, run.p99_us, 0.0, run.void), say
                )


def _told(found: Sample, say: Say) -> Sample:
    told = f"VOID: {found.void}" if found.void else f"{found.cpu_us:7.1f} us/req {found.rate:8.0f} req/s"
    say(f"round {found.round + 1}  {found.case:16} {found.gateway:14} {told}")
    return found


def sample(case: Case, gateway: Gateway, number: int, seconds: float) -> Sample:
    """One gateway in one round: an answer checked in full, then load, and the CPU time it cost."""
    try:
        ask(gateway.url, case.exchange)
    except (OSError, ValueError) as error:
        return Sample(case.name, gateway.name, number, void=f"wrong answer: {error}")
    before = cpu_s(gateway.pid)
    run = run_wrk(gateway.url, case.exchange, case.connections, seconds)
    if gateway.returncode is not None:
        return Sample(case.name, gateway.name, number, void=f"it ended with exit code {gateway.returncode}")
    cpu_us = (cpu_s(gateway.pid) - before) / max(1, run.requests) * 1e6
    memory = rss_mb(gateway.pid)
    return Sample(case.name, gateway.name, number, cpu_us, run.rate, run.p50_us, run.p99_us, memory, run.void)
