"""What was encoded before: whole texts, and pieces between special tokens. Bounded in bytes, least recently used.

The prefix cache holds pieces rather than whole prefixes. Where pieces may be cut (`gateway.tokenizers.pieces`) the
ids of a text are those of its pieces in a row, so a long history costs one entry a turn, not one copy of all
before it, and conversations that share only the system prompt share that. Keys are the texts themselves: a
hash that collides cannot give another text's ids. Used on the loop's thread only; nothing here knows tokenizers.
"""

from array import array
from collections import OrderedDict
from dataclasses import dataclass

Key = str | tuple[str]
"""A text, or a text as it is with special tokens added."""
ENTRY_BYTES = 300
"""What an entry costs beside its text and ids: two objects' heads, a link and a place in the dictionary."""


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """A reading of one cache's counters."""

    hits: int
    misses: int
    evicted: int
    entries: int
    bytes: int
    max_bytes: int

    @property
    def hit_rate(self) -> float | None:
        """From 0 to 1; None before the first look-up."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


class IdCache:
    """Ids by text. `max_entries` 0: as many as fit."""

    __slots__ = ("_bytes", "_entries", "_evicted", "_hits", "_max_bytes", "_max_entries", "_misses")

    def __init__(self, max_bytes: int, max_entries: int = 0) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._entries: OrderedDict[Key, array[int]] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._evicted = 0

    def get(self, text: Key) -> "array[int] | None":
        """The ids, not to be changed."""
        ids = self._entries.get(text)
        if ids is None:
            self._misses += 1
            return None
        self._hits += 1
        self._entries.move_to_end(text)
        return ids

    def put(self, text: Key, ids: "array[int]") -> None:
        """Keep these, letting go of the least recently used; what alone is larger than the cache is not kept."""
        cost = entry_bytes(text, ids)
        if cost > self._max_bytes:
            return
        if (old := self._entries.pop(text, None)) is not None:
            self._bytes -= entry_bytes(text, old)
        self._entries[text] = ids
        self._bytes += cost
        while self._bytes > self._max_bytes or 0 < self._max_entries < len(self._entries):
            gone_text, gone = self._entries.popitem(last=False)
            self._bytes -= entry_bytes(gone_text, gone)
            self._evicted += 1

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def counts(self) -> CacheCounts:
        return CacheCounts(self._hits, self._misses, self._evicted, len(self._entries), self._bytes, self._max_bytes)


def entry_bytes(key: Key, ids: "array[int]") -> int:
    """What keeping this entry costs in memory, in bytes."""
    text = key if isinstance(key, str) else key[0]
    return text.__sizeof__() + len(ids) * ids.itemsize + ENTRY_BYTES
