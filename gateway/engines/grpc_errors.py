"""From a gRPC status to what it means for the caller. Pure: takes the code's name, so nothing of gRPC is needed.

The details an engine gives are shown to people, and gRPC core's own are cut down to their last clause: they begin
with sentences about every address that was tried.
"""

from gateway.engines.generation import EngineError, ErrorKind

_KINDS = {
    "INVALID_ARGUMENT": ErrorKind.INVALID,
    "OUT_OF_RANGE": ErrorKind.INVALID,
    "NOT_FOUND": ErrorKind.INVALID,  # vLLM: an adapter that is not loaded
    "FAILED_PRECONDITION": ErrorKind.INVALID,  # an answer that cannot go on under the request's own constraint
    "UNAVAILABLE": ErrorKind.UNAVAILABLE,
    "CANCELLED": ErrorKind.UNAVAILABLE,  # by the engine: our own cancelling never comes here
    "ABORTED": ErrorKind.UNAVAILABLE,
    "DEADLINE_EXCEEDED": ErrorKind.TIMEOUT,
    "UNIMPLEMENTED": ErrorKind.UNSUPPORTED,
    "RESOURCE_EXHAUSTED": ErrorKind.EXHAUSTED,
}
_TOO_LARGE = "message larger than max"
_MOST = 500
"""Characters of an engine's details that are kept."""


def error_of(code: str, details: str | None, *, doing: str = "") -> EngineError:
    """The error for a status that is not OK. `doing` is the RPC, for those whose details say nothing."""
    text = (details or "").strip()
    kind = _KINDS.get(code, ErrorKind.INTERNAL)
    if kind is ErrorKind.EXHAUSTED and _TOO_LARGE in text:
        # gRPC core's own words, on either side: no other worker would take it.
        return EngineError(ErrorKind.INVALID, f"the request is too large for the worker: {text[:_MOST]}")
    if kind is ErrorKind.UNAVAILABLE:
        return EngineError(kind, _connection_text(text) or f"{doing}: {code.lower()}".removeprefix(": "))
    if kind is ErrorKind.TIMEOUT:
        return EngineError(kind, f"no answer in time ({doing})" if doing else "no answer in time")
    if kind is ErrorKind.UNSUPPORTED:
        return EngineError(kind, f"the worker does not have {doing}" if doing else text or "not supported")
    if len(text) > _MOST:
        text = text[: _MOST - 1] + "…"
    return EngineError(kind, text or f"{doing}: {code.lower()}".removeprefix(": "))


def _connection_text(text: str) -> str:
    """`failed to connect to all addresses; last error: UNKNOWN: ipv4:…: connect: Connection refused (111)` and
    the like, in a few words. What an engine says itself stays whole."""
    if "onnection refused" in text:
        return "connection refused"
    if "onnection reset" in text or "ocket closed" in text or "GOAWAY" in text:
        return "connection lost"
    if "Timeout occurred" in text or "imed out" in text or "Deadline Exceeded" in text:
        return "no connection in time"
    if "DNS" in text or "resolution" in text:
        return "cannot resolve host"
    if "handshake" in text or "SSL" in text or "certificate" in text.lower():
        return f"TLS: {text.rpartition(': ')[2][:200]}"
    if "last error: " in text:
        return text.rpartition("last error: ")[2][:200]
    return text[:_MOST]
