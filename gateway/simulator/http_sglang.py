"""What only SGLang has: `/generate`, its info routes, its loads and the cache flush."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.simulator.http_answers import EventStream, error, json_answer
from gateway.simulator.http_logprobs import Tokens, tokens_of
from gateway.simulator.planning import Body, Planned, flag, sampling_of, wrong
from gateway.simulator.runtime import Runtime
from gateway.simulator.settings import SGLANG_VERSION
from gateway.simulator.state import Simulation
from gateway.simulator.text import text_number

DEFAULT_NEW_TOKENS = 128
SECTIONS = ("all", "core", "disagg", "lora", "memory", "queues", "spec")


async def generate(simulation: Simulation, request: web.Request, body: Body) -> web.StreamResponse:
    """`/generate`. A list of prompts gives a list of answers; a stream repeats the text said so far."""
    name = "input_ids" if body.get("text") is None else "text"
    given = body.get(name)
    if given is None:
        raise wrong("text", None, "a string or a list of strings, or input_ids")
    prompts = simulation.prompts(given, name)
    params = body.get("sampling_params")
    if params is not None and not isinstance(params, dict):
        raise wrong("sampling_params", params, "an object")
    sampling = sampling_of(params or {}, "max_new_tokens", default_limit=DEFAULT_NEW_TOKENS)
    planned = [choice for prompt in prompts for choice in simulation.plan(prompt, sampling)]
    rid = body.get("rid")
    known = rid if isinstance(rid, str) else f"{text_number(prompts[0].text):x}"
    many = isinstance(given, list) and not isinstance(given[0], int)
    tokens: list[Tokens | None] = [None] * len(planned)
    if simulation.settings.tokenizer:
        every = [prompt for prompt in prompts for _ in range(sampling.choices)]
        tokens = [tokens_of(body, prompt, each) for prompt, each in zip(every, planned, strict=True)]
    began = time.monotonic()
    if flag(body, "stream"):
        return await _stream(simulation, request, body, planned, known, tokens)
    with simulation.generation(planned, body) as generation:
        await generation.whole()
    took = time.monotonic() - began
    answers = [
        _event(each.answer.text, {**meta_of(each, known, each.job.generated, ids), "e2e_latency": took}, ids)
        for each, ids in zip(planned, tokens, strict=True)
    ]
    return json_answer(answers if many or len(answers) > 1 else answers[0])


async def _stream(
    simulation: Simulation,
    request: web.Request,
    body: Body,
    planned: Sequence[Planned],
    rid: str,
    tokens: Sequence[Tokens | None],
) -> web.StreamResponse:
    generation = simulation.generation(planned, body)
    stream = await EventStream.begin(request, simulation)
    said, count = [""] * len(planned), [0] * len(planned)
    with generation:
        while not generation.ended:
            events: list[dict[str, Any]] = []
            for index, piece in await generation.fresh():
                said[index] += piece
                count[index] += 1
                ids = tokens[index]
                event = _event(said[index], meta_of(planned[index], rid, count[index], ids), ids)
                events.append({**event, "index": index} if len(planned) > 1 else event)
            await stream.send(events)
    return await stream.end()


def _event(text: str, meta: dict[str, Any], tokens: Tokens | None) -> dict[str, Any]:
    """An answer so far; with its ids where they are real."""
    event = {"text": text, "meta_info": meta}
    return event if tokens is None else event | {"output_ids": tokens.ids[: meta["completion_tokens"]]}


def meta_of(choice: Planned, rid: str, generated: int, tokens: Tokens | None) -> dict[str, Any]:
    """SGLang's meta_info after so many tokens."""
    job, answer = choice.job, choice.answer
    reason: dict[str, Any] | None = None
    if generated == job.answer_tokens:
        reason = {"type": answer.finish}
        reason |= (
            {"length": generated}
            if answer.finish == "length"
            else {"matched": answer.matched or (2 if tokens is None else tokens.ids[-1])}
        )
    return {
        **({} if tokens is None else tokens.weighed(generated)),
        "id": rid,
        "finish_reason": reason,
        "prompt_tokens": job.prompt_tokens,
        "weight_version": "default",
        "completion_tokens": generated,
        "cached_tokens": job.cached,
    }


