"""How answers leave: JSON, errors in OpenAI's shape, and server-sent events."""

import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from aiohttp import web

from gateway.simulator.planning import Bad, Body
from gateway.simulator.state import Simulation

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Endpoint = Callable[[Simulation, web.Request, Body], Awaitable[web.StreamResponse]]

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def json_answer(value: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=encode(value), status=status, content_type="application/json")


def error(status: int, code: str, message: str, param: str | None = None) -> web.Response:
    """An error in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return json_answer({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def openai_error(bad: Bad) -> web.Response:
    return error(bad.status, bad.code, str(bad), bad.param)


def anthropic_error(bad: Bad) -> web.Response:
    """An error in the shape of Anthropic's messages."""
    kind = "not_found_error" if bad.status == 404 else "invalid_request_error"
    return json_answer({"type": "error", "error": {"type": kind, "message": str(bad)}}, bad.status)


async def read_json(request: web.Request) -> dict[str, Any]:
    """The request's body. Raises Bad if it is not a JSON object."""
    try:
        body = _decode(await request.read())
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise Bad(f"the body is not JSON: {broken}", code="invalid_json") from broken
    if not isinstance(body, dict):
        raise Bad("the body: expected a JSON object", code="invalid_json")
    return body


def endpoint(
    simulation: Simulation, answer: Endpoint, shape: Callable[[Bad], web.Response] = openai_error
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that decodes the body, and turns what is wrong with it into an error."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(simulation, request, await read_json(request))
        except Bad as bad:
            return shape(bad)

    return handle


class EventStream:
    """A server-sent event stream; resets the connection after so many events where a fault says so."""

    def __init__(self, request: web.Request, drop_after: int) -> None:
        self._request = request
        self._left = drop_after
        self._response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        )

    @classmethod
    async def begin(cls, request: web.Request, simulation: Simulation) -> "EventStream":
        """Send the head: engines do before the first token is there."""
        stream = cls(request, simulation.faults.drop_after)
        await stream._response.prepare(request)
        return stream

    async def send(self, events: Iterable[Body], *, named: bool = False) -> None:
        """Send events in one write. `named` ones carry their `type` as event name too."""
        lines = [_line(event, named) for event in events]
        if self._left and len(lines) >= self._left:
            await self._response.write(b"".join(lines[: self._left]))
            reset(self._request)
        self._left -= len(lines) if self._left else 0
        if lines:
            await self._response.write(b"".join(lines))

    async def end(self, last: bytes = b"data: [DONE]\n\n") -> web.StreamResponse:
        """Send the last event, or nothing, and end the answer."""
        await self._response.write_eof(last)
        return self._response


def _line(event: Body, named: bool) -> bytes:
    name = b"event: " + str(event["type"]).encode() + b"\n" if named else b""
    return name + b"data: " + encode(event) + b"\n\n"


def reset(request: web.Request) -> None:
    """Reset the TCP connection, as a crashed process does. Raises ConnectionResetError, to end the handler."""
    if (transport := request.transport) is not None:
        raw = transport.get_extra_info("socket")
        # Lingering for zero seconds makes close() send RST instead of FIN; what was sent has left already.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    raise ConnectionResetError("dropped as told")
