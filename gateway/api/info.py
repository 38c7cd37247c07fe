"""What workers tell through the gateway: loads, engine metrics, server and model info, and the cache flush."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from aiohttp import web

from gateway.api.app import PARTS, ApiParts, Route, json_response
from gateway.api.shapes import AggregateJson, FlushFailureJson, FlushJson, LoadJson, LoadsJson, OpenAiErrorJson
from gateway.engines.capabilities import MODEL_INFO, SERVER_INFO
from gateway.engines.generation import EngineError
from gateway.engines.grpc_engines import Engines
from gateway.proxy.answers import error_body
from gateway.tasks import in_slices
from gateway.workers.ask import Answer, Unreachable
from gateway.workers.availability import availability
from gateway.workers.entry import Entry
from gateway.workers.model import Connection, State

FAN_OUT = 32
TIMEOUT_S = 5.0
FLUSH_TIMEOUT_S = 30.0

T = TypeVar("T")


async def loads(request: web.Request) -> web.Response:
    """The engines' last load reports; what an engine does not report is left out."""
    parts = request.app[PARTS]
    entries = list(parts.registry.entries.values())
    rows = await in_slices(entries, _load, size=100)
    running = [row["num_running_reqs"] for row in rows if "num_running_reqs" in row]
    waiting = [row["num_waiting_reqs"] for row in rows if "num_waiting_reqs" in row]
    usage = [row["token_usage"] for row in rows if "token_usage" in row]
    speed = [row["gen_throughput"] for row in rows if "gen_throughput" in row]
    aggregate: AggregateJson = {
        "total_running_reqs": sum(running),
        "total_waiting_reqs": sum(waiting),
        "total_reqs": sum(running) + sum(waiting),
        "avg_token_usage": sum(usage) / len(usage) if usage else None,
        "avg_throughput": sum(speed) / len(speed) if speed else None,
        "avg_utilization": None,
    }
    body: LoadsJson = {
        "timestamp": datetime.now(UTC).isoformat(),
        "version": f"smg-console-{parts.version}",
        "dp_rank_count": len(rows),
        "loads": rows,
        "aggregate": aggregate,
    }
    return json_response(body)


def _load(entry: Entry) -> LoadJson:
    load, worker = entry.load, entry.worker
    row: LoadJson = {
        "worker": worker.url,
        "worker_type": worker.spec.role.value,
        "dp_rank": 0,
        "in_flight": entry.meters.in_flight,
    }
    if load is None:
        return row
    total = None if load.running is None or load.waiting is None else load.running + load.waiting
    told = {
        "num_running_reqs": load.running,
        "num_waiting_reqs": load.waiting,
        "num_total_reqs": total,
        "num_used_tokens": load.used_tokens,
        "max_total_num_tokens": load.max_tokens,
        "token_usage": load.kv_usage,
        "gen_throughput": load.throughput,
        "cache_hit_rate": load.cache_hit_rate,
    }
    return cast("LoadJson", row | {name: value for name, value in told.items() if value is not None})


async def _all(entries: list[Entry], job: Callable[[Entry], Awaitable[T]]) -> list[T]:
    """The job for every entry, not too many at once, results in order."""
    room = asyncio.Semaphore(FAN_OUT)

    async def one(entry: Entry) -> T:
        async with room:
            return await job(entry)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(entry)) for entry in entries]
    return [task.result() for task in tasks]


async def flush_cache(request: web.Request) -> web.Response:
    """Ask every ready worker to flush its prefix cache."""
    parts = request.app[PARTS]
    entries = [e for e in parts.registry.entries.values() if e.worker.state in (State.READY, State.DRAINING)]

    async def flush(entry: Entry) -> str | None:
        if entry.worker.connection is Connection.GRPC:
            return await _flush_over_grpc(parts.engines, entry)
        try:
            answer = await parts.ask(entry.worker, "POST", "/flush_cache", timeout_s=FLUSH_TIMEOUT_S)
        except Unreachable as error:
            return str(error)
        return None if answer.ok else f"answered {answer.status}"

    problems = await _all(entries, flush)
    flushed = [e.worker.url for e, why in zip(entries, problems, strict=True) if why is None]
    failed: list[FlushFailureJson] = [
        {"worker": e.worker.url, "error": why} for e, why in zip(entries, problems, strict=True) if why is not None
    ]
    over_grpc = sum(e.worker.connection is Connection.GRPC for e in entries)
    body: FlushJson = {
        "status": "partial_success" if failed else "success",
        "message": f"flushed {len(flushed)} of {len(entries)} workers",
        "workers_flushed": len(flushed),
        "total_http_workers": len(entries) - over_grpc,
        "total_grpc_workers": over_grpc,
        "total_zmq_workers_skipped": 0,
        "total_workers": len(entries),
    }
    if failed:
        body["successful"], body["failed"] = flushed, failed
    return json_response(body, 206 if failed else 200)


async def _flush_over_grpc(engines: Engines | None, entry: Entry) -> str | None:
    """Why it was not flushed; None: it was."""
    if engines is None:
        return "gRPC is not available"
    try:
        engine = await engines.of(entry.worker)
        await engine.flush_cache(timeout_s=FLUSH_TIMEOUT_S)
    except EngineError as error:
        return error.message
    return None


