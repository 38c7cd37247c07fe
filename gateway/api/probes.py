"""Is the gateway alive, and can it take traffic: `/health`, `/liveness`, `/readiness`, and `/v1/models`."""

from typing import Literal

from aiohttp import web

from gateway.api.app import PARTS, Route, json_response
from gateway.api.discovery import blind_json
from gateway.api.shapes import ModelCardJson, ModelsJson, NotReadyJson, ReadyJson, UnroutableJson
from gateway.completions.joining import missing
from gateway.workers.availability import availability
from gateway.workers.model import Role

DETAILS = 20
"""Unroutable workers named in `/readiness`."""


async def alive(request: web.Request) -> web.Response:
    """The process answers; says nothing of workers."""
    return web.Response(text="OK")


async def ready(request: web.Request) -> web.Response:
    """At least one worker (of pairs: one of each role) can take a request, the tokenizers that workers over gRPC
    need are there, and the gateway is not shutting down."""
    parts = request.app[PARTS]
    workers = [entry.worker for entry in parts.registry.entries.values()]
    away = [(worker, found.because) for worker in workers if not (found := availability(worker)).routable]
    healthy = len(workers) - len(away)
    roles = {worker.spec.role for worker in workers if availability(worker).routable}
    blind = blind_json(parts.discovery()) if parts.discovery is not None else None
    untold = missing(workers, parts.tokenizers)
    alone = Role.REGULAR in roles and not parts.disaggregated
    enough = alone or {Role.PREFILL, Role.DECODE} <= roles
    if enough and not untold and not parts.stopping():
        good: ReadyJson = {"status": "ready", "healthy_workers": healthy, "total_workers": len(workers)}
        if blind is not None:
            good["discovery_blind"] = blind
        return json_response(good)
    detail: list[UnroutableJson] = [
        {"name": worker.name, "url": worker.url, "because": because} for worker, because in away[:DETAILS]
    ]
    bad: NotReadyJson = {
        "status": "not ready",
        "reason": _reason(stopping=parts.stopping(), enough=enough),
        "healthy_workers": healthy,
        "total_workers": len(workers),
        "workers": detail,
    }
    if untold:
        bad["tokenizers"] = untold
    if blind is not None:
        bad["discovery_blind"] = blind
    return json_response(bad, 503)


def _reason(
    *, stopping: bool, enough: bool
) -> Literal["insufficient healthy workers", "tokenizer not yet registered", "draining"]:
    if stopping:
        return "draining"
    return "tokenizer not yet registered" if enough else "insufficient healthy workers"


async def models(request: web.Request) -> web.Response:
    """Every model that a listed worker serves, under all its names."""
    found: dict[str, ModelCardJson] = {}
    for entry in request.app[PARTS].registry.entries.values():
        for name in entry.worker.models:
            created = int(entry.worker.registered_at)
            found.setdefault(name, {"id": name, "object": "model", "created": created, "owned_by": "self_hosted"})
    for alias, model in request.app[PARTS].fleet.plan.aliases.items():
        if model in found:
            found.setdefault(alias, {**found[model], "id": alias})
    body: ModelsJson = {"object": "list", "data": list(found.values())}
    return json_response(body)


ROUTES = [
    Route("GET", "/health", alive, "The process is alive", media="text/plain"),
    Route("GET", "/liveness", alive, "The process is alive", media="text/plain"),
    Route(
        "GET",
        "/readiness",
        ready,
        "Whether requests can be served, and if not, why",
        statuses=(200, 503),
        answer=ReadyJson,
        refusal=NotReadyJson,
    ),
    Route("GET", "/v1/models", models, "Models that the workers serve", answer=ModelsJson),
]
