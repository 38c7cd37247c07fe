"""Heads that were read before: the same bytes mean the same, so they need not be read again.

A client sends the same head with every request, but for the length of its body; a worker's answers differ in that
and in the date. So what a head meant is kept under its bytes without the Content-Length line, and a message that
comes whole in one piece with a head that is known is taken apart by two searches. Only heads that the real parser
has accepted are kept: anything unknown, odd or in pieces goes there. Pure.
"""

import re
from typing import Generic, TypeVar

MOST_HEADS = 1024
MOST_BYTES = 4096
"""Of a head; longer ones are rare, and are read each time."""

_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?(0|[1-9][0-9]{0,8})\r\n")

MOST_DIGITS = 10
ZERO = ord("0")

T = TypeVar("T")


class Pattern(Generic[T]):
    """A known head around the digits of its Content-Length, for asking whether a message begins with it again."""

    __slots__ = ("_before", "_behind", "meaning")

    def __init__(self, before: bytes, behind: bytes, meaning: T) -> None:
        self._before, self._behind = before, behind
        self.meaning = meaning

    def body_of(self, data: bytes) -> tuple[int, int] | None:
        """Where the body begins and its length, if the message begins with this head."""
        before, behind = self._before, self._behind
        if not data.startswith(before):
            return None
        at = len(before)
        end = data.find(b"\r", at, at + MOST_DIGITS)
        if not data.startswith(behind, end):
            return None
        digits = data[at:end]
        if not digits.isdigit() or (digits[0] == ZERO and len(digits) > 1):
            return None
        return end + len(behind), int(digits)


class KnownHeads(Generic[T]):
    """What heads meant. When it is full it starts anew: heads that matter are back at once."""

    __slots__ = ("_most", "_patterns")

    def __init__(self, most: int = MOST_HEADS) -> None:
        self._most = most
        self._patterns: dict[bytes, Pattern[T]] = {}

    def __len__(self) -> int:
        return len(self._patterns)

    def find(self, key: bytes) -> Pattern[T] | None:
        """The head with this key, if it is known."""
        return self._patterns.get(key)

    def learn(self, data: bytes, meaning: T) -> Pattern[T] | None:
        """Keep what the parser made of the head that this message begins with."""
        end = data.find(b"\r\n\r\n", 0, MOST_BYTES)
        found = _LENGTH.search(data, 0, end + 2) if end >= 0 else None
        if found is None:
            return None
        if len(self._patterns) >= self._most:
            self._patterns.clear()
        pattern = Pattern(data[: found.start(1)], data[found.end(1) : end + 4], meaning)
        self._patterns[data[: found.start()] + data[found.end() - 2 : end]] = pattern
        return pattern


def parted(data: bytes) -> tuple[bytes, int, int] | None:
    """Of a message that begins with this piece: the key of its head, where its body begins, and its length.

    None unless the whole head is there and announces one length in the usual spelling.
    """
    end = data.find(b"\r\n\r\n", 0, MOST_BYTES)
    if end < 0:
        return None
    found = _LENGTH.search(data, 0, end + 2)
    if found is None:
        return None
    return data[: found.start()] + data[found.end() - 2 : end], end + 4, int(found[1])
