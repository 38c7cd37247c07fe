"""`GET /settings`: what is in force, and where it came from."""

from aiohttp import web

from gateway.api.app import PARTS, Route, json_response
from gateway.api.shapes import SettingJson, SettingsJson


async def settings(request: web.Request) -> web.Response:
    """Keys are hidden: only that one is set is told."""
    found: list[SettingJson] = [
        {
            "name": one.name,
            "flag": one.flag,
            "environment": one.environment,
            "group": one.group,
            "description": one.description,
            "value": one.value,
            "default": one.default,
            "origin": one.origin,
        }
        for one in request.app[PARTS].settings
    ]
    body: SettingsJson = {"settings": found}
    return json_response(body)


ROUTES = [Route("GET", "/settings", settings, "The settings in force and where each came from", answer=SettingsJson)]
