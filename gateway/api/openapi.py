"""`/openapi.json`: made from the route table, the models that judge bodies and the shapes of answers, so that it
cannot drift. Made when it is first asked for: hardly anybody does, and it costs as much as the rest of a start.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from aiohttp import web
from pydantic import TypeAdapter

from gateway.api.app import Route, json_response

Direction = Literal["validation", "serialization"]
Reference = dict[str, Any]


class Document:
    """An OpenAPI 3.1 document of these routes."""

    def __init__(self, routes: Sequence[Route], version: str) -> None:
        self._routes = routes
        self._version = version

    @cached_property
    def value(self) -> dict[str, Any]:
        schemas = _Schemas(self._routes)
        paths: dict[str, dict[str, Any]] = {}
        for route in self._routes:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
        return {
            "openapi": "3.1.0",
            "info": {"title": "smg-console control API", "version": self._version},
            "paths": paths,
            "components": {"schemas": schemas.named},
        }


DOCUMENT = web.AppKey("document", Document)


class _Schemas:
    """The JSON schema of every type that the routes name. `named` are those that others refer to."""

    def __init__(self, routes: Sequence[Route]) -> None:
        asked: dict[tuple[str, Direction], Any] = {}
        for route in routes:
            for kind in (route.answer, route.refusal):
                if kind is not None:
                    asked[repr(kind), "serialization"] = kind
            if route.body is not None:
                asked[repr(route.body), "validation"] = route.body
        inputs = [(name, direction, TypeAdapter(kind)) for (name, direction), kind in asked.items()]
        self._found, defs = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
        self.named: dict[str, Any] = defs["$defs"]

    def of(self, kind: object, direction: Direction) -> Reference:
        return self._found[repr(kind), direction]


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    where = [("path", name) for name in re.findall(r"{(\w+)}", route.path)] + [("query", name) for name in route.query]
    body = route.body is not None
    statuses = sorted({*route.statuses, 400, 413} if body else route.statuses)
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-z]+', '_', route.path)}",
        "responses": {str(status): _response(route, status, schemas) for status in statuses},
    }
    if where:
        operation["parameters"] = [
            {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
            for place, name in where
        ]
    if body:
        operation["requestBody"] = {
            "content": {"application/json": {"schema": schemas.of(route.body, "validation")}},
        }
    return operation


def _response(route: Route, status: int, schemas: _Schemas) -> dict[str, Any]:
    kind = route.answer if status < 400 else route.refusal
    text = "as asked" if status < 400 else "why not"
    if kind is None:
        media = route.media if status < 400 else "text/plain"
        return {"description": text, "content": {media: {"schema": {"type": "string"}}}}
    return {"description": text, "content": {"application/json": {"schema": schemas.of(kind, "serialization")}}}


async def openapi(request: web.Request) -> web.Response:
    """This document."""
    return json_response(request.app[DOCUMENT].value)


ROUTES = [Route("GET", "/openapi.json", openapi, "This document", answer=dict[str, Any])]
