"""Bytes of a client to requests, in order. No sockets and no waiting: it is fed, and fills a queue.

llhttp does the reading, in its strict mode; heads, bodies and the overhead of chunks are bounded here. A
request stands in the queue from the end of its head on; its body is kept with it until somebody takes it.
"""

import re
from collections import deque
from collections.abc import Callable

import httptools

from gateway.proxy.intake import (
    Refused,
    body_too_large,
    checked_head,
    head_too_large,
    malformed,
    too_many_headers,
)
from gateway.proxy.known import KnownHeads, Pattern, parted
from gateway.proxy.messages import Head, Headers, Request
from gateway.proxy.settings import ProxySettings

_CHUNKED = b"transfer-encoding: chunked"
CHUNK_OVERHEAD = 16
CHUNK_SLACK = 1024 * 1024
"""A chunked body may take up to OVERHEAD bytes on the wire per byte, beyond the slack."""
REQUEST_WEIGHT = 512
"""What a queued request counts in `queued_bytes` beside its body."""


MOST_HEADERS = 256
_OTHER_PROTOCOL = re.compile(rb"[^\r\n]* (?:RTSP|ICE)/")
"""Request lines of protocols that borrowed HTTP's looks, which the parser lets through."""


class RequestReader:
    """Reads one connection. `refused` is set once, after which it reads no more."""

    __slots__ = (
        "_cut_short",
        "_head_fed",
        "_head_size",
        "_headers",
        "_known",
        "_last",
        "_line",
        "_mono",
        "_parser",
        "_settings",
        "_steps",
        "_target",
        "_telling",
        "_wire",
        "head_began",
        "in_head",
        "incoming",
        "queue",
        "queued_bytes",
        "refused",
    )

    def __init__(
        self, settings: ProxySettings, mono: Callable[[], float], known: KnownHeads[Head] | None = None
    ) -> None:
        self._settings = settings
        self._known = KnownHeads[Head]() if known is None else known
        self._mono = mono
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: Headers = []
        self._head_size = 0
        self._head_fed = 0
        self._wire = 0
        self._steps = 0
        self._telling = False
        self._cut_short = False
        self._last: Pattern[Head] | None = None
        """The head of the last request, if it is known."""
        self._line: bytes | None = None
        """The beginning of a message's first line, until the whole line is there."""
        self.queue: deque[Request] = deque()
        """Requests that wait for their turn; the last one's body may still be coming."""
        self.queued_bytes = 0
        self.incoming: Request | None = None
        """The request whose body is being read, in the queue or already under way."""
        self.in_head = False
        self.head_began = 0.0
        """Monotonic time of the first byte of the present head."""
        self.refused: Refused | None = None
        """What to answer after everything in the queue, before closing."""

    def feed(self, data: bytes) -> Request | None:
        """Read on. A request that is the first in line and came whole is returned at once, others are queued."""
        if self._parser is None:
            return None
        if self.incoming is not None or self._head_fed or self.in_head:
            if self._line is not None:
                self._read_line(self._line + data)
            self._feed_on(data)
            return None
        last = self._last
        if last is not None and not self.queue:
            body = last.body_of(data)
            if body is not None and len(data) == body[0] + body[1] and body[1] <= self._settings.max_payload_bytes:
                return last.meaning.again(body[1], data[body[0] :])
        self._line = None
        parts = parted(data)
        if parts is not None:
            return self._feed_from_the_start(data, *parts)
        self._read_line(data)
        before = self._steps
        self._feed_on(data)
        if self.in_head and self._steps == before + 1:  # all of it is one head, so far
            self._head_fed = len(data)
            self._check_head_fed()
        return None

    def _read_line(self, line: bytes) -> None:
        """Look at the first line of a message, of which this has come so far."""
        whole = b"\n" in line
        self._line = None if whole or len(line) > self._settings.max_head_bytes else line
        if whole and (_OTHER_PROTOCOL.match(line) or (not self._steps and line.startswith(b"\n"))):
            self.refuse(malformed("it does not begin with a request line of HTTP"))

    def _feed_from_the_start(self, data: bytes, key: bytes, start: int, length: int) -> Request | None:
        """A piece that begins with a whole head."""
        if len(data) != start + length or length > self._settings.max_payload_bytes:
            self._read_line(data)
            self._feed_on(data)
            return None
        known = self._known.find(key)
        if known is not None:
            self._last = known
            request = known.meaning.again(length, data[start:])
            if not self.queue:
                return request
            self.queue.append(request)
            self.queued_bytes += REQUEST_WEIGHT + length
            return None
        self._read_line(data)
        before = len(self.queue)
        self._feed_on(data)
        if len(self.queue) == before + 1 and self.refused is None:
            request = self.queue[-1]
            if request.complete and request.size == length and not request.wants_continue:
                self._last = self._known.learn(data, request.head())
        return None

    def _feed_on(self, data: bytes) -> None:
        if self._parser is None:  # the line was refused
            return
        steps = self._steps
        self._parse(data)
        fed = len(data) if steps == self._steps else 0  # else a head or body began or ended within this piece
        incoming = self.incoming
        if incoming is None:
            self._head_fed = self._head_fed + fed if fed else 0
            self._check_head_fed()
        elif incoming.length is None:
            self._wire += fed
            if self._wire > CHUNK_SLACK + CHUNK_OVERHEAD * incoming.size:
                self.refuse(malformed("its chunks are mostly overhead"))

    def _check_head_fed(self) -> None:
        if self._head_fed > self._settings.max_head_bytes:
            self.refuse(head_too_large(self._settings.max_head_bytes))

    def put_back(self, request: Request) -> None:
        """A request that `feed` returned cannot begin yet: it is the first in line."""
        self.queue.append(request)
        self.queued_bytes += REQUEST_WEIGHT + request.size

    def take(self) -> Request:
        """The first of the queue, to be answered now. What comes of its body from now on goes to its `taker`."""
        request = self.queue.popleft()
        self.queued_bytes -= REQUEST_WEIGHT + request.size
        return request

    def refuse(self, refused: Refused) -> None:
        """Read no more; a request whose body is unfinished is broken off."""
        self.stop()
        incoming, self.incoming = self.incoming, None
        if incoming is not None and incoming.taker is not None:
            incoming.taker.upload_broken(refused.status, refused.code, refused.message)
            return
        if incoming is not None:
            self.queue.pop()
        self.refused = refused

    def stop(self) -> None:
        """Read no more."""
        self._parser = None
        self.in_head = False

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        while parser is not None:
            try:
                parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                parser = self._declined_upgrade()
                if data:
                    continue
            except httptools.HttpParserCallbackError as error:
                if not isinstance(error.__context__, Refused):
                    raise
                self.refuse(error.__context__)
            except httptools.HttpParserError as error:
                self.refuse(malformed(str(error)))
            return

    def _declined_upgrade(self) -> httptools.HttpRequestParser | None:
        """Go on in HTTP/1.1 after a request that offered another protocol (Java's client offers h2c).

        httptools stops such a request at the end of its head, although its body follows. A new parser is told
        of that body by a head of our own, for else the body would be read as the next request.
        """
        if self._parser is None:
            return None
        parser = self._parser = httptools.HttpRequestParser(self)
        request = self.incoming
        if request is not None:
            framing = b"content-length: %d" % request.length if request.length is not None else _CHUNKED
            self._telling = True
            parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            self._telling = False
        return parser

    # --- httptools callbacks, from within feed_data ---

    def on_message_begin(self) -> None:
        if self._telling:
            return
        self.in_head = True
        self._steps += 1
        self.head_began = self._mono()
        self._target = b""
        self._headers = []
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        if self._telling:
            return
        self._target += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        if self.in_head:  # else a trailer, which ends here
            if len(self._headers) >= MOST_HEADERS:
                raise too_many_headers(MOST_HEADERS)
            self._headers.append((name.lower(), value.strip(b" \t")))  # the parser leaves blanks behind a value

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._settings.max_head_bytes:
            raise head_too_large(self._settings.max_head_bytes)

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self._telling or parser is None:
            return
        self.in_head = False
        self._steps += 1
        self._wire = 0
        request = checked_head(
            parser.get_method(),
            self._target,
            parser.get_http_version(),
            self._headers,
            keep_alive=parser.should_keep_alive(),
            most=self._settings.max_payload_bytes,
        )
        self._cut_short = parser.should_upgrade() and request.length != 0
        self.incoming = request
        self.queue.append(request)
        self.queued_bytes += REQUEST_WEIGHT

    def on_body(self, data: bytes) -> None:
        request = self.incoming
        assert request is not None
        request.size += len(data)
        if request.size > self._settings.max_payload_bytes:
            raise body_too_large(self._settings.max_payload_bytes)
        if request.taker is not None:
            request.taker.on_upload(data)
        else:
            request.parts.append(data)
            self.queued_bytes += len(data)

    def on_message_complete(self) -> None:
        self._steps += 1
        if self._cut_short:  # see _declined_upgrade: this is only the end of the head
            self._cut_short = False
            return
        request, self.incoming = self.incoming, None
        if request is not None:
            request.complete = True
            if request.taker is not None:
                request.taker.on_upload_end()
