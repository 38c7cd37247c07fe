"""The simulated engine as an HTTP server: which routes its kind has, the rules for every request, and its port.

What routes answer is in the `http_*` modules.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web

from gateway.simulator import http_control, http_messages, http_metrics, http_openai, http_responses
from gateway.simulator import http_sglang as sglang
from gateway.simulator import http_vectors as vectors
from gateway.simulator import http_vllm as vllm
from gateway.simulator.http_answers import Handler, anthropic_error, endpoint, error, json_answer
from gateway.simulator.settings import EngineKind, ServerSettings
from gateway.simulator.state import Simulation

Asked = Callable[[Simulation, web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID = "x-request-id"
MODELS = "/v1/models"
SHUTDOWN_S = 0.2
"""Streams still open at the end are cut after this."""


def application(simulation: Simulation) -> web.Application:
    """The routes of this kind of engine."""
    kind = simulation.settings.kind
    app = web.Application(middlewares=[rules_of(simulation)], client_max_size=1 << 30)

    def get(asked: Asked, *paths: str) -> None:
        for path in paths:
            app.router.add_get(path, partial(asked, simulation))

    def post(answer: Any, *paths: str, **shape: Any) -> None:
        for path in paths:
            app.router.add_post(path, endpoint(simulation, answer, **shape))

    get(_health, simulation.settings.health_path)
    get(_models, MODELS)
    get(http_control.get_faults, http_control.FAULTS)
    get(http_control.stats, http_control.STATS)
    app.router.add_post(http_control.FAULTS, partial(http_control.set_faults, simulation))
    post(http_openai.chat, "/v1/chat/completions")
    post(http_openai.completions, "/v1/completions")
    post(http_responses.responses, "/v1/responses")
    post(http_messages.messages, "/v1/messages", shape=anthropic_error)
    post(vectors.embeddings, "/v1/embeddings")
    post(vectors.rerank, "/v1/rerank", "/rerank")
    post(vectors.classify, "/v1/classify")
    app.router.add_post("/v1/audio/transcriptions", partial(vectors.transcribe, simulation))
    if kind is EngineKind.SGLANG:
        post(sglang.generate, "/generate")
        get(sglang.server_info, "/server_info", "/get_server_info")
        get(sglang.model_info, "/model_info", "/get_model_info")
        get(sglang.loads, "/v1/loads")
        get(sglang.get_load, "/get_load")
        app.router.add_post("/flush_cache", partial(sglang.flush_cache, simulation))
    if kind is EngineKind.VLLM:
        get(vllm.version, "/version")
        get(vllm.load, "/load")
        post(vllm.tokenize, "/tokenize")
    if kind is not EngineKind.OPENAI:
        get(http_metrics.metrics, "/metrics")
    app.on_response_prepare.append(_echo_request_id)
    return app


async def _health(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    return web.Response(status=503 if simulation.faults.unhealthy else 200)


async def _models(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    if simulation.faults.models_error:
        return error(500, "simulated", "simulated failure of /v1/models")
    settings = simulation.settings
    owner = "organization_owner" if settings.kind is EngineKind.OPENAI else settings.kind.value
    card: dict[str, Any] = {"id": settings.model_id, "object": "model", "created": 1_700_000_000, "owned_by": owner}
    if settings.kind is not EngineKind.OPENAI:
        card |= {"root": settings.model, "parent": None, "max_model_len": settings.context_length}
    return json_answer({"object": "list", "data": [card]})


async def _echo_request_id(request: web.BaseRequest, response: web.StreamResponse) -> None:
    if (given := request.headers.get(REQUEST_ID)) is not None:
        response.headers[REQUEST_ID] = given


def rules_of(simulation: Simulation) -> Any:
    """The rules every request passes: faults, key, loading. Control routes are free of all of them."""
    settings = simulation.settings
    wanted = f"Bearer {settings.api_key}" if settings.api_key else None

    async def ruled(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_sim/"):
            return await handler(request)
        health = request.path == settings.health_path
        await _remember(simulation, request, health)
        faults = simulation.faults
        if faults.garbage:
            return _garbage(request)
        serving = request.method == "POST"
        if (health and faults.hang_health) or (serving and faults.hang):
            await asyncio.Event().wait()  # until the client leaves, or the process ends
        if wanted and (not health or settings.protect_health) and request.headers.get("Authorization") != wanted:
            response: web.StreamResponse = error(401, "invalid_api_key", "Unauthorized")
        elif not simulation.up:
            response = error(503, "loading", "the model is being loaded")
        elif faults.status and serving and simulation.rng.random() < faults.fraction:
            response = error(faults.status, "simulated", f"simulated {faults.status}")
        else:
            response = await _handled(request, handler)
        if faults.close_idle and request.transport is not None:
            await response.prepare(request)
            await response.write_eof()
            request.transport.close()
        return response

    @web.middleware
    async def rules(request: web.Request, handler: Handler) -> web.StreamResponse:
        simulation.busy.add(request.protocol)
        try:
            return await ruled(request, handler)
        finally:
            simulation.busy.discard(request.protocol)

    return rules


async def _handled(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the route answers; unknown routes and methods as the engines' web framework words it."""
    try:
        return await handler(request)
    except web.HTTPException as refused:
        if refused.status < 400:
            raise
        answer = json_answer({"detail": refused.reason}, refused.status)
        if allow := refused.headers.get("Allow"):
            answer.headers["Allow"] = allow
        return answer


