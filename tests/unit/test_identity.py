"""Worker ids: well-formed, in the order of time, and told from names."""

from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers.identity import is_worker_id, new_worker_id


@given(st.floats(0, 4e9), st.integers())
def test_an_id_is_a_version_7_uuid_that_carries_its_time(wall: float, seed: int) -> None:
    given_id = UUID(new_worker_id(wall, Random(seed)))
    assert (given_id.version, given_id.variant) == (7, "specified in RFC 4122")
    assert given_id.int >> 80 == int(wall * 1000)


def test_ids_sort_by_time_and_do_not_repeat() -> None:
    rng = Random(1)
    by_time = [new_worker_id(1_700_000_000 + n / 1000, rng) for n in range(1000)]
    assert by_time == sorted(by_time)
    assert len({new_worker_id(1_700_000_000, rng) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("text", ["w3", "", "http://a:1", "0000", "018bcff4-aa40-7226-b63c"])
def test_names_and_urls_are_not_ids(text: str) -> None:
    assert not is_worker_id(text)
    assert is_worker_id(new_worker_id(1.0, Random(1)))
