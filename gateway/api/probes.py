"""Is the gateway alive, and can it take traffic: `/health`, `/liveness`, `/readiness`, and `/v1/models`."""

from aiohttp import web

from gateway.api.app import PARTS, Route
from gateway.workers.availability import availability

DETAILS = 20
"""Unroutable workers named in `/readiness`."""


async def alive(request: web.Request) -> web.Response:
    """The process answers; says nothing of workers."""
    return web.Response(text="OK")


async def ready(request: web.Request) -> web.Response:
    """At least one worker can take a request, and the gateway is not shutting down."""
    parts = request.app[PARTS]
    workers = [entry.worker for entry in parts.registry.entries.values()]
    away = [(worker, found.because) for worker in workers if not (found := availability(worker)).routable]
    healthy = len(workers) - len(away)
    counts = {"healthy_workers": healthy, "total_workers": len(workers)}
    if healthy and not parts.stopping():
        return web.json_response({"status": "ready", **counts})
    reason = "draining" if parts.stopping() else "insufficient healthy workers"
    detail = [{"name": worker.name, "url": worker.url, "because": because} for worker, because in away[:DETAILS]]
    return web.json_response({"status": "not ready", "reason": reason, **counts, "workers": detail}, status=503)


async def models(request: web.Request) -> web.Response:
    """Every model that a listed worker serves."""
    found: dict[str, dict[str, object]] = {}
    for entry in request.app[PARTS].registry.entries.values():
        for name in entry.worker.models:
            created = int(entry.worker.registered_at)
            found.setdefault(name, {"id": name, "object": "model", "created": created, "owned_by": "self_hosted"})
    return web.json_response({"object": "list", "data": list(found.values())})


ROUTES = [
    Route("GET", "/health", alive, "The process is alive"),
    Route("GET", "/liveness", alive, "The process is alive"),
    Route("GET", "/readiness", ready, "Whether requests can be served, and if not, why", statuses=(200, 503)),
    Route("GET", "/v1/models", models, "Models that the workers serve"),
]
