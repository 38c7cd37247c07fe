"""Which prompt prefixes the engine holds, by block: shared while in use, kept while there is room, LRU out first.

Pure bookkeeping of block keys and references. How many tokens a request may have at all is the engine's
decision; it asks here what would be shared and what can be evicted.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BLOCK = 16
"""Tokens a block holds."""


@dataclass(slots=True)
class _Held:
    users: int = 0
    ready: bool = False
    """Whether its keys and values were computed: only then it spares anybody's prefill."""


class PrefixCache:
    """Blocks in use (`active`) and blocks nobody uses but that are still there (`idle`). Sizes in blocks.

    Keys are chained (a block's key includes all text before it), so that a key stands for a whole prefix.
    """

    __slots__ = ("_active", "_idle")

    def __init__(self) -> None:
        self._active: dict[int, _Held] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<PrefixCache {self.active} active, {self.idle} idle>"

    @property
    def active(self) -> int:
        """Blocks some request uses."""
        return len(self._active)

    @property
    def idle(self) -> int:
        """Blocks that could be evicted."""
        return len(self._idle)

    def hits(self, keys: Iterable[int]) -> int:
        """How many leading blocks need no prefill."""
        count = 0
        for key in keys:
            held = self._active.get(key)
            if not (held.ready if held is not None else key in self._idle):
                break
            count += 1
        return count

    def growth(self, keys: Iterable[int]) -> int:
        """How many blocks more would be active, were these acquired."""
        return sum(key not in self._active for key in keys)

    def acquire(self, keys: Iterable[int]) -> None:
        """Use these blocks; those that are not there are made, without content yet."""
        for key in keys:
            held = self._active.get(key)
            if held is None:
                held = self._active[key] = _Held(ready=key in self._idle)
                self._idle.pop(key, None)
            held.users += 1

    def fill(self, keys: Iterable[int]) -> None:
        """The content of these active blocks has been computed."""
        for key in keys:
            self._active[key].ready = True

    def release(self, keys: Sequence[int]) -> None:
        """Stop using these blocks. The deepest goes first in the line to be evicted: prefixes outlive what follows."""
        for key in reversed(keys):
            held = self._active[key]
            held.users -= 1
            if not held.users:
                del self._active[key]
                if held.ready:
                    self._idle[key] = None

    def shrink(self, most_idle: int) -> None:
        """Evict idle blocks, least recently used first, until there are at most so many."""
        while len(self._idle) > max(0, most_idle):
            self._idle.popitem(last=False)

    def flush(self) -> None:
        """Forget every idle block."""
        self._idle.clear()
