"""Prometheus text as SGLang and vLLM write it: the gauges and counters a gateway reads."""

from collections.abc import Iterable, Mapping, Sequence

from aiohttp import web

from gateway.simulator.runtime import Runtime
from gateway.simulator.settings import EngineKind
from gateway.simulator.state import Simulation

Family = tuple[str, str, str, Sequence[tuple[Mapping[str, str], float]]]
"""Name, type, help, and samples by labels."""


async def metrics(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`/metrics`."""
    made = vllm_families if simulation.settings.kind is EngineKind.VLLM else sglang_families
    text = exposition(made(simulation.settings.model_id, simulation.ranks))
    return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def exposition(families: Iterable[Family]) -> str:
    """The text format of version 0.0.4."""
    lines: list[str] = []
    for name, kind, text, samples in families:
        lines += (f"# HELP {name} {text}", f"# TYPE {name} {kind}")
        for labels, value in samples:
            inside = ",".join(f'{label}="{_escaped(given)}"' for label, given in labels.items())
            lines.append(f"{name}{{{inside}}} {float(value)!r}")
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def sglang_families(model: str, ranks: Sequence[Runtime]) -> list[Family]:
    """SGLang's families, a sample a rank."""
    labels = [
        {"engine_type": "unified", "model_name": model, "pp_rank": "0", "tp_rank": "0"}
        | ({"dp_rank": str(number)} if len(ranks) > 1 else {})
        for number in range(len(ranks))
    ]

    def family(name: str, kind: str, text: str, values: Iterable[float]) -> Family:
        return f"sglang:{name}", kind, text, list(zip(labels, values, strict=True))

    models = [rank.model for rank in ranks]
    most = models[0].settings
    return [
        family("num_running_reqs", "gauge", "The number of running requests.", (len(m.running) for m in models)),
        family(
            "num_queue_reqs", "gauge", "The number of requests in the waiting queue.", (len(m.waiting) for m in models)
        ),
        family("num_used_tokens", "gauge", "The number of used tokens.", (m.kv_used for m in models)),
        family("max_total_num_tokens", "gauge", "The size of the KV pool.", (most.kv_tokens for _ in models)),
        family("token_usage", "gauge", "The token usage.", (m.kv_usage for m in models)),
        family("gen_throughput", "gauge", "The generation throughput (token/s).", (r.throughput() for r in ranks)),
        family("cache_hit_rate", "gauge", "The prefix cache hit rate.", (m.cache_hit_rate for m in models)),
        family("utilization", "gauge", "Running of most running.", (len(m.running) / most.max_running for m in models)),
        family("prompt_tokens_total", "counter", "Prompt tokens.", (m.counts.prompt_tokens for m in models)),
        family("generation_tokens_total", "counter", "Generated tokens.", (m.counts.generated_tokens for m in models)),
        family("cached_tokens_total", "counter", "Cached prompt tokens.", (m.counts.cached_tokens for m in models)),
        family("num_requests_total", "counter", "Requests.", (m.counts.submitted for m in models)),
        family("num_aborted_requests_total", "counter", "Aborted requests.", (m.counts.cancelled for m in models)),
    ]


def vllm_families(model: str, ranks: Sequence[Runtime]) -> list[Family]:
    """vLLM's families, a sample an engine."""
    labels = [{"engine": str(number), "model_name": model} for number in range(len(ranks))]

    def family(name: str, kind: str, text: str, values: Iterable[float]) -> Family:
        return f"vllm:{name}", kind, text, list(zip(labels, values, strict=True))

    models = [rank.model for rank in ranks]
    return [
        family("num_requests_running", "gauge", "Requests in the batch.", (len(m.running) for m in models)),
        family("num_requests_waiting", "gauge", "Requests waiting.", (len(m.waiting) for m in models)),
        family("kv_cache_usage_perc", "gauge", "KV cache usage, 1 is full.", (m.kv_usage for m in models)),
        family("prefix_cache_queries_total", "counter", "Tokens looked up.", (m.counts.prompt_tokens for m in models)),
        family("prefix_cache_hits_total", "counter", "Tokens found.", (m.counts.cached_tokens for m in models)),
        family("prompt_tokens_total", "counter", "Prefill tokens.", (m.counts.prompt_tokens for m in models)),
        family("generation_tokens_total", "counter", "Generated tokens.", (m.counts.generated_tokens for m in models)),
        family("num_preemptions_total", "counter", "Preemptions.", (0 for _ in models)),
    ]
