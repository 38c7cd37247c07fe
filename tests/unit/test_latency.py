"""Percentiles in bounded memory, against the exact ones."""

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.workers.latency import (
    BUCKETS,
    FIVE_MINUTES,
    GROWTH,
    LatencyWindow,
    Total,
    bucket_middle,
    bucket_of,
    percentiles,
    percentiles_of,
    summed,
)


@given(st.lists(st.floats(0.001, 3600), min_size=1, max_size=300))
def test_percentiles_are_within_a_bucket_of_the_exact_ones(values: list[float]) -> None:
    window = LatencyWindow()
    for value in values:
        window.add(value, now=5.0)
    found = window.percentiles(now=6.0)
    ranked = sorted(values)
    for share, given_value in ((50, found.p50), (95, found.p95), (99, found.p99)):
        exact = ranked[max(1, math.ceil(len(ranked) * share / 100)) - 1]
        assert given_value is not None
        assert exact / GROWTH <= given_value <= exact * GROWTH
    assert found.count == len(values)


@given(st.floats(0, 1e9))
def test_every_duration_has_a_bucket(value: float) -> None:
    assert 0 <= bucket_of(value) < BUCKETS


def test_buckets_grow() -> None:
    middles = [bucket_middle(n) for n in range(BUCKETS)]
    assert middles == sorted(middles)
    assert [bucket_of(middle) for middle in middles[1:]] == list(range(1, BUCKETS))
    assert middles[-1] > 5000


def test_values_age_out_of_the_minute_and_then_of_the_five() -> None:
    window = LatencyWindow()
    window.add(1.0, now=100.0)
    assert window.percentiles(now=149.0).count == 1
    assert window.percentiles(now=161.0).count == 0
    assert window.percentiles(now=161.0, window_s=FIVE_MINUTES).count == 1
    assert window.percentiles(now=500.0, window_s=FIVE_MINUTES).count == 0


def test_an_unused_window_holds_no_buckets() -> None:
    window = LatencyWindow()
    assert window.percentiles(now=1.0).p99 is None
    assert window.counts(1.0) == []


def test_memory_is_bounded_however_long_it_runs() -> None:
    window = LatencyWindow()
    for second in range(10_000):
        window.add(0.5, now=float(second))
    assert len(window.counts(9_999.0)) <= 6
    assert len(window.counts(9_999.0, FIVE_MINUTES)) <= 5


@given(st.lists(st.lists(st.floats(0.0001, 9000), max_size=60), max_size=5))
def test_totals_of_several_workers_may_be_added(workers: list[list[float]]) -> None:
    windows, everything = [LatencyWindow() for _ in workers], LatencyWindow()
    for window, values in zip(windows, workers, strict=True):
        for value in values:
            window.add(value, now=5.0)
            everything.add(value, now=5.0)
    total = Total(sum(summed(window.counts(6.0)) for window in windows))
    assert percentiles_of(total) == everything.percentiles(6.0)
    assert percentiles(c for window in windows for c in window.counts(6.0)) == everything.percentiles(6.0)


def test_a_busy_bucket_does_not_spill_into_its_neighbour() -> None:
    window = LatencyWindow()
    for value in (0.2, 3.0):
        window.add(value, now=5.0)
    (counts,) = window.counts(6.0)
    counts[bucket_of(0.2)] = 2**31
    found = percentiles([counts])
    assert (found.count, found.p50, found.p99) == (2**31 + 1,) + (bucket_middle(bucket_of(0.2)),) * 2
