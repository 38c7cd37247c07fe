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

T = TypeVar("T")


class KnownHeads(Generic[T]):
    """What heads meant. When it is full it starts anew: heads that matter are back at once."""

    __slots__ = ("_meanings", "_most")

    def __init__(self, most: int = MOST_HEADS) -> None:
        self._most = most
        self._meanings: dict[bytes, T] = {}

    def __len__(self) -> int:
        return len(self._meanings)

    def find(self, key: bytes) -> T | None:
        """What the head with this key meant, if it is known."""
        return self._meanings.get(key)

    def learn(self, key: bytes, meaning: T) -> None:
        """Keep what the parser made of the head with this key."""
        if len(self._meanings) >= self._most:
            self._meanings.clear()
        self._meanings[key] = meaning


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
