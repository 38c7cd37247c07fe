"""A simulated engine as a gRPC server: its port, its service, grpc.health.v1, and an HTTP port for `/_sim` alone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from aiohttp import web
from smg_grpc_proto.generated import sglang_scheduler_pb2_grpc, vllm_engine_pb2_grpc

from gateway.simulator import http_control
from gateway.simulator.grpc_rules import healthy
from gateway.simulator.grpc_service import Service
from gateway.simulator.grpc_sglang import SglangService
from gateway.simulator.grpc_vllm import VllmService
from gateway.simulator.settings import EngineKind, ServerSettings
from gateway.simulator.state import Simulation
from gateway.simulator.tokenizer import archive

HEALTH = "grpc.health.v1.Health"
UNKNOWN, SERVING, NOT_SERVING = 0, 1, 2
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),  # a taken port must be an error
)


def service_of(simulation: Simulation) -> Service:
    """The service of this kind of engine."""
    return VllmService(simulation) if simulation.settings.kind is EngineKind.VLLM else SglangService(simulation)


def _health_handler(simulation: Simulation, service: Service) -> Any:
    """grpc.health.v1, written out: one string comes in, one number goes out."""

    async def check(name: bytes, context: Any) -> bytes:
        simulation.requests["Check"] += 1
        if name not in (b"", service.name.encode()):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {name.decode('utf-8', 'replace')}")
        return b"\x08%c" % (SERVING if await healthy(simulation) else NOT_SERVING)

    handler = grpc.unary_unary_rpc_method_handler(
        check, request_deserializer=lambda data: data[2:], response_serializer=bytes
    )
    return grpc.method_handlers_generic_handler(HEALTH, {"Check": handler})


class GrpcPort:
    """The listening server: opened, stopped for a while, opened again."""

    def __init__(self, simulation: Simulation, host: str, port: int) -> None:
        self._simulation = simulation
        self._service = service_of(simulation)
        self._host = f"[{host}]" if ":" in host else host
        self._server: Any = None
        self.number = port

    async def open(self) -> None:
        """Listen. Raises OSError where that cannot be."""
        server = grpc.aio.server(options=OPTIONS)
        if self._simulation.settings.kind is EngineKind.VLLM:
            vllm_engine_pb2_grpc.add_VllmEngineServicer_to_server(_whole(self._service, vllm_engine_pb2_grpc), server)
        else:
            servicer = _whole(self._service, sglang_scheduler_pb2_grpc)
            sglang_scheduler_pb2_grpc.add_SglangSchedulerServicer_to_server(servicer, server)
        server.add_generic_rpc_handlers((_health_handler(self._simulation, self._service),))
        try:
            self.number = server.add_insecure_port(f"{self._host}:{self.number}")
        except RuntimeError as error:
            raise OSError(str(error)) from None
        await server.start()
        self._server = server

    async def refuse(self, seconds: "asyncio.Queue[float]") -> None:
        """Whenever told, close every connection and take none for so many seconds."""
        while True:
            pause = await seconds.get()
            await self.close()
            await asyncio.sleep(pause)
            await self.open()

    async def close(self) -> None:
        """Stop at once; calls under way end."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(None)


def _whole(service: Service, generated: Any) -> Any:
    """The service with the generated base behind it, which answers UNIMPLEMENTED to what it does not have."""
    base = getattr(generated, f"{service.name.rpartition('.')[2]}Servicer")
    made = type(service.name, (type(service), base), {})
    return made(service.simulation)


async def serve_grpc(
    settings: ServerSettings,
    host: str,
    port: int,
    until: Callable[[], Awaitable[None]],
    *,
    control_port: int = 0,
    port_delay_s: float = 0.0,
) -> None:
    """Serve until `until` returns; prints both addresses once it listens. Raises OSError if a port is taken."""
    simulation = Simulation(settings)
    archive()  # trained before the first request
    app = web.Application()
    app.router.add_get(http_control.FAULTS, lambda request: http_control.get_faults(simulation, request))
    app.router.add_post(http_control.FAULTS, lambda request: http_control.set_faults(simulation, request))
    app.router.add_get(http_control.STATS, lambda request: http_control.stats(simulation, request))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    opened = GrpcPort(simulation, host, port)
    refuse: asyncio.Queue[float] = asyncio.Queue()
    simulation.on_refuse = refuse.put_nowait

    async def listen() -> None:
        await asyncio.sleep(port_delay_s)
        await web.TCPSite(runner, host, control_port, reuse_address=True).start()
        await opened.open()
        control = runner.addresses[0][1]
        print(f"listening on grpc://{host}:{opened.number} control http://{host}:{control}", flush=True)  # noqa: T201
        await opened.refuse(refuse)

    try:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen())
            await until()
            listening.cancel()
    finally:
        await opened.close()
        simulation.close()
        await runner.cleanup()
