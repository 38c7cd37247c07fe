"""The request reader under random input; the long run is `python -m tests.bench.fuzz`."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.fuzzing import SOUND, check, made, read, read_by_another


def test_both_parsers_read_sound_requests_alike() -> None:
    for data in SOUND:
        found = read([data])
        assert len(found.requests) == 1
        assert list(found.requests) == read_by_another(data)


@settings(max_examples=1500, deadline=None)
@given(st.integers(0, 2**48))
def test_mutated_requests_are_read_alike_however_they_are_cut_or_refused(seed: int) -> None:
    rng = Random(seed)
    check(made(rng), rng)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_random_bytes_are_read_alike_however_they_are_cut_or_refused(data: bytes, seed: int) -> None:
    check(data, Random(seed))
