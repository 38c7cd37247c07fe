"""A day of numbers in fixed memory: what is read is what was put in, merged by its step, with gaps between."""

import math
import tracemalloc
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.telemetry.history import COUNT, LARGE, MEASURES, ROWS, SMALL, STEPS, History, step_for
from gateway.telemetry.samples import Measure

NAN = math.nan
START = 1_790_000_000

values = st.one_of(st.just(NAN), st.floats(0, 60_000, width=16))
pauses = st.one_of(st.just(1), st.integers(1, 15), st.integers(1, 40_000))


def row(value: float) -> list[float]:
    """The same value for every measure, but for one that is never measured."""
    return [NAN if measure is Measure.QUEUE else value for measure in MEASURES]


def merged(finer: Mapping[int, tuple[float, float]], factor: int) -> dict[int, tuple[float, float]]:
    """(mean, peak) of coarser rows by number, the plain way."""
    found: dict[int, tuple[float, float]] = {}
    for number in sorted({key // factor for key in finer}):
        rows = [finer[key] for key in range(number * factor, (number + 1) * factor) if key in finer]
        means = [mean for mean, _ in rows if not math.isnan(mean)]
        peaks = [peak for _, peak in rows if not math.isnan(peak)]
        found[number] = (sum(means) / len(means) if means else NAN, max(peaks, default=NAN))
    return found


def same(one: float, other: float, code: str) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=0.003 if code == SMALL else 1e-5, abs_tol=1e-6)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(pauses, values), min_size=1, max_size=60), st.sampled_from([SMALL, LARGE]))
def test_what_is_read_is_what_was_put_in_merged_by_its_step(samples: list[tuple[int, float]], code: str) -> None:
    history, second = History(code), START
    rows: dict[int, tuple[float, float]] = {}
    for pause, value in samples:
        second += pause
        history.append(second, row(value))
        rows[second] = (value, value)
    for level, (step, most) in enumerate(zip(STEPS, ROWS, strict=True)):
        if level:
            rows = merged(rows, step // STEPS[level - 1])
        stretch = history.read(step)
        newest = second // step
        assert stretch.end == (newest + 1) * step
        assert stretch.count <= most + 1
        track = stretch.tracks[Measure.P99]
        first = newest + 1 - stretch.count
        for at in range(stretch.count):
            mean, peak = rows.get(first + at, (NAN, NAN))
            assert same(track.means[at], mean, code)
            assert same(track.peaks[at], peak, code)
        assert all(number >= first for number in rows if number > newest - most), "nothing recent is lost"
        assert all(math.isnan(value) for value in stretch.tracks[Measure.QUEUE].means)


def test_a_day_and_more_is_kept_at_every_zoom() -> None:
    history = History()
    for second in range(START, START + 90_000):
        history.append(second, [float(second - START)] * COUNT)
    for step, most in zip(STEPS, ROWS, strict=True):
        stretch = history.read(step, [Measure.REQUESTS])
        assert stretch.count in (most, most + 1)
        assert stretch.end - stretch.count * step <= START + 90_000 - step * most
        means = list(stretch.tracks[Measure.REQUESTS].means)
        assert means == sorted(means)
        assert {round(b - a, 2) for a, b in pairwise(means[5:-1])} == {float(step)}


def test_a_spike_of_a_second_stays_seen_in_the_peaks_for_a_day() -> None:
    history = History(SMALL)
    for second in range(START, START + 7200):
        history.append(second, [500.0 if second == START + 100 else 1.0] * COUNT)
    track = history.read(120).tracks[Measure.IN_FLIGHT]
    assert max(track.peaks) == 500
    assert max(track.means) < 6


def test_a_worker_s_day_takes_54_kb_and_that_of_one_that_was_just_seen_next_to_nothing() -> None:
    tracemalloc.start()
    history = History(SMALL)
    for second in range(START, START + 10):
        history.append(second, [1.0] * COUNT)
    early, _ = tracemalloc.get_traced_memory()
    for second in range(START + 10, START + 172_800):
        history.append(second, [1.0] * COUNT)
    after, _ = tracemalloc.get_traced_memory()
    for second in range(START + 172_800, START + 180_000):
        history.append(second, [1.0] * COUNT)
    later, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert early < 4_000
    assert after < 66_000, "54 KB, and what bytearrays keep in reserve while they grow"
    assert later - after < 1_000


def test_a_number_too_large_for_two_bytes_is_the_largest_there_is() -> None:
    history = History(SMALL)
    history.append(START, [1e9] * COUNT)
    assert history.read(1).tracks[Measure.OUTPUT].means[0] == 65504


def test_the_same_second_again_changes_nothing_and_an_empty_history_reads_empty() -> None:
    history = History()
    assert [history.read(step).count for step in STEPS] == [0, 0, 0]
    history.append(START, [1.0] * COUNT)
    history.append(START, [2.0] * COUNT)
    history.append(START - 5, [3.0] * COUNT)
    assert list(history.read(1).tracks[Measure.REQUESTS].means) == [1.0]


@pytest.mark.parametrize(("age_s", "step"), [(60, 1), (300, 1), (301, 10), (3600, 10), (3601, 120), (10**6, 120)])
def test_the_finest_ring_that_reaches_back_is_read(age_s: float, step: int) -> None:
    assert step_for(age_s) == step
