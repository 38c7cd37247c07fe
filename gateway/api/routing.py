"""`POST /routing/explain`: for a given request, which worker each policy would take, and why."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.app import PARTS, ApiParts, Route, json_response
from gateway.api.bodies import decoded, judged
from gateway.api.shapes import ExplainedJson, ExplainedRoleJson, NamedWorkerJson
from gateway.completions.asked import FORMS
from gateway.completions.asked import asked as asked_of
from gateway.completions.prompts import prompts_for
from gateway.errors import GatewayError
from gateway.proxy.explain import RoleExplained, explained
from gateway.proxy.hints import hints_of
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
    body = msgspec.json.encode(asked.request)
    hints = hints_of(asked.route.encode("utf-8", "replace"), b"application/json", body)
    headers = {name.lower(): value for name, value in asked.headers.items()}
    caller = headers.get("authorization") or headers.get("x-forwarded-for") or headers.get("cookie")
    key = headers.get("x-smg-routing-key")
    tokens = await _tokens(parts, asked.route.encode("utf-8", "replace"), body, hints.model)
    roles = explained(parts.fleet, hints, key, caller, len(body), parts.mono(), tokens)
    answer: ExplainedJson = {
        "model": parts.fleet.canonical(hints.model),
        "roles": [_role_json(role) for role in roles],
    }
    return json_response(answer)


async def _tokens(parts: ApiParts, route: bytes, body: bytes, model: str | None) -> Sequence[int]:
    """The prompt as ids, where the request would be put into ids; none where that cannot be done."""
    name = parts.fleet.canonical(model)
    if name is None or route not in FORMS or not parts.fleet.speaks_grpc(name):
        return ()
    tokenizer = parts.tokenizers.get(name)
    try:
        prompts = [] if tokenizer is None else await prompts_for(asked_of(route, body), tokenizer, None)
    except GatewayError:
        return ()
    return prompts[0].ids if prompts else ()


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
        "POST",
        "/routing/explain",
        explain,
        "Which worker each policy would take for a request, and why; sends nothing",
        body=ExplainBody,
        statuses=(200, 400),
        answer=ExplainedJson,
    ),
]
