"""The gateway's own answers on the data plane, in OpenAI's error shape with SMG's codes. Pure."""

import msgspec

from gateway.errors import GatewayError
from gateway.proxy.messages import response_head

ErrorBody = dict[str, dict[str, str | None]]


def error_body(status: int, code: str, message: str, param: str | None = None) -> ErrorBody:
    """`{"error": …}` as OpenAI clients read it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"type": kind, "code": code, "message": message, "param": param}}


def error_answer(
    status: int,
    code: str,
    message: str,
    *,
    param: str | None = None,
    request_id: bytes = b"",
    worker: bytes = b"",
    retry_after: bytes = b"",
    keep_alive: bool = False,
    head_only: bool = False,
) -> bytes:
    """A whole error response, head and body. `worker`: the id of the one that was tried."""
    body = msgspec.json.encode(error_body(status, code, message, param))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-smg-error-code", code.encode()),
    ]
    if request_id:
        headers.append((b"x-request-id", request_id))
    if worker:
        headers.append((b"x-smg-routed-worker-id", worker))
    if retry_after:
        headers.append((b"retry-after", retry_after))
    if not keep_alive:
        headers.append((b"connection", b"close"))
    return response_head(status, b"", headers) + (b"" if head_only else body)


def refusal_code(error: GatewayError) -> str:
    """The code on the data plane: SMG spells its own in capitals on control routes and in snake case here."""
    return "invalid_request" if error.code == "BAD_REQUEST" else error.code.lower()


def sse_error(status: int, code: str, message: str, *, mid_event: bool, route: bytes) -> bytes:
    """An error event for a stream whose head has already gone out; OpenAI clients raise it as an APIError.

    `mid_event`: the stream broke inside an event, which is closed first.
    """
    body: dict[str, object] = dict(error_body(status, code, message))
    name = b""
    if route == b"/v1/messages":  # Anthropic's clients look for a named event
        name, body = b"event: error\n", {"type": "error", **body}
    return (b"\n\n" if mid_event else b"") + name + b"data: %b\n\n" % msgspec.json.encode(body)
