"""Bytes of a client to requests, in order. No sockets and no waiting: it is fed, and fills a queue.

Heads are read whole, by a grammar that has one meaning for each (`grammar`); what has come of one is looked at
before its end, so that what is no HTTP is refused at once and a line is looked at once however it is split. Heads,
bodies and the overhead of chunks are bounded here. A request stands in the queue from the end of its head on; its
body is kept with it until somebody takes it.
"""

from collections import deque
from collections.abc import Callable

from gateway.proxy.chunks import BadChunks, Chunks
from gateway.proxy.grammar import FIELDS, FIRST_LINE, FIRST_LINE_SO_FAR, UNSOUND, fields_of, stays_open
from gateway.proxy.intake import (
    Refused,
    body_too_large,
    checked_head,
    head_too_large,
    malformed,
    target_too_long,
    too_many_headers,
)
from gateway.proxy.known import KnownHeads, Pattern, parted
from gateway.proxy.messages import Head, Request
from gateway.proxy.settings import ProxySettings

REQUEST_WEIGHT = 512
"""What a queued request counts in `queued_bytes` beside its body."""
MOST_HEADERS = 256
MOST_FIRST_LINE = 16 * 1024
"""Bytes of a request line; the whole head may be longer (and a line that outgrows a head is a head too large)."""


