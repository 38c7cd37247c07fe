"""A worker's answer taken apart as it arrives: its head, where its body ends, whether another may follow it.

As strict as with requests, and for the same reason: bytes that could be read as the end of this answer or as part of
it could be made the next client's. Interim answers are skipped; what a head, interim ones included, and trailers may
take is bounded. Pure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from gateway.proxy.chunks import BadChunks, Chunks
from gateway.proxy.grammar import FIELDS, STATUS_LINE, UNSOUND, fields_of, stays_open, tokens
from gateway.proxy.messages import AnswerHead, bodiless

MOST_HEAD_BYTES = 64 * 1024
MOST_KEPT = 2048
"""Bytes of a head that is remembered."""
SWITCHING = 101
_BEGINNING = b"HTTP/1."


class BadReply(Exception):
    """It is not an HTTP answer, or one that could be read in two ways. The message is for people."""


class Reply:
    """One answer to a request with this method."""

    __slots__ = ("_buffer", "_left", "_method", "_seen", "chunks", "closes", "done", "head", "interim", "length")

    def __init__(self, method: bytes) -> None:
        self._method = method
        self._buffer = b""
        self._seen = 0
        """Bytes of interim answers and of the head so far."""
        self.chunks: Chunks | None = None
        """What takes the body apart, where it comes in chunks."""
        self._left = 0
        self.head: AnswerHead | None = None
        """Once it came; nothing of the body is read before."""
        self.length: int | None = None
        """Of the body, where it was announced or there is none."""
        self.interim = False
        """Interim answers came before it."""
        self.done = False
        self.closes = False
        """No other answer may follow on this connection."""

    @property
    def until_closed(self) -> bool:
        """The body ends with the connection."""
        return self.head is not None and not self.done and self.length is None and self.chunks is None

    def read_head(self, data: bytes) -> bytes:
        """Read on; returns what came behind the head, if it is there now. Raises BadReply."""
        before = len(self._buffer)
        if before:
            data = self._buffer + data
        at = 0
        while True:
            end = data.find(b"\r\n\r\n", at or max(0, before - 3)) + 4
            if end < 4:
                self._look_at_part(data[at:], 0 if at else before)
                return b""
            self._seen += end - at
            if self._seen > MOST_HEAD_BYTES:
                raise BadReply(f"its head is larger than {MOST_HEAD_BYTES} bytes")
            framing = _framing_of(data[at:end]) if end - at > MOST_KEPT else framing_of(data[at:end])
            at, status = end, framing.head.status
            if status >= 200 or status == SWITCHING:
                break
            self.interim = True
        self._buffer = b""
        self._framed(framing)
        return data[end:]

    def _look_at_part(self, part: bytes, before: int) -> None:
        """Keep the beginning of a head, if it is one. `before`: how much of it was looked at before."""
        self._buffer = part
        if self._seen + len(part) > MOST_HEAD_BYTES:
            raise BadReply(f"its head is larger than {MOST_HEAD_BYTES} bytes")
        if UNSOUND.search(part, max(0, before - 1)):
            raise BadReply("a line does not end with CRLF, or a control character is in its head")
        if not _BEGINNING.startswith(part[: len(_BEGINNING)]) or (b"\r\n" in part and not STATUS_LINE.match(part)):
            raise BadReply("its first line is not a status line")

    def _framed(self, framing: "Framing") -> None:
        """Find out where the body ends (RFC 9112 section 6.3)."""
        head, length = framing.head, framing.length
        self.head = head
        self.closes = framing.closes
        if bodiless(head.status, self._method):
            self.length, self.done = 0, True
            if self._method != b"HEAD" and (length or framing.chunked):
                self.closes = True  # whoever announces a body here may send it, too
        elif framing.chunked:
            self.chunks = Chunks(MOST_HEAD_BYTES)
        elif length is None:
            self.closes = True
        else:
            self.length = self._left = length
            self.done = not length

    def read_body(self, data: bytes, take: Callable[[bytes], None]) -> None:
        """Read on behind the head. Raises BadReply."""
        if self.done:
            self.closes = True  # whatever it is, it is no answer to anything
        elif self.chunks is not None:
            try:
                at = self.chunks.feed(data, 0, take)
            except BadChunks as bad:
                raise BadReply(str(bad)) from None
            if self.chunks.done:
                self.done = True
                self.closes = self.closes or at < len(data)
        elif self.length is None:
            take(data)
        else:
            left = self._left
            piece = data if len(data) <= left else data[:left]
            self._left -= len(piece)
            if not self._left:
                self.done = True
                self.closes = self.closes or len(data) > left
            take(piece)


@dataclass(frozen=True, slots=True)
class Framing:
    """What follows from the bytes of a head, whatever was asked."""

    head: AnswerHead
    length: int | None
    chunked: bool
    closes: bool


def _framing_of(raw: bytes) -> Framing:
    """Read a head, blank line included. Raises BadReply."""
    first = STATUS_LINE.match(raw)
    if first is None:
        raise BadReply("its first line is not a status line")
    lines = raw[first.end() : -2]
    if not FIELDS.fullmatch(lines):
        raise BadReply("a header line is malformed")
    version, headers = first[1].decode(), fields_of(lines)
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [token for name, value in headers if name == b"transfer-encoding" for token in tokens(value)]
    chunked = codings == [b"chunked"]
    closes = not stays_open(version, headers) or (chunked and version == "1.0")
    head = AnswerHead(int(first[2]), first[3] or b"", headers)
    return Framing(head, _length_of(lengths, codings), chunked, closes)


framing_of = lru_cache(maxsize=64)(_framing_of)
"""A head holds a date, so it is the same for a second: many streams begin alike."""


def _length_of(lengths: list[bytes], codings: list[bytes]) -> int | None:
    """The announced length. Raises BadReply where what is announced can be read in two ways."""
    if codings and lengths:
        raise BadReply("both Content-Length and Transfer-Encoding")
    if codings and codings not in ([b"chunked"], [b"identity"]):
        raise BadReply("Transfer-Encoding is not just 'chunked'")
    if len(lengths) > 1:
        raise BadReply("Content-Length is repeated")
    if not lengths:
        return None
    if not lengths[0].isdigit() or len(lengths[0]) > 18:
        raise BadReply("Content-Length is not a number")
    return int(lengths[0])
