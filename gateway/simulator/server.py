"""The simulated engine's HTTP face: what it is asked, in the shapes its kind of engine answers in.

Serving routes are in `serving`; here are health, capabilities, loads, metrics, faults and the rules that hold
for every request (key, faults).
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from aiohttp import web

from gateway.simulator.engine import EngineModel, EngineSettings
from gateway.simulator.faults import Faults
from gateway.simulator.runtime import Runtime

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What kind of server this is."""

    engine: str = "sglang"
    model: str = "sim-model"
    root: str = ""
    context_length: int = 32768
    api_key: str = ""
    protect_health: bool = False
    health_path: str = "/health"
    tp_size: int = 1
    dp_size: int = 1
    startup_delay_s: float = 0.0
    seed: int = 0
    version: str = "0.32.0"
    model_engine: EngineSettings = field(default_factory=EngineSettings)


class SimulatedServer:
    """One engine process: its model, faults and counters."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.faults = Faults()
        self.model = EngineModel(settings.model_engine)
        self.runtime = Runtime(self.model, self.faults)
        self.rng = Random(settings.seed)
        self.requests: Counter[str] = Counter()
        self.last_headers: dict[str, str] = {}
        self.started = asyncio.get_running_loop().time()
        self.on_refuse: Callable[[float], None] = lambda _seconds: None

    @property
    def up(self) -> bool:
        return asyncio.get_running_loop().time() - self.started >= self.settings.startup_delay_s

    def app(self) -> web.Application:
        """The application."""
        from gateway.simulator.serving import add_serving_routes

        app = web.Application(middlewares=[self._rules], client_max_size=1 << 30)
        add = app.router.add_route
        add("GET", self.settings.health_path, self._health)
        if self.settings.health_path != "/health":
            add("GET", "/ping", self._health)
        add("GET", "/v1/models", self._models)
        add("GET", "/_sim/faults", self._get_faults)
        add("POST", "/_sim/faults", self._set_faults)
        add("GET", "/_sim/stats", self._stats)
        add_serving_routes(app, self)
        if self.settings.engine == "sglang":
            for path in ("/get_server_info", "/server_info"):
                add("GET", path, self._server_info)
            for path in ("/get_model_info", "/model_info"):
                add("GET", path, self._model_info)
            add("GET", "/v1/loads", self._loads)
            add("GET", "/get_load", self._loads)
            add("POST", "/flush_cache", self._flush)
            add("GET", "/metrics", self._metrics)
        elif self.settings.engine == "vllm":
            add("GET", "/version", self._version)
            add("GET", "/load", self._vllm_load)
            add("GET", "/metrics", self._metrics)
        app.cleanup_ctx.append(self._running)
        return app

    @asynccontextmanager
    async def _running(self, app: web.Application) -> Any:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.runtime.run())
            yield
            task.cancel()

    @web.middleware
    async def _rules(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_sim/"):
            return await handler(request)
        settings, faults = self.settings, self.faults
        health = request.path == settings.health_path
        self.requests[request.path] += 1
        if not health:
            self.last_headers = dict(request.headers)
        locked = settings.api_key and (not health or settings.protect_health)
        if locked and request.headers.get("Authorization") != f"Bearer {settings.api_key}":
            return error(401, "invalid_api_key", "Unauthorized")
        if faults.garbage:
            assert request.transport is not None
            request.transport.write(b"\x00\x01 this is not HTTP\r\n\r\n")
            request.transport.close()
            return web.Response()
        if (faults.hang and request.method == "POST") or (faults.hang_health and health):
            await asyncio.sleep(3600)
        if faults.status and request.method == "POST" and self.rng.random() < faults.fraction:
            return error(faults.status, "simulated", f"simulated {faults.status}")
        response = await handler(request)
        if faults.close_idle and request.transport is not None:
            if not response.prepared:
                await response.prepare(request)
                await response.write_eof()
            request.transport.close()
        return response

    async def _health(self, request: web.Request) -> web.Response:
        ok = self.up and not self.faults.unhealthy
        return web.Response(status=200 if ok else 503)

    async def _models(self, request: web.Request) -> web.Response:
        if not self.up:
            return error(503, "loading", "the model is loading")
        if self.faults.models_error:
            return error(500, "simulated", "simulated failure")
        settings = self.settings
        owner = {"sglang": "sglang", "vllm": "vllm"}.get(settings.engine, "organization_owner")
        card: dict[str, Any] = {"id": settings.model, "object": "model", "created": 1700000000, "owned_by": owner}
        if settings.engine != "openai":
            card |= {"root": settings.root or settings.model, "max_model_len": settings.context_length}
        return web.json_response({"object": "list", "data": [card]})

    async def _server_info(self, request: web.Request) -> web.Response:
        settings = self.settings
        return web.json_response(
            {
                "model_path": settings.root or settings.model,
                "served_model_name": settings.model,
                "tokenizer_path": settings.root or settings.model,
                "tp_size": settings.tp_size,
                "dp_size": settings.dp_size,
                "pp_size": 1,
                "context_length": settings.context_length,
                "max_running_requests": settings.model_engine.max_running,
                "max_total_num_tokens": settings.model_engine.kv_tokens,
                "load_balance_method": "round_robin",
                "disaggregation_mode": "null",
                "version": "0.5.10",
            }
        )

    async def _model_info(self, request: web.Request) -> web.Response:
        path = self.settings.root or self.settings.model
        return web.json_response(
            {"model_path": path, "tokenizer_path": path, "is_generation": True, "weight_version": "default"}
        )

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": self.settings.version})

    async def _loads(self, request: web.Request) -> web.Response:
        model = self.model
        load = {
            "dp_rank": 0,
            "num_running_reqs": len(model.running),
            "num_waiting_reqs": len(model.waiting),
            "num_total_reqs": len(model.running) + len(model.waiting),
            "num_used_tokens": model.kv_used,
            "max_total_num_tokens": model.settings.kv_tokens,
            "token_usage": round(model.kv_usage, 4),
            "gen_throughput": 0.0,
            "cache_hit_rate": self._hit_rate(),
            "max_running_requests": model.settings.max_running,
        }
        if request.path == "/get_load":
            return web.json_response(
                [
                    {
                        "dp_rank": 0,
                        "num_reqs": load["num_total_reqs"],
                        "num_waiting_reqs": len(model.waiting),
                        "num_tokens": model.kv_used,
                    }
                ]
            )
        return web.json_response({"timestamp": "", "version": "0.5.10", "dp_rank_count": 1, "loads": [load]})

    def _hit_rate(self) -> float:
        cache = self.model.cache
        return round(cache.hit_tokens / cache.seen_tokens, 4) if cache.seen_tokens else 0.0

    async def _vllm_load(self, request: web.Request) -> web.Response:
        return web.json_response({"server_load": len(self.model.running) + len(self.model.waiting)})

    async def _metrics(self, request: web.Request) -> web.Response:
        model, name = self.model, self.settings.model
        if self.settings.engine == "vllm":
            labels = f'{{engine="0",model_name="{name}"}}'
            gauges = {
                "vllm:num_requests_running": len(model.running),
                "vllm:num_requests_waiting": len(model.waiting),
                "vllm:kv_cache_usage_perc": model.kv_usage,
            }
        else:
            labels = f'{{model_name="{name}",tp_rank="0"}}'
            gauges = {
                "sglang:num_running_reqs": len(model.running),
                "sglang:num_queue_reqs": len(model.waiting),
                "sglang:token_usage": model.kv_usage,
                "sglang:cache_hit_rate": self._hit_rate(),
            }
        lines = [f"# TYPE {gauge} gauge\n{gauge}{labels} {float(value)}" for gauge, value in gauges.items()]
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    async def _flush(self, request: web.Request) -> web.Response:
        self.model.cache.flush()
        return web.Response(text="Cache flushed.\n")

    async def _get_faults(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self.faults))

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            given = await request.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            return error(400, "bad_request", "the body is not JSON")
        why = self.faults.change(given)
        if why is not None:
            return error(400, "bad_request", why)
        if self.faults.refuse_s:
            seconds, self.faults.refuse_s = self.faults.refuse_s, 0.0
            asyncio.get_running_loop().call_later(0.05, self.on_refuse, seconds)
        return web.json_response(asdict(self.faults))

    async def _stats(self, request: web.Request) -> web.Response:
        model = self.model
        return web.json_response(
            {
                "requests": dict(self.requests),
                "running": len(model.running),
                "waiting": len(model.waiting),
                "kv_used": model.kv_used,
                "cache_hit_tokens": model.cache.hit_tokens,
                "cache_seen_tokens": model.cache.seen_tokens,
                "finished": model.finished,
                "cancelled": model.cancelled,
                "generated": model.generated,
                "last_headers": self.last_headers,
            }
        )


def error(status: int, code: str, message: str) -> web.Response:
    """An error in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return web.json_response(body, status=status)


async def serve(settings: ServerSettings, host: str, port: int, until: asyncio.Event) -> None:
    """Serve until the event is set; prints the address once it listens."""
    server = SimulatedServer(settings)
    runner = web.AppRunner(server.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024)
    await site.start()
    assert runner.addresses
    port = runner.addresses[0][1]
    refuse: asyncio.Queue[float] = asyncio.Queue()
    server.on_refuse = refuse.put_nowait
    print(f"listening on http://{host}:{port}", flush=True)  # noqa: T201 - how a parent learns the port
    async with asyncio.TaskGroup() as group:
        refusing = group.create_task(_refuse(runner, site, host, port, refuse))
        await until.wait()
        refusing.cancel()
    with suppress(asyncio.CancelledError):
        await runner.cleanup()


async def _refuse(
    runner: web.AppRunner, site: web.TCPSite, host: str, port: int, seconds: "asyncio.Queue[float]"
) -> None:
    """Whenever asked, stop listening for a while."""
    while True:
        pause = await seconds.get()
        await site.stop()
        await asyncio.sleep(pause)
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
