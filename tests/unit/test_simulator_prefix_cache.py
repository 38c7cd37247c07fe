"""The prefix cache's bookkeeping."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.prefix_cache import PrefixCache

ABC = (1, 2, 3)


def held(*prompts: tuple[int, ...]) -> PrefixCache:
    cache = PrefixCache()
    for prompt in prompts:
        cache.acquire(prompt)
        cache.fill(prompt)
        cache.release(prompt)
    return cache


def test_only_leading_blocks_are_hits() -> None:
    cache = held((1, 2), (9,))
    assert cache.hits(ABC) == 2
    assert cache.hits((9, 3, 1)) == 1
    assert cache.hits((7, 1, 2)) == 0


def test_a_block_without_content_is_no_hit_and_is_not_kept() -> None:
    cache = PrefixCache()
    cache.acquire(ABC)
    assert (cache.hits(ABC), cache.active) == (0, 3)
    cache.release(ABC)
    assert (cache.active, cache.idle) == (0, 0)


def test_a_block_in_use_by_two_stays_active_until_both_have_left() -> None:
    cache = held(ABC)
    cache.acquire(ABC)
    assert cache.growth((1, 2, 3, 4)) == 1
    cache.acquire((1, 2))
    cache.release(ABC)
    assert (cache.active, cache.idle) == (2, 1)
    cache.release((1, 2))
    assert (cache.active, cache.idle) == (0, 3)


def test_what_was_used_last_is_evicted_last_and_the_end_of_a_prefix_before_its_beginning() -> None:
    cache = held(ABC, (7, 8))
    cache.shrink(4)
    assert (cache.hits(ABC), cache.hits((7, 8))) == (2, 2)
    cache.acquire((1,))
    cache.release((1,))
    cache.shrink(1)
    assert (cache.hits(ABC), cache.hits((7, 8))) == (1, 0)


def test_a_flush_forgets_what_nobody_uses() -> None:
    cache = held(ABC, (7, 8))
    cache.acquire((1, 2))
    cache.flush()
    assert (cache.hits(ABC), cache.hits((7, 8)), cache.active, cache.idle) == (2, 0, 2, 0)


@given(st.lists(st.lists(st.integers(0, 8), unique=True, max_size=6), max_size=12), st.integers(0, 6))
def test_after_everybody_has_left_nothing_is_active(prompts: list[list[int]], room: int) -> None:
    cache = PrefixCache()
    for prompt in prompts:
        cache.acquire(prompt)
        cache.shrink(room)
    assert cache.active == len({key for prompt in prompts for key in prompt})
    for prompt in prompts:
        cache.fill(prompt)
        cache.release(prompt)
        cache.shrink(room)
        assert cache.idle <= room
    assert cache.active == 0