class RequestReader:
    """Reads one connection. `refused` is set once, after which it reads no more."""

    __slots__ = (
        "_blanks",
        "_buffer",
        "_checked",
        "_chunks",
        "_ends",
        "_known",
        "_last",
        "_mono",
        "_settings",
        "_stopped",
        "dropped",
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
        self._buffer = bytearray()
        """The beginning of a head whose end has not come."""
        self._checked = 0
        """How much of it has been looked at: whole lines."""
        self._blanks = 0
        """Bytes of blank lines before it."""
        self._chunks: Chunks | None = None
        self._stopped = False
        self._last: Pattern[Head] | None = None
        """The head of the last request, if it is known."""
        self._ends = False
        """Its last request said that it is the last."""
        self.dropped = False
        """Something came behind the last request."""
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
        if self._stopped or self._ends:
            if self.incoming is None:
                self.dropped = True
                return None
        elif self.incoming is None and not self._buffer:
            last = self._last
            if last is not None and not self.queue:
                body = last.body_of(data)
                if body is not None and len(data) == body[0] + body[1] and body[1] <= self._settings.max_payload_bytes:
                    return self._again(last, body[1], data[body[0] :])
            parts = parted(data)
            if parts is not None:
                return self._feed_from_the_start(data, *parts)
        self._feed_on(data)
        return None

    def _feed_from_the_start(self, data: bytes, key: bytes, start: int, length: int) -> Request | None:
        """A piece that begins with a whole head."""
        if len(data) != start + length or length > self._settings.max_payload_bytes:
            self._feed_on(data)
            return None
        known = self._known.find(key)
        if known is not None:
            self._last = known
            request = self._again(known, length, data[start:])
            if not self.queue:
                return request
            self.queue.append(request)
            self.queued_bytes += REQUEST_WEIGHT + length
            return None
        before = len(self.queue)
        self._feed_on(data)
        if len(self.queue) == before + 1 and self.refused is None and not data.startswith(b"\r"):
            request = self.queue[-1]
            sound = request.complete and request.size == length
            if sound and not request.wants_continue and not request.tunnel:
                self._last = self._known.learn(data, request.head())
        return None

    def _again(self, known: Pattern[Head], length: int, body: bytes) -> Request:
        self._ends = not known.meaning.keep_alive
        self._blanks = 0
        return known.meaning.again(length, body)

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
        if incoming is not None and self.queue:
            self.queued_bytes -= REQUEST_WEIGHT + self.queue.pop().size
        self.refused = refused

    def stop(self) -> None:
        """Read no more."""
        self._stopped = True
        self.in_head = False
        self._buffer.clear()
        self._chunks = None

    # --- reading on ---

    def _feed_on(self, data: bytes) -> None:
        at, size = 0, len(data)
        try:
            while at < size and not self._stopped:
                if self.incoming is not None:
                    at = self._read_body(self.incoming, data, at)
                elif self._ends:
                    self.dropped = True
                    return
                elif self._buffer:
                    at = self._read_on_in_head(data, at)
                else:
                    at = self._read_head(data, at)
        except Refused as refused:
            self.refuse(refused)
        except BadChunks as bad:
            most = self._settings.max_head_bytes
            self.refuse(head_too_large(most) if bad.trailers else malformed(str(bad)))

    def _read_head(self, data: bytes, at: int) -> int:
        """A head begins at `at`; returns where what was read ends."""
        while data.startswith(b"\r\n", at):  # blank lines, as old clients send them behind a body
            at += 2
            self._blanks += 2
        most = self._settings.max_head_bytes - self._blanks
        if most < 0:
            raise head_too_large(self._settings.max_head_bytes)
        if at == len(data):
            return at
        end = data.find(b"\r\n\r\n", at, at + most + 4)
        if end >= 0:
            self._take_head(data[at : end + 2])
            return end + 4
        self._buffer += data[at : at + most + 4]
        self._checked = 0
        if self._buffer != b"\r":  # else it may become a blank line
            self.in_head = True
            self.head_began = self._mono()
            self._look_at_part(0)
        return len(data)

    def _read_on_in_head(self, data: bytes, at: int) -> int:
        """More of a head of which the beginning is kept."""
        buffer = self._buffer
        before = len(buffer)
        if before == 1 and buffer == b"\r":
            buffer.clear()
            if not data.startswith(b"\n", at):
                raise malformed("a line ends with a carriage return alone")
            self._blanks += 2
            return at + 1
        most = self._settings.max_head_bytes - self._blanks
        buffer += data[at : at + most + 4]
        end = buffer.find(b"\r\n\r\n", max(0, before - 3))
        if end < 0 or end > most:
            self._look_at_part(before)
            return len(data)
        head = bytes(buffer[: end + 2])
        buffer.clear()
        self._take_head(head)
        return at + end + 4 - before

    def _look_at_part(self, before: int) -> None:
        """Refuse what cannot become a head. `before`: how much of it was looked at before."""
        buffer = self._buffer
        if len(buffer) > self._settings.max_head_bytes - self._blanks:
            raise head_too_large(self._settings.max_head_bytes)
        if UNSOUND.search(buffer, max(0, before - 1)):
            raise malformed("a line does not end with CRLF, or a control character is in the head")
        if not self._checked:
            first = buffer.find(b"\r\n", max(0, before - 1))
            if first < 0:
                if before < 64 and not FIRST_LINE_SO_FAR.fullmatch(buffer):
                    raise malformed("it does not begin with a request line of HTTP")
                return
            if first > MOST_FIRST_LINE:
                raise target_too_long(MOST_FIRST_LINE)
            self._checked = first + 2
            if not FIRST_LINE.match(buffer):
                raise malformed("its first line is not a request line of HTTP")
        end = buffer.rfind(b"\r\n", self._checked)
        if end >= 0:
            if not FIELDS.fullmatch(buffer, self._checked, end + 2):
                raise malformed("a header line is malformed")
            self._checked = end + 2

    def _take_head(self, head: bytes) -> None:
        """A whole head, up to the end of its last line."""
        self.in_head = False
        self._blanks = 0
        first = FIRST_LINE.match(head)
        if first is None:
            raise malformed("its first line is not a request line of HTTP")
        if first.end() > MOST_FIRST_LINE:
            raise target_too_long(MOST_FIRST_LINE)
        lines = head[first.end() :]
        if not FIELDS.fullmatch(lines):
            raise malformed("a header line is malformed")
        headers = fields_of(lines)
        if len(headers) > MOST_HEADERS:
            raise too_many_headers(MOST_HEADERS)
        version = first[3].decode()
        request = checked_head(
            first[1],
            first[2],
            version,
            headers,
            keep_alive=stays_open(version, headers),
            most=self._settings.max_payload_bytes,
        )
        self.queue.append(request)
        self.queued_bytes += REQUEST_WEIGHT
        self._ends = not request.keep_alive
        if request.tunnel:
            request.complete = True
            self.incoming = request
        elif request.length == 0:
            request.complete = True
        else:
            self.incoming = request
            self._chunks = None if request.length is not None else Chunks(self._settings.max_head_bytes)

    def _read_body(self, request: Request, data: bytes, at: int) -> int:
        """More of the body of this request; returns where what was read ends."""
        if self._chunks is not None:
            at = self._chunks.feed(data, at, self._take_body)
            if self._chunks.done:
                self._end_body(request)
            return at
        left = len(data) if request.tunnel or request.length is None else request.length - request.size
        piece = data if not at and len(data) <= left else data[at : at + left]
        self._take_body(piece)
        if request.size == request.length and not request.tunnel:
            self._end_body(request)
        return at + len(piece)

    def _take_body(self, piece: bytes) -> None:
        request = self.incoming
        if request is None:  # whoever took the body has refused the rest
            return
        request.size += len(piece)
        if request.size > self._settings.max_payload_bytes and not request.tunnel:
            raise body_too_large(self._settings.max_payload_bytes)
        if request.taker is not None:
            request.taker.on_upload(piece)
        else:
            request.keep(piece)
            self.queued_bytes += len(piece)

    def _end_body(self, request: Request) -> None:
        self.incoming = self._chunks = None
        request.complete = True
        if request.taker is not None:
            request.taker.on_upload_end()
