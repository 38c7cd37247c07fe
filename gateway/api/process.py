"""`GET /process`: the process and its limits, for whoever looks for what is wrong with them."""

import asyncio

from aiohttp import web

from gateway.api.app import Route, json_response
from gateway.api.schemas import timestamp
from gateway.api.shapes import ProcessJson
from gateway.telemetry.process import process_facts


async def process(request: web.Request) -> web.Response:
    """Its clock, its open files and its memory."""
    told = await asyncio.to_thread(process_facts)
    at = timestamp(told.at)
    assert at is not None
    body: ProcessJson = {
        "at": at,
        "pid": told.pid,
        "open_files": told.open_files,
        "most_open_files": told.most_open_files,
        "resident_bytes": told.resident_bytes,
    }
    return json_response(body)


ROUTES = [Route("GET", "/process", process, "The gateway's process: clock, open files, memory", answer=ProcessJson)]