def _first_ready(parts: ApiParts) -> Entry | None:
    """One that has HTTP routes, if there is any."""
    ready = [e for e in parts.registry.entries.values() if availability(e.worker).routable]
    return min(ready, key=lambda entry: entry.worker.connection is Connection.GRPC, default=None)


def _no_worker() -> web.Response:
    body = error_body(503, "no_workers", "No worker is ready")
    return json_response(body, 503, {"X-SMG-Error-Code": "no_workers"})


async def _forward(parts: ApiParts, entry: Entry, paths: tuple[str, ...]) -> Answer | None:
    for path in paths:
        try:
            answer = await parts.ask(entry.worker, "GET", path, timeout_s=TIMEOUT_S)
        except Unreachable:
            return None
        if answer.status != 404:
            return answer
    return None


def _passed(answer: Answer) -> web.Response:
    kind = answer.headers.get("content-type", "application/json")
    return web.Response(body=answer.body, status=answer.status, headers={"Content-Type": kind})


def _not_over_grpc(route: str, entry: Entry) -> web.Response:
    """As SMG does: the route passes on a worker's own HTTP answer, and a gRPC worker has none."""
    text = f"{route} is not supported for gRPC workers; GET /workers/{entry.worker.id} shows what this one told"
    return json_response(error_body(501, "not_implemented", text), 501, {"X-SMG-Error-Code": "not_implemented"})


async def server_info(request: web.Request) -> web.Response:
    """The first ready worker's own answer; of an engine that has none, what was discovered."""
    parts = request.app[PARTS]
    entry = _first_ready(parts)
    if entry is None:
        return _no_worker()
    if entry.worker.connection is Connection.GRPC:
        return _not_over_grpc("get_server_info", entry)
    answer = await _forward(parts, entry, SERVER_INFO)
    if answer is not None:
        return _passed(answer)
    return json_response({**entry.worker.labels, "engine": entry.worker.engine.value, "source": "registry"})


async def model_info(request: web.Request) -> web.Response:
    """The first ready worker's own answer; of an engine that has none, what was discovered."""
    parts = request.app[PARTS]
    entry = _first_ready(parts)
    if entry is None:
        return _no_worker()
    if entry.worker.connection is Connection.GRPC:
        return _not_over_grpc("get_model_info", entry)
    answer = await _forward(parts, entry, MODEL_INFO)
    if answer is not None:
        return _passed(answer)
    told = entry.worker.capabilities
    body = {
        "model_path": told.model_path or entry.worker.model_id,
        "tokenizer_path": told.tokenizer_path,
        "is_generation": told.is_generation,
        "source": "registry",
    }
    return json_response(body)


async def engine_metrics(request: web.Request) -> web.Response:
    """All workers' own metrics in one text, each series labelled with its worker."""
    parts = request.app[PARTS]
    entries = [
        e
        for e in parts.registry.entries.values()
        if e.worker.state is State.READY and e.worker.connection is Connection.HTTP
    ]

    async def metrics(entry: Entry) -> str | None:
        try:
            answer = await parts.ask(entry.worker, "GET", "/metrics", timeout_s=TIMEOUT_S)
        except Unreachable:
            return None
        return answer.body.decode("utf-8", "replace") if answer.ok else None

    texts = await _all(entries, metrics)
    found = [(e.worker.url, text) for e, text in zip(entries, texts, strict=True) if text is not None]
    if not found:
        return web.Response(status=500, text="no worker answered with metrics\n")
    seen: set[str] = set()
    lines: list[str] = []
    for url, text in found:
        lines += labelled(text, url, seen)
        await asyncio.sleep(0)  # a worker's text may be 100 KB
    return web.Response(text="\n".join(lines) + "\n", headers={"Content-Type": "text/plain; version=0.0.4"})


def labelled(text: str, url: str, seen: set[str]) -> list[str]:
    """The series of a Prometheus text with `worker_addr` added; comments only the first time (`seen`)."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            if line not in seen:
                seen.add(line)
                lines.append(line)
        elif "{" in line:
            name, _, rest = line.partition("{")
            comma = "" if rest.startswith("}") else ","
            lines.append(f'{name}{{worker_addr="{url}"{comma}{rest}')
        elif line.strip():
            name, _, rest = line.partition(" ")
            lines.append(f'{name}{{worker_addr="{url}"}} {rest}')
    return lines


ROUTES = [
    Route("GET", "/get_loads", loads, "The engines' last load reports", answer=LoadsJson),
    Route("GET", "/loads", loads, "The engines' last load reports", answer=LoadsJson),
    Route(
        "POST",
        "/flush_cache",
        flush_cache,
        "Flush the prefix caches of all workers",
        statuses=(200, 206),
        answer=FlushJson,
    ),
    *(
        Route("GET", path, handler, text, statuses=(200, 501, 503), answer=dict[str, Any], refusal=OpenAiErrorJson)
        for path, handler, text in (
            ("/get_server_info", server_info, "Server info of the first ready worker"),
            ("/get_model_info", model_info, "Model info of the first ready worker"),
        )
    ),
    Route(
        "GET",
        "/engine_metrics",
        engine_metrics,
        "Metrics of all workers in one text",
        statuses=(200, 500),
        refusal=None,
        media="text/plain",
    ),
]
