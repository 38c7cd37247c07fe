"""HTTP/1.1 heads as the proxy handles them: what a request is, which headers end here, how heads are written.

Pure. Bodies pass as bytes; framing (Content-Length, chunked) is made anew on each side, so that what one
side said about the connection never reaches the other (RFC 9110 section 7.6.1). All other headers pass, in
both directions, cookies included: unlike SMG, which forwards a list of request headers, since engines read
headers of their own and a list here would have to know them all. Names are written in lower case.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Protocol

Headers = list[tuple[bytes, bytes]]
"""Names in lower case, in the order they came; repeated names stay repeated."""

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_REQUEST_MADE_HERE = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"http2-settings", b"x-request-id"}
_ANSWER_MADE_HERE = HOP_BY_HOP | {b"content-length", b"x-request-id", b"x-smg-routed-worker-id"}
_NAMES_NOTHING = frozenset((b"keep-alive", b"Keep-Alive", b"close", b"Close"))

REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}

LAST_CHUNK = b"0\r\n\r\n"


class AnswerHead:
    """The head of an answer. What follows from it alone is worked out once, as it may be kept for the next."""

    __slots__ = ("_passing", "headers", "reason", "status", "streams")

    def __init__(self, status: int, reason: bytes, headers: Headers) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.streams = any(
            name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers
        )
        """Its body is a stream of server-sent events."""
        self._passing = b""

    @property
    def passing(self) -> bytes:
        """Status line and end-to-end headers, as the client gets them."""
        if not self._passing:
            connection = next((value for name, value in self.headers if name == b"connection"), None)
            ending = _ending(_ANSWER_MADE_HERE, connection, self.headers)
            lines = [b"%b: %b\r\n" % pair for pair in self.headers if pair[0] not in ending]
            self._passing = b"HTTP/1.1 %d %b\r\n%b" % (self.status, self.reason, b"".join(lines))
        return self._passing


JOINED_BYTES = 64 * 1024


def write_to(transport: asyncio.WriteTransport, pieces: Sequence[bytes]) -> None:
    """Write these pieces at once. Joining short ones costs less than what the transport spends on several."""
    if len(pieces) > 1 and sum(map(len, pieces)) > JOINED_BYTES:
        transport.writelines(pieces)
    else:
        transport.write(b"".join(pieces))


class BodyTaker(Protocol):
    """Takes a request's body piece by piece."""

    def on_upload(self, data: bytes) -> None: ...

    def on_upload_end(self) -> None: ...

    def upload_broken(self, status: int, code: str, message: str) -> None:
        """The rest will not come: it is not HTTP, too large, or too slow."""


@dataclass(slots=True, eq=False)
class Head:
    """What a request's head meant, but for the length of its body; kept for the next that is the same."""

    method: bytes
    target: bytes
    route: bytes
    headers: Headers
    fields: dict[bytes, bytes]
    keep_alive: bool
    http10: bool
    forwarded: bytes
    """The lines of it that pass to a worker."""

    def again(self, length: int, body: bytes) -> "Request":
        """A complete request with this head."""
        return Request(
            self.method,
            self.target,
            self.route,
            self.headers,
            self.fields,
            self.keep_alive,
            self.http10,
            length,
            b"",
            body,
            None,
            length,
            True,
            False,
            None,
            self.forwarded,
        )


