"""From what an engine reports of its load to `EngineLoad`. Pure; what is not reported is None, never 0.

SGLang answers `/v1/loads` (a list of ranks) and the older `/get_load`; both engines and many others show
gauges at `/metrics`. Counts of ranks are summed, ratios averaged. A `/metrics` text, which may be 100 KB and
more, is searched for the wanted gauges by one pattern and never taken apart.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.workers.meters import EngineLoad
from gateway.workers.model import Engine

SGLANG_LOADS = "/v1/loads?include=core,disagg,queues,memory"
SGLANG_LOAD = "/get_load"
METRICS = "/metrics"
VLLM_LOAD = "/load"

SOURCES: dict[Engine, tuple[str, ...]] = {
    Engine.SGLANG: (SGLANG_LOADS, SGLANG_LOAD, METRICS),
    Engine.VLLM: (METRICS, VLLM_LOAD),
    Engine.GENERIC: (SGLANG_LOADS, METRICS),
}
"""Where to ask an engine, best first."""

RUNNING = (b"vllm:num_requests_running", b"sglang:num_running_reqs", b"sglang_num_running_reqs")
WAITING = (b"vllm:num_requests_waiting", b"sglang:num_queue_reqs", b"sglang_num_queue_reqs")
USAGE = (
    b"vllm:kv_cache_usage_perc",
    b"vllm:gpu_cache_usage_perc",
    b"sglang:token_usage",
    b"sglang_token_usage",
)
THROUGHPUT = (b"sglang:gen_throughput", b"sglang_gen_throughput")
HIT_RATE = (b"vllm:gpu_prefix_cache_hit_rate", b"sglang:cache_hit_rate", b"sglang_cache_hit_rate")
WANTED = frozenset((*RUNNING, *WAITING, *USAGE, *THROUGHPUT, *HIT_RATE))
_GAUGE = re.compile(
    rb"\n((?:vllm:|sglang[:_])(?:%b))(?:\{[^\n]*\})?[ \t]+([^\s]+)"
    % b"|".join(sorted({re.split(b"[:_]", name, maxsplit=1)[1] for name in WANTED}))
)


def load_of(path: str, reply: object, now: float) -> EngineLoad | None:
    """The load in a decoded JSON reply of `path`, or None where it has none."""
    if path == VLLM_LOAD:
        running = _number(reply.get("server_load")) if isinstance(reply, dict) else None
        return None if running is None else EngineLoad(now, running=int(running))
    return ranks_load(_ranks(reply), now)


def _ranks(reply: object) -> list[Mapping[str, Any]]:
    ranks = reply.get("loads", reply) if isinstance(reply, dict) else reply
    if isinstance(ranks, dict):
        ranks = [ranks]
    return [rank for rank in ranks if isinstance(rank, dict)] if isinstance(ranks, list) else []


def ranks_load(ranks: Sequence[Mapping[str, Any]], now: float) -> EngineLoad | None:
    """The load in the records of an engine's ranks, or None where they tell nothing."""
    running = _sum(_running(rank) for rank in ranks)
    waiting = _sum(_first(rank, "num_waiting_reqs") for rank in ranks)
    used = _sum(_first(rank, "num_used_tokens", "num_tokens") for rank in ranks)
    most = _sum(_first(rank, "max_total_num_tokens") for rank in ranks)
    usage = _mean(_first(rank, "token_usage") for rank in ranks)
    if usage is None and used is not None and most:
        usage = used / most
    if running is waiting is used is usage is None:
        return None
    return EngineLoad(
        now,
        running=_whole(running),
        waiting=_whole(waiting),
        kv_usage=_share(usage),
        throughput=_sum(_first(rank, "gen_throughput") for rank in ranks),
        cache_hit_rate=_share(_mean(_first(rank, "cache_hit_rate") for rank in ranks)),
        used_tokens=_whole(used),
        max_tokens=_whole(most),
    )


def _running(rank: Mapping[str, Any]) -> float | None:
    """`/get_load` counts all requests of a rank together: those that run are the rest."""
    running, every = _number(rank.get("num_running_reqs")), _number(rank.get("num_reqs"))
    if running is not None or every is None:
        return running
    waiting = _number(rank.get("num_waiting_reqs"))
    return every if waiting is None else max(0.0, every - waiting)


def metrics_load(text: bytes, now: float) -> EngineLoad | None:
    """The load in a Prometheus text, or None where it has none of the wanted gauges."""
    gauges: dict[bytes, list[float]] = {}
    for name, value in _GAUGE.findall(b"\n" + text):
        number = _number(value.decode("latin-1"))
        if name in WANTED and number is not None:
            gauges.setdefault(name, []).append(number)
    if not gauges:
        return None
    running, waiting = _gauge(gauges, RUNNING), _gauge(gauges, WAITING)
    return EngineLoad(
        now,
        running=_whole(_sum(running)),
        waiting=_whole(_sum(waiting)),
        kv_usage=_share(_mean(_gauge(gauges, USAGE))),
        throughput=_sum(_gauge(gauges, THROUGHPUT)),
        cache_hit_rate=_share(_mean(_gauge(gauges, HIT_RATE))),
    )


def _gauge(gauges: Mapping[bytes, list[float]], names: tuple[bytes, ...]) -> list[float]:
    return next((gauges[name] for name in names if name in gauges), [])


def _first(rank: Mapping[str, Any], *names: str) -> float | None:
    return next((number for name in names if (number := _number(rank.get(name))) is not None), None)


def _number(value: object) -> float | None:
    """A finite number that is not negative, as JSON or text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _share(value: float | None) -> float | None:
    return None if value is None else min(1.0, value)
