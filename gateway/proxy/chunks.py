"""A chunked body taken apart as it arrives: data out, sizes, extensions and trailers dropped.

It follows RFC 9112 section 7.1 to the letter, since a size that two programs read in two ways is how requests are
smuggled; blanks around extensions, which the RFC lets a recipient bear with, are refused with the rest. What is not
data is bounded, line by line and in all. Pure.
"""

import re
from collections.abc import Callable
from enum import Enum

from gateway.proxy.grammar import CHUNK_SIZE, CHUNK_SIZE_SO_FAR, FIELDS, UNSOUND

MOST_LINE = 4096
"""Bytes of a line that announces a chunk, extensions included."""
OVERHEAD = 16
SLACK = 1024 * 1024
"""A body may take up to OVERHEAD bytes on the wire per byte, beyond the slack."""
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15}+)\r\n")
_LAST = b"0\r\n\r\n"
_NO_TRAILERS = frozenset((b"content-length", b"transfer-encoding", b"host"))


class Expected(Enum):
    """What comes next."""

    SIZE = 0
    DATA = 1
    DATA_END = 2
    TRAILERS = 3
    NOTHING = 4


class BadChunks(Exception):
    """It is no chunked body. `trailers`: it is, but for trailers that are too large. The message is for people."""

    def __init__(self, message: str, *, trailers: bool = False) -> None:
        super().__init__(message)
        self.trailers = trailers


class Chunks:
    """Reads one body. `most_trailers`: bytes of them that are put up with."""

    __slots__ = ("_expected", "_left", "_most_trailers", "_overhead", "_part", "_size", "_trailers")

    def __init__(self, most_trailers: int) -> None:
        self._most_trailers = most_trailers
        self._expected = Expected.SIZE
        self._left = 0
        self._part = b""
        """The beginning of a line whose end has not come."""
        self._trailers = self._overhead = self._size = 0

    @property
    def done(self) -> bool:
        return self._expected is Expected.NOTHING

    def whole(self, data: bytes) -> bytes | None:
        """The data of one chunk, if this is just that, as each piece of a stream nearly always is; else feed it."""
        end = data.find(b"\r\n", 0, OVERHEAD - 2)  # so that one byte pays for its overhead: nothing to check
        digits = data[:end]
        if self._expected is not Expected.SIZE or self._part or not digits.isalnum() or end < 1:
            return None
        try:
            length = int(digits, 16)
        except ValueError:
            return None
        if not length or len(data) != end + length + 4 or not data.endswith(b"\r\n"):
            return None
        self._overhead += end + 4
        self._size += length
        return data[end + 2 : -2]

    def feed(self, data: bytes, at: int, take: Callable[[bytes], None]) -> int:
        """Read on from `at`, giving data to `take`; returns where it stopped: behind the body if it is `done`.

        Raises BadChunks.
        """
        size = len(data)
        while at < size and self._expected is not Expected.NOTHING:
            if self._expected is Expected.SIZE and not self._part:
                if data.startswith(_LAST, at):
                    self._expected = Expected.NOTHING
                    return at + len(_LAST)
                plain = _PLAIN_SIZE.match(data, at)
                if plain is not None:
                    start, length = plain.end(), int(plain[1], 16)
                    if length and data.startswith(b"\r\n", start + length):  # all of it, as nearly always
                        self._count(start - at + 2, length)
                        at = start + length + 2
                        take(data[start : start + length])
                        continue
            if self._expected is Expected.DATA:
                piece = data if not at and size <= self._left else data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self._size += len(piece)
                if not self._left:
                    self._expected = Expected.DATA_END
                take(piece)
            else:
                at = self._line(data, at)
        return at

    def _line(self, data: bytes, at: int) -> int:
        """The next line, if all of it is there; returns where it ends."""
        end = data.find(b"\n", at) + 1
        part = self._part
        if not end:
            part += data[at:]
            self._check_part(part)
            self._part = part
            return len(data)
        line = part + data[at:end] if part else data[at:end]
        self._part = b""
        self._count(len(line), 0)
        if self._expected is Expected.SIZE:
            self._announced(line)
        elif self._expected is Expected.DATA_END:
            if line != b"\r\n":
                raise BadChunks("a chunk is longer than its size")
            self._expected = Expected.SIZE
        else:
            self._trailer(line)
        return end

    def _count(self, overhead: int, size: int) -> None:
        self._overhead += overhead
        self._size += size
        if self._overhead > SLACK + OVERHEAD * self._size:
            raise BadChunks("its chunks are mostly overhead")

    def _announced(self, line: bytes) -> None:
        found = CHUNK_SIZE.fullmatch(line)
        if found is None or len(line) > MOST_LINE:
            raise BadChunks(
                "a chunk's size or extension is malformed" if found is None else "a chunk's line is too long"
            )
        self._left = int(found[1], 16)
        self._expected = Expected.DATA if self._left else Expected.TRAILERS

    def _trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self._expected = Expected.NOTHING
            return
        self._trailers += len(line)
        self._check_trailers(0)
        if not FIELDS.fullmatch(line):
            raise BadChunks("a trailer is malformed")
        if line.partition(b":")[0].lower() in _NO_TRAILERS:
            raise BadChunks("a trailer would change where the message ends")

    def _check_trailers(self, more: int) -> None:
        if self._trailers + more > self._most_trailers:
            raise BadChunks("its trailers are too large", trailers=True)

    def _check_part(self, part: bytes) -> None:
        """What of a line has come can still become one, and is not too long for it."""
        if self._expected is Expected.TRAILERS:
            self._check_trailers(len(part))
            if UNSOUND.search(part):
                raise BadChunks("a trailer is malformed")
        elif self._expected is Expected.DATA_END:
            if part != b"\r":
                raise BadChunks("a chunk is longer than its size")
        elif len(part) > MOST_LINE:
            raise BadChunks("a chunk's line is too long")
        elif not CHUNK_SIZE_SO_FAR.fullmatch(part):
            raise BadChunks("a chunk's size or extension is malformed")
