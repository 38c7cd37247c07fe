"""`GET /gateway`: the gateway itself, in one small answer. `GET /people`: who looks at it."""

from aiohttp import web

from gateway.api.app import PARTS, Route, json_response
from gateway.api.schemas import gateway_json, person_json
from gateway.api.shapes import GatewayJson, PeopleJson


async def status(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    return json_response(gateway_json(parts.status(), parts.boot))


async def people(request: web.Request) -> web.Response:
    body: PeopleJson = {"people": [person_json(person) for person in request.app[PARTS].presence.people()]}
    return json_response(body)


ROUTES = [
    Route("GET", "/gateway", status, "The gateway itself: version, addresses, rates", answer=GatewayJson),
    Route("GET", "/people", people, "Who has a console open on this gateway", answer=PeopleJson),
]
