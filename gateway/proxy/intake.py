"""What of a request's head is accepted, beyond what its grammar lets through. Pure.

Whatever two HTTP implementations could read in two ways is refused, since this one and a worker's would:
that is how requests are smuggled.
"""

import httptools

from gateway.proxy.grammar import HOST, tokens
from gateway.proxy.messages import Headers, Request

TUNNELS = frozenset((b"/v1/realtime",))
"""GET on these may become a websocket to a worker."""
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_NOT_HERE = frozenset(
    b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL"
    b" MKREDIRECTREF MKWORKSPACE MOVE ORDERPATCH PRI PROPFIND PROPPATCH QUERY REBIND REPORT SEARCH TRACE UNBIND"
    b" UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL".split()
)
"""Methods that HTTP has and this server has not; TRACE would show a caller's own key to whoever made it ask."""
_ONCE = frozenset((b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization", b"expect"))


class Refused(Exception):
    """The request is answered with this, and the connection closed."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def malformed(what: str) -> Refused:
    return Refused(400, "invalid_request", f"not a valid HTTP/1.1 request: {what}")


def head_too_large(most: int) -> Refused:
    return Refused(431, "headers_too_large", f"the request line and headers are larger than {most} bytes")


def target_too_long(most: int) -> Refused:
    return Refused(414, "uri_too_long", f"the request line is longer than {most} bytes")


def too_many_headers(most: int) -> Refused:
    return Refused(431, "headers_too_large", f"more than {most} headers")


def body_too_large(most: int) -> Refused:
    return Refused(413, "payload_too_large", f"the body is larger than {most} bytes (--max-payload-size)")


def checked_head(
    method: bytes, target: bytes, version: str, headers: Headers, *, keep_alive: bool, most: int
) -> Request:
    """The request a head announces. `most`: bytes of body that are accepted. Raises Refused."""
    fields = dict(headers)
    if len(fields) != len(headers):
        _check_repeated(headers)
    if version not in ("1.1", "1.0"):
        raise Refused(505, "http_version_not_supported", f"HTTP/{version} is not supported; expected HTTP/1.1")
    http10 = version == "1.0"
    if method not in _METHODS and method not in _NOT_HERE:
        raise malformed(f"there is no method {method.decode('latin-1')!r}")
    if method not in _METHODS:
        why = ": this is no forward proxy" if method == b"CONNECT" else ""
        raise Refused(501, "not_implemented", f"{method.decode('latin-1')} is not supported{why}")
    host = fields.get(b"host")
    if host is None and not http10:
        raise malformed("the Host header is missing")
    if host is not None and not HOST.fullmatch(host):
        raise malformed("the Host header is not a host, with or without a port")
    if b"#" in target:
        raise malformed("the target has a fragment")
    if not target.startswith(b"/"):
        target = _origin_form(method, target)
    length = _body_length(fields, http10=http10, most=most)
    route = target.partition(b"?")[0]
    tunnel = route in TUNNELS and method == b"GET" and length == 0 and not http10 and _to_websocket(headers)
    return Request(
        method=method,
        target=target,
        route=route,
        headers=headers,
        fields=fields,
        keep_alive=keep_alive and not tunnel,
        http10=http10,
        length=length,
        wants_continue=_wants_continue(fields, http10=http10) and length != 0,
        tunnel=tunnel,
    )


def stays_open(version: str, headers: Headers) -> bool:
    """Whether the connection may carry another request."""
    said = [token for name, value in headers if name == b"connection" for token in tokens(value)]
    return b"close" not in said if version == "1.1" else b"keep-alive" in said and b"close" not in said


def _to_websocket(headers: Headers) -> bool:
    offered = [tokens(value) for name, value in headers if name == b"upgrade"]
    said = [token for name, value in headers if name == b"connection" for token in tokens(value)]
    return offered == [[b"websocket"]] and b"upgrade" in said


def _check_repeated(headers: Headers) -> None:
    seen = set()
    for name, _ in headers:
        if name in _ONCE and name in seen:
            raise malformed(f"the header {name.decode('latin-1')} is repeated")
        seen.add(name)


def _body_length(fields: dict[bytes, bytes], *, http10: bool, most: int) -> int | None:
    """Announced length of the body; None where it comes in chunks."""
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise malformed("both Content-Length and Transfer-Encoding")
        if http10:
            raise malformed("Transfer-Encoding in an HTTP/1.0 request")
        codings = tokens(coding)
        if codings.count(b"chunked") != 1 or codings[-1] != b"chunked" or b"" in codings:
            raise malformed("Transfer-Encoding does not end with 'chunked'")
        if len(codings) > 1:
            raise Refused(501, "not_implemented", "Transfer-Encoding: only 'chunked' is supported")
        return None
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 19:
        raise malformed("Content-Length is not a number")
    if int(length) > most:
        raise body_too_large(most)
    return int(length)


def _wants_continue(fields: dict[bytes, bytes], *, http10: bool) -> bool:
    expect = fields.get(b"expect")
    if expect is None or http10:
        return False
    if expect.lower() != b"100-continue":
        raise Refused(417, "expectation_failed", "Expect: only '100-continue' is supported")
    return True


def _origin_form(method: bytes, target: bytes) -> bytes:
    """The path and query of an absolute target, as a client sends to what it takes for a proxy."""
    if target == b"*" and method == b"OPTIONS":
        return target
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        url = None
    if url is None or url.schema is None or url.schema.lower() not in (b"http", b"https"):
        raise malformed("the target is neither a path nor an http URL")
    return (url.path or b"/") + (b"?" + url.query if url.query is not None else b"")
