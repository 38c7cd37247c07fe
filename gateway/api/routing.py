"""`GET /routing`: which policy serves which model. `POST /routing/explain`: which worker each would take, and why."""

from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.app import PARTS, Route, json_response
from gateway.api.bodies import decoded, judged
from gateway.api.shapes import ExplainedJson, ExplainedRoleJson, NamedWorkerJson, RouteJson, RoutesJson
from gateway.proxy.explain import RoleExplained
from gateway.workers.entry import Entry

SHOWN = 100
"""Workers listed on each side."""


class ExplainBody(BaseModel):
    """POST /routing/explain."""

    model_config = ConfigDict(extra="forbid", strict=True)

    request: dict[str, Any]
    """The body of the request, as a client would send it."""
    route: Annotated[str, Field(max_length=256)] = "/v1/chat/completions"
    headers: Annotated[dict[str, str], Field(max_length=100)] = {}


async def explain(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    asked = judged(ExplainBody, decoded(await request.read()))
    model, roles = await parts.explainer.explain(asked.route, asked.request, asked.headers)
    answer: ExplainedJson = {"model": model, "roles": [_role_json(role) for role in roles]}
    return json_response(answer)


async def routing(request: web.Request) -> web.Response:
    """Workers by id; `/workers` tells the rest."""
    routes: list[RouteJson] = [
        {
            "model": found.model,
            "role": found.role.value,
            "policy": found.policy,
            "by_label": found.by_label,
            "candidates": list(found.candidates),
            "left_out": [{"id": worker, "because": because} for worker, because in found.left_out],
        }
        for found in request.app[PARTS].explainer.routes()
    ]
    body: RoutesJson = {"routes": routes}
    return json_response(body)


def _named(entry: Entry) -> NamedWorkerJson:
    return {"id": entry.worker.id, "name": entry.worker.name, "url": entry.worker.url}


def _role_json(role: RoleExplained) -> ExplainedRoleJson:
    by_id = {entry.worker.id: entry for entry in role.candidates}
    return {
        "role": role.role.value,
        "policy": role.policy,
        "candidates": [_named(entry) for entry in role.candidates[:SHOWN]],
        "left_out": [{**_named(left.entry), "because": left.because} for left in role.left_out[:SHOWN]],
        "choices": [
            {
                "policy": choice.policy,
                "in_use": choice.in_use,
                "worker": _named(by_id[choice.explanation.worker]),
                "why": choice.explanation.why,
            }
            for choice in role.choices
        ],
    }


ROUTES = [
    Route(
        "GET",
        "/routing",
        routing,
        "Which policy serves which model, the workers it chooses from, and why not from others",
        answer=RoutesJson,
    ),
    Route(
        "POST",
        "/routing/explain",
        explain,
        "Which worker each policy would take for a request, and why; sends nothing",
        body=ExplainBody,
        statuses=(200, 400),
        answer=ExplainedJson,
    ),
]
