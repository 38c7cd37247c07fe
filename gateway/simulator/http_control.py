"""The simulator's own routes, which no engine has: faults to switch, and what arrived, for tests to see."""

from dataclasses import asdict

import msgspec
from aiohttp import web

from gateway.simulator.http_answers import error, json_answer
from gateway.simulator.state import Simulation

FAULTS = "/_sim/faults"
STATS = "/_sim/stats"
MOST_BODY = 64 * 1024


async def get_faults(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`GET /_sim/faults`."""
    return json_answer(asdict(simulation.faults))


async def set_faults(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`POST /_sim/faults`: sets what the body names; answers with all."""
    try:
        simulation.set_faults(msgspec.json.decode(await request.read()))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return error(400, "invalid_json", "the body is not JSON")
    except ValueError as refused:
        return error(400, "invalid_request", str(refused), str(refused).partition(":")[0])
    return json_answer(asdict(simulation.faults))


async def stats(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`GET /_sim/stats`. Sums over ranks; `last` is the last request that was neither health nor control."""
    models = simulation.models
    body = simulation.last.get("body", b"")
    return json_answer(
        {
            "requests": dict(simulation.requests),
            "running": sum(len(model.running) for model in models),
            "waiting": sum(len(model.waiting) for model in models),
            "kv_used": sum(model.kv_used for model in models),
            "kv_reserved": sum(model.kv_reserved for model in models),
            "kv_tokens": sum(model.settings.kv_tokens for model in models),
            "cache_hit_tokens": sum(model.counts.cached_tokens for model in models),
            "cache_seen_tokens": sum(model.counts.prompt_tokens for model in models),
            "finished": sum(model.counts.finished for model in models),
            "cancelled": sum(model.counts.cancelled for model in models),
            "generated": sum(model.counts.generated_tokens for model in models),
            "running_by_rank": [len(model.running) for model in models],
            "last_headers": simulation.last.get("headers", {}),
            "last": {**simulation.last, "body": body[:MOST_BODY].decode("utf-8", "replace")},
        }
    )
