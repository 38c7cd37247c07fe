"""What a console that has ended leaves behind, taken apart.

A tree of widgets is one great circle of references, and so are its drawn lines. Left to the garbage collector they
would stay until a full collection, which holds the loop for longer the more consoles there are: 100 ms with twenty.
So consoles are kept out of its sight once they stand (`gc.freeze`), and are undone by hand.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from textual.cache import LRUCache
from textual.dom import DOMNode
from textual.strip import Strip
from textual.widget import Widget

SLICE = 8
"""Nodes taken apart in one turn of the loop."""


def gathered(nodes: Iterable[DOMNode]) -> list[DOMNode]:
    """All that is to be taken apart of a console that is about to end: these nodes, and those that style their parts.

    Lines are let go of here, while their widgets still hold them.
    """
    remains: list[DOMNode] = []
    for node in nodes:
        remains.append(node)
        remains += [styles.node for styles in node._component_styles.values() if styles.node is not None]
        if isinstance(node, Widget):
            cache = node._styles_cache
            _loosen([*cache._cache.values(), *node._render_cache.lines])
            if cache._simple_strip is not None:
                _loosen([cache._simple_strip])
        own = node.__dict__.get("_strips")
        if isinstance(own, dict):
            _loosen(own.values())
    return remains


async def taken_apart(nodes: Sequence[DOMNode]) -> None:
    """Empty all these nodes, in slices. Nothing may use them any more."""
    for number, node in enumerate(nodes):
        if isinstance(node, Widget):
            # Textual remembers the last thousand of these caches, whether their widgets are still there or not.
            node._styles_cache.clear()
            node._styles_cache._simple_strip = None
        for cache in [value for value in vars(node).values() if isinstance(value, LRUCache)]:
            _unchained(cache)
        node.__dict__.clear()
        if number % SLICE == SLICE - 1:
            await asyncio.sleep(0)


def _unchained(cache: LRUCache[Any, Any]) -> None:
    """Its entries are lists that hold one another in a ring."""
    for link in list(cache._cache.values()):
        link.clear()
    cache.clear()


def _loosen(strips: Iterable[Strip]) -> None:
    """Drawn lines know the parts they were cut into and what filters made of them, which is often themselves."""
    waiting = list(strips)
    while waiting:
        strip = waiting.pop()
        for cut in strip._divide_cache._cache.values():
            waiting += [part for part in cut if part is not strip]
        strip._divide_cache.clear()
        for cache in (
            strip._crop_cache,
            strip._style_cache,
            strip._filter_cache,
            strip._line_length_cache,
            strip._crop_extend_cache,
        ):
            waiting += [made for made in cache._cache.values() if made is not strip]
            cache.clear()