async def _remember(simulation: Simulation, request: web.Request, health: bool) -> None:
    simulation.requests[request.path] += 1
    if not health:
        simulation.last = {
            "method": request.method,
            "path": request.path_qs,
            "headers": dict(request.headers),
            "body": await request.read() if request.content_type == "application/json" else b"",
        }


def _garbage(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.write(b"\x00\x01 this is not HTTP\r\n\r\n")
        request.transport.close()
    return web.Response()


class Port:
    """The listening socket: opened, closed for a while, opened again."""

    def __init__(self, simulation: Simulation, runner: web.AppRunner, host: str, port: int) -> None:
        self._simulation = simulation
        self._runner = runner
        self._host = host
        self._site: web.TCPSite | None = None
        self.number = port

    async def open(self) -> None:
        """Listen. Raises OSError where that cannot be."""
        self._site = web.TCPSite(self._runner, self._host, self.number, backlog=1024, reuse_address=True)
        await self._site.start()
        self.number = self._runner.addresses[0][1]

    async def refuse(self, seconds: "asyncio.Queue[float]") -> None:
        """Whenever told, refuse connections for so many seconds. Requests under way go on."""
        while True:
            pause = await seconds.get()
            if self._site is not None:
                await self._site.stop()
            server = self._runner.server
            for connection in server.connections if server is not None else ():
                if connection in self._simulation.busy:
                    connection.close()  # after its answer
                else:
                    connection.force_close()
            await asyncio.sleep(pause)
            await self.open()


async def serve(
    settings: ServerSettings,
    host: str,
    port: int,
    until: Callable[[], Awaitable[None]],
    *,
    port_delay_s: float = 0.0,
) -> None:
    """Serve until `until` returns; prints the address once it listens. Raises OSError if the port is taken."""
    simulation = Simulation(settings)
    runner = web.AppRunner(
        application(simulation), handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_S
    )
    await runner.setup()
    opened = Port(simulation, runner, host, port)
    refuse: asyncio.Queue[float] = asyncio.Queue()
    simulation.on_refuse = refuse.put_nowait

    async def listen() -> None:
        await asyncio.sleep(port_delay_s)
        await opened.open()
        print(f"listening on http://{host}:{opened.number}", flush=True)  # noqa: T201 - how a parent learns the port
        await opened.refuse(refuse)

    try:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen())
            await until()
            listening.cancel()
    finally:
        simulation.close()
        await runner.cleanup()
