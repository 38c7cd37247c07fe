"""A fleet with a day behind it: waves of traffic, a spike, a quarter of an hour without the gateway, failures.

Histories are the product's own, filled by formula, so that every picture of them is the same.
"""

from functools import cache
from math import nan, sin

from gateway.proxy.flights import Flight, Stage
from gateway.telemetry.history import MEASURES, SMALL, History
from gateway.telemetry.samples import Measure
from gateway.workers.entry import Probe
from gateway.workers.model import WorkerId
from tests.console.fleet import START, Fleet, busy_fleet

NOW = int(START) + 95
HOUR = 3600
GAP = (NOW - 3 * HOUR, NOW - 3 * HOUR + 900)
SPIKE = (NOW - 140, NOW - 125)


def values_at(second: int, size: float) -> list[float]:
    """What a subject of this size did in a second."""
    age = NOW - second
    wave = 1.0 + 0.6 * sin(second / 47.0) + 0.25 * sin(second / 9.0) + 0.4 * sin(second / 5500.0)
    spike = SPIKE[0] <= second < SPIKE[1]
    rate = max(0.0, size * wave) * (2.4 if spike else 1.0)
    idle = 200 <= age < 215
    told: dict[Measure, float] = {
        Measure.REQUESTS: 0.0 if idle else rate,
        Measure.ERRORS: rate * 0.2 if spike else 0.0,
        Measure.IN_FLIGHT: 0 if idle else round(rate * 0.7 + (30 if spike else 0)),
        Measure.QUEUE: max(0, round(rate * 0.3 - 4 + (60 if spike else 0))),
        Measure.TTFT: nan if idle else 0.11 + 0.03 * wave + (0.3 if spike else 0),
        Measure.TTFT_P99: nan if idle else 0.32 + 0.09 * wave + (0.9 if spike else 0),
        Measure.P50: nan if idle else 0.8 + 0.2 * wave,
        Measure.P95: nan if idle else 1.6 + 0.4 * wave + (1.1 if spike else 0),
        Measure.P99: nan if idle else 2.0 + 0.7 * wave + (2.2 if spike else 0),
        Measure.PROMPT: rate * 310,
        Measure.OUTPUT: rate * 128,
    }
    return [told[measure] for measure in MEASURES]


@cache
def history(size: float, seconds: int, code: str) -> History:
    """Filled once; nothing appends to it later."""
    made = History(code)
    for second in range(NOW - seconds, NOW):
        if not GAP[0] <= second < GAP[1]:
            made.append(second, values_at(second, size))
    return made


def day_fleet() -> Fleet:
    """The busy fleet with a day of history for the whole, and an hour for its models and workers."""
    fleet = busy_fleet()
    fleet.samples.histories = {
        None: history(48.0, 24 * HOUR, "f"),
        "llama-3.1-8b": history(30.0, HOUR, "f"),
        "qwen2.5-14b": history(18.0, HOUR, "f"),
    }
    entries = list(fleet.registry.entries.values())
    for n in range(100):
        entries[0].health.recent.append(
            Probe(NOW - 3000 + 30 * n, n % 37 != 5, 0.0021 + 0.0007 * sin(n) + 0.004 * (n == 61))
        )
    for n, entry in enumerate(entries[:6]):
        fleet.samples.histories[entry.worker.id] = history(4.0 + n, HOUR, SMALL)
    for n, entry in enumerate(entries[:3]):
        entry.meters.blamed("it answered 503", NOW - 400 + n)
        entry.meters.blamed("it answered 503", NOW - 380 + n)
        entry.meters.blamed("connection reset by peer", NOW - 65 - n)
        entry.meters.server_errors, entry.meters.transport_errors = 2, 1
    fleet.flying = [flight for n, entry in enumerate(entries[:6]) for flight in flights_at(entry.worker.id, n)]
    return fleet


def flights_at(worker: WorkerId, n: int) -> list[Flight]:
    """Some requests under way there, the oldest first."""
    model = ("qwen2.5-14b", "llama-3.1-8b")[n % 2]
    return [
        Flight(
            request_id=f"chatcmpl-{n}{at}0f3a77c2d1b94e60aa51",
            route=("/v1/chat/completions", "/v1/completions")[at % 2],
            model=model,
            stage=(Stage.ANSWERING, Stage.ANSWERING, Stage.WAITING, Stage.CONNECTING)[min(3, at // 2)],
            age_s=91.4 / (at + 1) + n,
            attempt_s=90.1 / (at + 1) + n,
            attempts=2 if at == 1 else 1,
            worker=worker,
            prefill=None,
            streams=at < 3,
            tokens=(1843, 512, 77)[at] if at < 3 else 0,
        )
        for at in range((n * 3 + 2) % 7)
    ]