async def server_info(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`/server_info`, `/get_server_info`."""
    settings, engine = simulation.settings, simulation.settings.engine
    return json_answer(
        {
            "model_path": settings.model,
            "served_model_name": settings.model_id,
            "tokenizer_path": settings.model,
            "tp_size": settings.tp_size,
            "dp_size": settings.dp_size,
            "pp_size": 1,
            "context_length": settings.context_length,
            "max_running_requests": engine.max_running,
            "max_total_num_tokens": engine.kv_tokens,
            "chunked_prefill_size": engine.prefill_chunk,
            "load_balance_method": "round_robin",
            "disaggregation_mode": settings.role,
            "is_embedding": False,
            "weight_version": "default",
            "version": SGLANG_VERSION,
            "internal_states": [
                {
                    "last_gen_throughput": round(rank.throughput(), 2),
                    "effective_max_running_requests_per_dp": engine.max_running,
                }
                for rank in simulation.ranks
            ],
        }
    )


async def model_info(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`/model_info`, `/get_model_info`."""
    return json_answer(
        {
            "model_path": simulation.settings.model,
            "tokenizer_path": simulation.settings.model,
            "is_generation": True,
            "preferred_sampling_params": None,
            "weight_version": "default",
            "has_image_understanding": False,
            "has_audio_understanding": False,
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
        }
    )


async def loads(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`/v1/loads`: one record a rank, with the sections asked for, and sums over them."""
    wanted = {part.strip() for part in request.query.get("include", "all").split(",")}
    if unknown := wanted - set(SECTIONS):
        return error(400, "invalid_request", f"include: given {sorted(unknown)}, accepted: {', '.join(SECTIONS)}")
    chosen = request.query.get("dp_rank")
    numbers = range(len(simulation.ranks))
    if chosen is not None:
        if not chosen.isascii() or not chosen.isdigit() or int(chosen) not in numbers:
            return error(400, "invalid_request", f"dp_rank: given {chosen}, accepted: 0 to {len(numbers) - 1}")
        numbers = range(int(chosen), int(chosen) + 1)
    records = [_rank_load(rank, simulation.ranks[rank], wanted) for rank in numbers]
    return json_answer(
        {
            "timestamp": datetime.now(UTC).isoformat(),
            "version": SGLANG_VERSION,
            "dp_rank_count": len(records),
            "loads": records,
            "aggregate": _aggregate(records),
        }
    )


def _rank_load(rank: int, runtime: Runtime, wanted: set[str]) -> dict[str, Any]:
    model = runtime.model
    running, waiting = len(model.running), len(model.waiting)
    record: dict[str, Any] = {
        "dp_rank": rank,
        "timestamp": time.time(),
        "num_running_reqs": running,
        "num_waiting_reqs": waiting,
        "num_waiting_uncached_tokens": model.uncached_waiting,
        "num_total_reqs": running + waiting,
        "num_used_tokens": model.kv_used,
        "max_total_num_tokens": model.settings.kv_tokens,
        "token_usage": round(model.kv_usage, 4),
        "gen_throughput": round(runtime.throughput(), 2),
        "cache_hit_rate": round(model.cache_hit_rate, 4),
        "utilization": round(running / model.settings.max_running, 4),
        "max_running_requests": model.settings.max_running,
    }
    if wanted & {"all", "memory"}:
        record["memory"] = {
            "weight_gb": 15.0,
            "kv_cache_gb": round(model.settings.kv_tokens * 131_072 / 1e9, 2),
            "graph_gb": 0.5,
            "token_capacity": model.settings.kv_tokens,
        }
    if wanted & {"all", "queues"}:
        record["queues"] = {"waiting": waiting, "grammar": 0, "paused": 0, "retracted": 0}
    if wanted & {"all", "disagg"}:
        record["disaggregation"] = {"mode": "null"}
    return record


def _aggregate(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    count = len(records)
    running = sum(record["num_running_reqs"] for record in records)
    waiting = sum(record["num_waiting_reqs"] for record in records)
    return {
        "total_running_reqs": running,
        "total_waiting_reqs": waiting,
        "total_reqs": running + waiting,
        "avg_token_usage": round(sum(record["token_usage"] for record in records) / count, 4),
        "avg_throughput": round(sum(record["gen_throughput"] for record in records) / count, 2),
        "avg_utilization": round(sum(record["utilization"] for record in records) / count, 4),
    }


async def get_load(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`/get_load`: what older versions have."""
    return json_answer(
        [
            {
                "dp_rank": rank,
                "num_reqs": runtime.load,
                "num_waiting_reqs": len(runtime.model.waiting),
                "num_tokens": runtime.model.kv_used,
            }
            for rank, runtime in enumerate(simulation.ranks)
        ]
    )


async def flush_cache(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`/flush_cache`: forgets every prefix nobody uses."""
    for model in simulation.models:
        model.cache.flush()
    return web.Response(text="Cache flushed.\n")
