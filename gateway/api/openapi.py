"""`/openapi.json`: made from the route table and the models that judge bodies, so that it cannot drift."""

import re
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from gateway.api.app import Route

DOCUMENT = web.AppKey("document", dict)

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": ["string", "object"]}, "code": {"type": "string"}},
}


async def openapi(request: web.Request) -> web.Response:
    """This document."""
    return web.json_response(request.app[DOCUMENT])


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document of the control API."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "smg-console control API", "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    where = [("path", name) for name in re.findall(r"{(\w+)}", route.path)] + [("query", name) for name in route.query]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-z]+', '_', route.path)}",
        "responses": {str(status): _response(status) for status in route.statuses},
    }
    if where:
        operation["parameters"] = [
            {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
            for place, name in where
        ]
    if route.body is not None and issubclass(route.body, BaseModel):
        made = route.body.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(made.pop("$defs", {}))
        schemas[route.body.__name__] = made
        reference = {"$ref": f"#/components/schemas/{route.body.__name__}"}
        operation["requestBody"] = {"content": {"application/json": {"schema": reference}}}
    return operation


def _response(status: int) -> dict[str, Any]:
    if status < 400:
        return {"description": "as asked"}
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": "why not", "content": {"application/json": {"schema": schema}}}


ROUTES = [Route("GET", "/openapi.json", openapi, "This document")]