@dataclass(slots=True, eq=False)
class Request:
    """A request of a client. `route` is the path without its query; `fields` the headers by name, the last of
    repeated ones."""

    method: bytes
    target: bytes
    route: bytes
    headers: Headers
    fields: dict[bytes, bytes]
    keep_alive: bool
    http10: bool = False
    length: int | None = 0
    """Announced length of the body; None where it comes in chunks."""
    request_id: bytes = b""
    body: bytes = b""
    """What came of the body and nobody has taken yet, once it is `gathered`; the whole of it on data routes."""
    pieces: BytesIO | None = None
    """The body so far, where it comes in more than one piece. Its buffer becomes the body without a copy."""
    size: int = 0
    """Bytes of the body that came so far."""
    complete: bool = False
    wants_continue: bool = False
    taker: "BodyTaker | None" = None
    """Who gets the rest of the body as it comes; None: it is kept."""
    forwarded: bytes | None = None
    """The lines of its head that pass to a worker, once they were needed."""
    tunnel: bool = False
    """It asks for a websocket: what follows its head is no HTTP, and goes to its taker as it comes."""

    def keep(self, piece: bytes) -> None:
        """A piece of the body that is kept."""
        if self.pieces is not None:
            self.pieces.write(piece)
        elif not self.body:
            self.body = piece
        else:
            self.pieces = BytesIO()
            self.pieces.write(self.body)
            self.pieces.write(piece)
            self.body = b""

    def gathered(self) -> bytes:
        """What came of the body so far, which is in `body` from now on."""
        if self.pieces is not None:
            self.body = self.pieces.getvalue()
            self.pieces = None
        return self.body

    def taken(self) -> bytes:
        """What came of the body so far, which is no longer kept here."""
        taken, self.body = self.gathered(), b""
        return taken

    def head(self) -> Head:
        """Its head, without the length of its body."""
        headers = [pair for pair in self.headers if pair[0] != b"content-length"]
        fields = {name: value for name, value in self.fields.items() if name != b"content-length"}
        return Head(
            self.method,
            self.target,
            self.route,
            headers,
            fields,
            self.keep_alive,
            self.http10,
            forwarded_lines(self),
        )


def _ending(made_here: frozenset[bytes], connection: bytes | None, headers: Headers) -> frozenset[bytes]:
    """The names that do not pass: our own and those that a Connection header declares to belong to it."""
    if connection is None or connection in _NAMES_NOTHING:
        return made_here
    named = [value for name, value in headers if name == b"connection"]
    return made_here | {token.strip().lower() for value in named for token in value.split(b",")}


def request_head(request: Request, host: bytes, authorization: bytes | None = None) -> bytes:
    """The head to send to a worker or to the control API, blank line included.

    `authorization` is used where the client sent none: the caller's own wins, as in SMG.
    """
    passing = request.forwarded
    if passing is None:
        passing = request.forwarded = forwarded_lines(request)
    own = b""
    if authorization is not None and b"authorization" not in request.fields:
        own = b"authorization: %b\r\n" % authorization
    if request.length is None:
        own += b"transfer-encoding: chunked\r\n"
    elif request.length or request.method in (b"POST", b"PUT", b"PATCH"):
        own += b"content-length: %d\r\n" % request.length
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b%bx-request-id: %b\r\n\r\n" % (
        request.method,
        request.target,
        host,
        passing,
        own,
        request.request_id,
    )


def upgrade_head(request: Request, host: bytes, authorization: bytes | None = None) -> bytes:
    """The head of a request for a websocket: as `request_head`, and what it offers to become."""
    head = request_head(request, host, authorization)
    return b"%bconnection: Upgrade\r\nupgrade: websocket\r\n\r\n" % head[:-2]


def forwarded_lines(request: Request) -> bytes:
    """The lines of a request's head that pass to a worker."""
    ending = _ending(_REQUEST_MADE_HERE, request.fields.get(b"connection"), request.headers)
    return b"".join([b"%b: %b\r\n" % pair for pair in request.headers if pair[0] not in ending])


def response_head(status: int, reason: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A status line and headers, blank line included."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason or REASONS.get(status, b"Unknown"))]
    lines += [b"%b: %b\r\n" % pair for pair in headers]
    lines.append(b"\r\n")
    return b"".join(lines)


def bodiless(status: int, method: bytes) -> bool:
    """Whether an answer has no body whatever its headers say (RFC 9112 section 6.3)."""
    return method == b"HEAD" or status in (204, 304) or 100 <= status < 200


def chunk(data: bytes) -> bytes:
    """The data as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
