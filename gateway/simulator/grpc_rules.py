"""The rules every call to a simulated gRPC service passes: faults, key, loading; and what it leaves in the stats."""

import asyncio
from typing import Any

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToJson

from gateway.simulator.planning import Bad
from gateway.simulator.state import Simulation

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""How the engines' servicers name an HTTP status; every other one is INTERNAL."""


async def pass_rules(simulation: Simulation, name: str, request: Any, context: Any, *, serving: bool = False) -> None:
    """Note the call, and end it where a fault or a rule says so. `serving`: it is a client's request."""
    simulation.requests[name] += 1
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    if serving:
        body = MessageToJson(request, preserving_proto_field_name=True).encode()
        simulation.last = {"method": "POST", "path": name, "headers": metadata, "body": body}
    settings, faults = simulation.settings, simulation.faults
    if settings.api_key and metadata.get("authorization") != f"Bearer {settings.api_key}":
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Unauthorized")
    if not serving:
        return
    if faults.hang:
        await asyncio.Event().wait()  # until the client leaves, or the process ends
    if not simulation.up:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the model is being loaded")
    if faults.status and simulation.rng.random() < faults.fraction:
        code = CODES.get(faults.status, grpc.StatusCode.INTERNAL)
        await context.abort(code, f"simulated {faults.status}")


async def healthy(simulation: Simulation) -> bool:
    """Whether it is up and well; never answers where a fault says so."""
    if simulation.faults.hang_health:
        await asyncio.Event().wait()
    return simulation.up and not simulation.faults.unhealthy


async def refuse(context: Any, bad: Bad) -> None:
    """End the call as engines end one they cannot serve."""
    await context.abort(CODES.get(bad.status, grpc.StatusCode.INTERNAL), str(bad))
