"""A radix tree of prompts that remembers which worker saw which prefix, and when last. Pure; knows no workers.

Holders are numbers that are never used twice, so that forgetting one makes all it holds void at once; what it
held is freed later, piece by piece. The edges are plain strings: `startswith` compares them at the speed of
memory, and the place where two texts part is found by halving, never by a loop over characters. (Token ids
become strings too, see `tokens_as_text`.)

How eviction works: each insertion marks every node of its path with its own time, so a node's time for a holder
is never older than that of the nodes below it. Each holder keeps the ends of its insertions in order of last
use. Taking the oldest end away therefore means to go up from it while the marks are no younger; what is left is
exactly what the younger insertions reach. Nodes that nobody holds go.
"""

import sys
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace
from math import inf, nextafter

PER_PROMPT = 1024
"""Characters of the bound that each remembered prompt takes at least, so 65,536 prompts by default: bounds the nodes,
of which each costs memory besides its text, and time whenever Python collects garbage."""
LONGEST = 4
"""One prompt is remembered up to the bound divided by this."""
EVICTED_AT_ONCE = 16
"""Ends that one insertion takes away at most; it adds one, so the bound holds again soon."""

_UTF32 = f"utf-32-{sys.byteorder[0]}e"


class Node:
    """One edge of the tree with what lies below it."""

    __slots__ = ("children", "edge", "holders", "parent")

    def __init__(self, edge: str, parent: "Node | None", holders: dict[int, float]) -> None:
        self.edge = edge
        self.parent = parent
        self.children: dict[str, Node] | None = None
        self.holders = holders
        """Time of last use by holder."""


Path = list[tuple[Node, int]]
"""Nodes from the root on, each with how many characters match up to and in it; the last may match in part."""


