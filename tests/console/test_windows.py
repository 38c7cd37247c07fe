"""Windows of time, columns, scales and curves: pure, and true for any values."""

import itertools
from array import array
from dataclasses import replace
from math import isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.history import STEPS, Stretch, Track
from gateway.telemetry.samples import Measure
from smg_console.present import charts, scales, window
from smg_console.present.charts import AXIS, CHARTS
from smg_console.present.runs import width_of
from smg_console.present.scales import Scale
from smg_console.present.window import DAY_S, SPANS, Grid, Window

NOW = 1_790_000_095.0

spans = st.sampled_from(SPANS)
columns = st.integers(4, 400)
times = st.floats(NOW, NOW + 5000)


def counted(step_s: int, rows: int, end: int) -> Stretch:
    """A stretch in which each row's value is its number."""
    numbers = array("d", range(end // step_s - rows, end // step_s))
    return Stretch(step_s, end // step_s * step_s, {Measure.REQUESTS: Track(numbers, numbers)})  # type: ignore[arg-type]  # wider


@given(spans, columns, times, st.sampled_from(STEPS), st.integers(1, 900))
def test_every_row_falls_into_one_column_and_every_column_has_what_it_covers(
    span_s: int, count: int, now: float, step_s: int, rows: int
) -> None:
    grid = Grid.of(Window(span_s), count, now)
    stretch = counted(step_s, rows, int(now))
    cuts = grid.cuts(stretch)
    assert len(cuts) == count
    assert grid.start + count * grid.width_s >= now - 1e-3
    oldest = stretch.end // step_s - rows
    if grid.width_s >= step_s:
        for (_, end), (start, _) in itertools.pairwise(cuts):
            assert end == start, "no row is left out or counted twice"
    for n, (a, b) in enumerate(cuts):
        for row in range(a, b):
            begins = (oldest + row) * step_s
            ends = begins + step_s
            assert begins < grid.start + (n + 1) * grid.width_s + 1e-3
            assert ends > grid.start + n * grid.width_s - 1e-3


@given(spans, columns, times, st.integers(1, 50))
def test_a_column_keeps_its_values_as_the_picture_moves_left(span_s: int, count: int, now: float, later: int) -> None:
    stretch = counted(1, 300, int(now))
    before = Grid.of(Window(span_s), count, now)
    after = Grid.of(Window(span_s), count, now + later)
    moved = after.first - before.first
    old, new = before.cuts(stretch), after.cuts(stretch)
    assert old[moved:] == new[: count - moved] if moved < count else True


@given(spans, st.integers(20, 200), times, st.lists(st.integers(-60, 60), max_size=30))
def test_the_cursor_is_always_in_the_window_and_the_window_in_the_day(
    span_s: int, count: int, now: float, moves: list[int]
) -> None:
    view = Window(span_s)
    for columns_moved in moves:
        grid = Grid.of(view, count, now)
        view = view.cursor_moved(columns_moved, grid, now)
        assert view.cursor is not None
        assert 0 <= Grid.of(view, count, now).index(view.cursor) < count
        assert now - DAY_S <= view.until(now) - view.span_s + 1e-3
        assert view.until(now) <= now


def test_the_cursor_moves_by_a_column_and_exactly_back() -> None:
    view, seen = Window(), []
    for step in (-1, -1, -1, 1, 1):
        view = view.cursor_moved(step, Grid.of(view, 100, NOW), NOW)
        assert view.cursor is not None
        seen.append(view.cursor)
    assert seen[0] - seen[1] == pytest.approx(3.0)
    assert seen == [seen[4], seen[3], seen[2], seen[3], seen[4]]
    assert not view.paused, "only an edge scrolls"


def test_zooming_a_window_that_stands_still_keeps_its_cursor_in_place() -> None:
    view = Window(600, NOW - 1000, NOW - 1150)
    for steps in (-1, -1, 1, 1):
        span = view.span_s
        share = (view.until(NOW) - NOW + 1150) / span
        view = view.zoomed(steps, NOW)
        assert view.span_s != span
        assert (view.until(NOW) - NOW + 1150) / view.span_s == pytest.approx(share)
    assert replace(Window(), span_s=60).zoomed(-5, NOW).span_s == 60
    assert Window(86_400).zoomed(5, NOW).span_s == 86_400
    assert Window(86_400, NOW - 5).scrolled(-100, NOW).end == NOW, "a day back there is nothing"


def test_what_is_merged_is_a_mean_or_a_peak_and_gaps_stay_gaps() -> None:
    values = [1.0, nan, 3.0, nan, nan, 8.0]
    cuts = [(0, 3), (3, 5), (5, 6), (0, 0)]
    assert window.means(values, cuts)[0] == 2.0
    assert window.peaks(values, cuts)[0] == 3.0
    for merged in (window.means(values, cuts), window.peaks(values, cuts)):
        assert isnan(merged[1])
        assert merged[2] == 8.0
        assert isnan(merged[3])


@given(spans, st.integers(20, 190), times, st.sampled_from([1, 2]))
def test_times_along_the_axis_are_round_and_do_not_touch(span_s: int, cells: int, now: float, per_cell: int) -> None:
    grid = Grid.of(Window(span_s), cells * per_cell, now)
    marks = window.ticks(grid, cells, per_cell)
    for (cell, label), (after, _) in itertools.pairwise(marks):
        assert cell + len(label) + 1 < after
    assert all(label.count(":") == 1 or int(label[-2:]) % 5 == 0 for _, label in marks)
    line = charts.axis_line(marks, cells + AXIS)
    assert width_of(line) == cells + AXIS
    assert width_of(charts.axis_line(marks, cells + AXIS, (cells - 1, "14:10:05"))) == cells + AXIS


@given(st.floats(0, 1e10), st.sampled_from([0.1, 1.0, 4.0, 10.0]))
def test_the_top_is_round_and_not_far_above_the_largest_value(value: float, least: float) -> None:
    top = scales.round_top(value, least)
    assert top >= value * (1 - 1e-6)
    assert top == least or top <= value * 2.001
    for unit in (scales.counts(top), scales.wholes(top), scales.seconds(top)):
        scale = Scale(top, unit)
        assert len(scale.mark(1.0)) <= 7 or top > 9999
        assert len(scale.text(value)) <= max(len(scale.text(top)), len(unit.text(value)))


def test_the_top_stays_until_it_is_too_low_or_far_too_high() -> None:
    top, seen = None, []
    for value in (43.0, 50.0, 51.0, 30.0, 25.0, 23.0, 5.0, 0.0, nan):
        top = scales.steady_top(top, value, 4.0)
        seen.append(top)
    assert seen == [50, 50, 60, 60, 60, 30, 5, 4, 4]


@pytest.mark.parametrize(
    ("unit", "top", "value", "written", "mark"),
    [
        (scales.counts, 5.0, 0.25, "0.25", "2.5"),
        (scales.counts, 80.0, 7.0, " 7.0", "40"),
        (scales.counts, 20_000.0, 950.0, " 0.9k", "10k"),
        (scales.counts, 3e6, 2e6, "2.00M", "1.5M"),
        (scales.counts, 4e9, 1e9, "1.00G", "2G"),
        (scales.wholes, 6.0, 2.0, "2", "3"),
        (scales.seconds, 0.2, 0.0123, " 12ms", "100ms"),
        (scales.seconds, 5.0, 0.0123, "0.01s", "2.5s"),
        (scales.seconds, 600.0, 91.0, " 91s", "300s"),
    ],
)
def test_all_numbers_of_a_graph_are_in_one_unit(
    unit: scales.UnitOf, top: float, value: float, written: str, mark: str
) -> None:
    scale = Scale(top, unit(top))
    assert scale.text(value) == written
    assert scale.mark(0.5) == mark
    assert scale.mark(0.0) == "0"
    assert scale.text(nan).strip() == scales.NONE


values = st.one_of(st.just(nan), st.just(0.0), st.floats(0, 100))


@given(
    st.sampled_from(CHARTS),
    st.integers(12, 120),
    st.integers(2, 16),
    st.booleans(),
    st.one_of(st.none(), st.integers(-5, 300)),
    st.data(),
)
def test_a_graph_fills_its_place_whatever_it_shows(
    chart: charts.Chart, width: int, height: int, ascii_only: bool, cursor: int | None, data: st.DataObject
) -> None:
    count = (width - AXIS) * (1 if ascii_only else 2)
    curves = [data.draw(st.lists(values, min_size=count, max_size=count)) for _ in chart.curves]
    top = scales.round_top(charts.top_of(curves), chart.least)
    scale = Scale(top, chart.unit(top))
    lines = charts.chart_lines(chart, curves, scale, width, height, number=1, cursor=cursor, ascii_only=ascii_only)
    assert len(lines) == height
    assert {width_of(line) for line in lines} == {width}
    if ascii_only:
        assert all(text.isascii() for line in lines[1:] for text, style in line if style != "muted")


def plot(chart: charts.Chart, curves: list[list[float]], *, ascii_only: bool = False) -> list[str]:
    """The rows of a graph 8 wide (16 columns) and 4 high, without axis and title."""
    scale = Scale(8.0, chart.unit(8.0))
    lines = charts.chart_lines(chart, curves, scale, AXIS + 8, 5, number=1, ascii_only=ascii_only)
    return ["".join(text for text, _ in line)[AXIS:] for line in lines[1:]]


def test_zero_is_a_line_at_the_bottom_and_a_gap_is_nothing() -> None:
    requests = CHARTS[0]
    curve = [4.0] * 4 + [0.0] * 4 + [nan] * 4 + [8.0] * 4
    assert plot(requests, [curve, curve]) == ["      ⣿⣿", "      ⣿⣿", "⣿⣿    ⣿⣿", "⣿⣿⣀⣀  ⣿⣿"]
    curve = [4.0] * 2 + [0.0] * 2 + [nan] * 2 + [8.0] * 2
    assert plot(requests, [curve, curve], ascii_only=True) == ["      ##", "      ##", "##    ##", "##__  ##"]


def test_curves_are_told_apart_without_colours() -> None:
    latency = next(chart for chart in CHARTS if len(chart.curves) == 3)
    high, middle, low = [8.0] * 16, [4.0] * 16, [2.0] * 16
    top, second, third, bottom = (set(row) for row in plot(latency, [high, middle, low]))
    assert bottom == {"⣿"}
    assert len({*top, *second, *third, *bottom}) == 4
    assert plot(latency, [high[:8], middle[:8], low[:8]], ascii_only=True) == [
        "........",
        "........",
        "::::::::",
        "########",
    ]
