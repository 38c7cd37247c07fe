"""`GET /gateway`: the gateway itself, in one small answer."""

from aiohttp import web

from gateway.api.app import PARTS, Route, json_response
from gateway.api.schemas import gateway_json
from gateway.api.shapes import GatewayJson


async def status(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    return json_response(gateway_json(parts.status(), parts.boot))


ROUTES = [Route("GET", "/gateway", status, "The gateway itself: version, addresses, rates", answer=GatewayJson)]