class Tree:
    """`max_size` is in characters, `per_prompt` too. Times are seconds of any one clock."""

    def __init__(self, max_size: int, per_prompt: int = PER_PROMPT) -> None:
        self._max_size = max_size
        self._max_ends = max(1, max_size // per_prompt)
        self._root, self._token_root = Node("", None, {}), Node("", None, {})
        self._ends: dict[int, OrderedDict[Node, float]] = {}
        self._heads: list[tuple[float, int]] = []
        """A heap of (time, holder), one for each that has ends; the time is that of its oldest end, or earlier."""
        self._void: list[tuple[int, OrderedDict[Node, float]]] = []
        self._time = -inf
        self._held: dict[int, int] = {}
        self.size = 0
        """Characters in the tree."""
        self.ends = 0
        """Prompts remembered, each once per holder."""
        self.changed: set[int] = set()
        """Holders whose share changed; whoever wants to know reads and clears it."""

    def share(self, holder: int) -> int:
        """Characters of the tree that this holder holds."""
        return self._held.get(holder, 0)

    def match(self, text: str, *, tokens: bool = False) -> Path:
        """The longest way into the tree along this text. Changes nothing."""
        node = self._token_root if tokens else self._root
        at, length, path = 0, len(text), []
        while at < length and node.children is not None:
            child = node.children.get(text[at])
            if child is None:
                break
            edge = child.edge
            if not text.startswith(edge, at):
                path.append((child, at + _common(edge, text, at)))
                break
            at += len(edge)
            path.append((child, at))
            node = child
        return path

    def insert(self, text: str, path: Path, holder: int, now: float, *, tokens: bool = False) -> None:
        """Remember that the holder saw this text. `path` is what `match` just found for it."""
        self._time = time = now if now > self._time else nextafter(self._time, inf)
        text = text[: max(1, self._max_size // LONGEST)]
        node, at = self._token_root if tokens else self._root, 0
        gained = 0
        for child, upto in path:
            if at >= len(text):
                break
            upto = min(upto, len(text))
            if upto - at < len(child.edge):
                child = _split(child, upto - at)
            if holder not in child.holders:
                gained += upto - at
            child.holders[holder] = time
            node, at = child, upto
        if at < len(text):
            leaf = Node(text[at:], node, {holder: time})
            if node.children is None:
                node.children = {}
            node.children[text[at]] = leaf
            self.size += len(leaf.edge)
            gained += len(leaf.edge)
            node = leaf
        if node.parent is not None:
            self._end(node, holder, time, gained)

    def _end(self, node: Node, holder: int, time: float, gained: int) -> None:
        ends = self._ends.get(holder)
        if ends is None:
            ends = self._ends[holder] = OrderedDict()
            heappush(self._heads, (time, holder))
        if node not in ends:
            self.ends += 1
        ends[node] = time
        ends.move_to_end(node)
        if gained:
            self._held[holder] = self._held.get(holder, 0) + gained
            self.changed.add(holder)
        self.trim(EVICTED_AT_ONCE)

    def forget(self, holder: int) -> None:
        """What it holds is void; `free` takes it away bit by bit."""
        ends = self._ends.pop(holder, None)
        if ends is not None:
            self._void.append((holder, ends))
            if len(self._heads) > 2 * len(self._ends) + 16:
                self._heads = [head for head in self._heads if head[1] in self._ends]
                heapify(self._heads)
        self._held.pop(holder, None)

    # --- eviction, in slices ---

    def trim(self, at_most: int) -> int:
        """Take away the oldest ends until the bound holds, or so many; returns how many."""
        done = 0
        while (self.size > self._max_size or self.ends > self._max_ends) and done < at_most:
            if not self.free(1) and not self._evict_oldest(inf):
                break
            done += 1
        return done

    def expire(self, before: float, at_most: int) -> int:
        """Take away ends that were last used before that time, at most so many; returns how many."""
        done = 0
        while done < at_most and self._evict_oldest(before):
            done += 1
        return done

    def free(self, at_most: int) -> int:
        """Take away ends of forgotten holders, at most so many; returns how many."""
        done = 0
        while self._void and done < at_most:
            holder, ends = self._void[-1]
            if ends:
                node, time = ends.popitem(last=False)
                self._take(node, holder, time)
                done += 1
            else:
                self._void.pop()
        return done

    def _evict_oldest(self, before: float) -> bool:
        """Take away the oldest end of all holders if it is older than that; False if none is."""
        heads = self._heads
        while heads:
            time, holder = heads[0]
            ends = self._ends.get(holder)
            if ends is None:
                heappop(heads)
                continue
            node, oldest = next(iter(ends.items()))
            if oldest > time:
                heapreplace(heads, (oldest, holder))
                continue
            if oldest >= before:
                return False
            del ends[node]
            if not ends:
                del self._ends[holder]
                heappop(heads)
            lost = self._take(node, holder, oldest)
            if lost:
                self._held[holder] -= lost
                self.changed.add(holder)
            return True
        return False

    def _take(self, node: Node, holder: int, time: float) -> int:
        """Undo what the insertion at that time alone still holds; returns the characters the holder lost."""
        self.ends -= 1
        lost = 0
        while node.parent is not None and node.holders.get(holder, inf) <= time:
            above, length = node.parent, len(node.edge)
            del node.holders[holder]
            lost += length
            if not node.holders:
                assert above.children is not None
                del above.children[node.edge[0]]
                if not above.children:
                    above.children = None
                node.parent = None
                self.size -= length
            node = above
        return lost


def _split(child: Node, at: int) -> Node:
    """Part an edge in two; the new upper node is returned, the lower one stays the same object."""
    above, edge = child.parent, child.edge
    assert above is not None
    assert above.children is not None
    upper = Node(edge[:at], above, child.holders.copy())
    child.edge, child.parent = edge[at:], upper
    upper.children = {child.edge[0]: child}
    above.children[edge[0]] = upper
    return upper


def _common(edge: str, text: str, at: int) -> int:
    """How many characters of the edge match the text there: at least the first, not all."""
    low, high = 1, min(len(edge), len(text) - at)
    while low < high:
        middle = (low + high + 1) // 2
        if text.startswith(edge[low:middle], at + low):
            low = middle
        else:
            high = middle - 1
    return low


def tokens_as_text(tokens: Sequence[int]) -> str:
    """Token ids as a string of as many characters, which is compared and kept far more cheaply than numbers.

    Empty where an id is none that a model can have (below 0, or above 1,114,111).
    """
    try:
        return array("I", tokens).tobytes().decode(_UTF32, "surrogatepass")
    except (OverflowError, UnicodeDecodeError, TypeError):
        return ""
