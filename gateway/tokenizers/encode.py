"""Encoding for the loop: short texts at once, long ones in a thread that frees the interpreter lock, known ones
from the caches.

`Encoding` belongs to one tokenizer. It never holds the loop for more than about a millisecond a call: what is to
be encoded and is longer than `INLINE_CHARS` goes to a thread of the pool given, through the one call of the
library that lets go of the lock. A caller that is cancelled while its text waits for a thread takes it out of the
queue.
"""

import asyncio
from array import array
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from gateway.tokenizers.cache import CacheCounts, IdCache
from gateway.tokenizers.engine import Engine, ids_of
from gateway.tokenizers.pieces import Cutter

INLINE_CHARS = 2048
"""Encoding this much takes some 0.5 ms; a thread there and back takes 0.1."""


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """SMG's `--tokenizer-cache-*`, for each tokenizer; 0 bytes switches a cache off."""

    exact_bytes: int = 256 * 1024 * 1024
    exact_entries: int = 10_000
    prefix_bytes: int = 50 * 1024 * 1024


NO_CACHES = CacheSettings(0, 0, 0)


class Encoding:
    """A tokenizer's texts to ids."""

    __slots__ = ("_cutter", "_engine", "_exact", "_pool", "_prefix", "prefix_off")

    def __init__(
        self,
        engine: Engine,
        pool: Executor,
        caches: CacheSettings = NO_CACHES,
        prefix_off: Sequence[str] = (),
        cutter: Cutter | None = None,
    ) -> None:
        """`prefix_off`: why this tokenizer's texts may not be cut (`gateway.tokenizers.trial`)."""
        self._engine = engine
        self._pool = pool
        self._exact = IdCache(caches.exact_bytes, caches.exact_entries) if caches.exact_bytes else None
        self._cutter = cutter or Cutter(engine.anatomy.specials)
        self._prefix = IdCache(caches.prefix_bytes) if caches.prefix_bytes and not prefix_off else None
        self.prefix_off = tuple(prefix_off)
        """Why the prefix cache is off; empty when it is on, or was not wanted."""

    async def encode(self, text: str) -> "array[int]":
        """The text's ids, without special tokens added; not to be changed. Raises NotText."""
        if self._exact is not None and (known := self._exact.get(text)) is not None:
            return known
        pieces = self._cutter.pieces(text) if self._prefix is not None else [text]
        if self._prefix is None or len(pieces) == 1:
            ids = (await self._fresh(pieces))[0]
        else:
            ids = await self._joined(self._prefix, pieces)
        if self._exact is not None:
            self._exact.put(text, ids)
        return ids

    async def encode_with_special(self, text: str) -> "array[int]":
        """The ids with what the tokenizer adds of itself, such as a beginning-of-text token; not to be changed.
        Known ones come from the exact cache alone. Raises NotText."""
        if self._exact is None:
            return await self.plain(text, add_special_tokens=True)
        if (known := self._exact.get((text,))) is not None:
            return known
        ids = await self.plain(text, add_special_tokens=True)
        self._exact.put((text,), ids)
        return ids

    async def plain(self, text: str, *, add_special_tokens: bool = False) -> "array[int]":
        """The text's ids, without the caches. Raises NotText."""
        return (await self._fresh([text], add_special=add_special_tokens))[0]

    async def _joined(self, cache: IdCache, pieces: list[str]) -> "array[int]":
        found = [cache.get(piece) for piece in pieces]
        missing = list(dict.fromkeys(piece for piece, ids in zip(pieces, found, strict=True) if ids is None))
        new = dict(zip(missing, await self._fresh(missing), strict=True)) if missing else {}
        for piece, ids in new.items():
            cache.put(piece, ids)
        joined = array("I")
        for piece, known in zip(pieces, found, strict=True):
            joined += new[piece] if known is None else known
        return joined

    async def _fresh(self, texts: list[str], *, add_special: bool = False) -> "list[array[int]]":
        if sum(map(len, texts)) <= INLINE_CHARS:
            return [self._engine.encode(text, add_special=add_special) for text in texts]
        job = partial(self._engine.encodings, texts, add_special=add_special)
        return ids_of(await asyncio.get_running_loop().run_in_executor(self._pool, job))

    def counts(self) -> tuple[CacheCounts | None, CacheCounts | None]:
        """The exact cache's and the prefix cache's counters; None for one that is off."""
        exact, prefix = self._exact, self._prefix
        return exact.counts() if exact else None, prefix.counts() if prefix else None

    def clear(self) -> None:
        """Forget what was encoded."""
        for cache in (self._exact, self._prefix):
            if cache is not None:
                cache.clear()
