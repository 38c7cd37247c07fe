"""What is drawn: widths that hold, signs that differ, filters and orders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gateway.workers.model import LISTED_STATES, State
from smg_console.present import diagram, fleet, numbers, plot
from smg_console.present.runs import ascii_only, cut, fit, printable, spread, width_of
from smg_console.present.states import GLYPHS
from tests.console.fleet import busy_fleet

NOW = 1_790_000_095.0
any_number = st.floats(min_value=0) | st.just(float("nan")) | st.none()


@given(any_number)
def test_numbers_fit_their_columns(value: float | None) -> None:
    assert len(numbers.rate(value if value is None or value < 1e12 else 1e12)) <= 6
    assert len(numbers.count(value if value is None or value < 1e12 else 1e12)) <= 6
    assert len(numbers.duration(value)) <= 6
    assert len(numbers.age(value)) <= 6
    assert len(numbers.percent(value if value is None or value <= 1 else 1.0)) <= 5


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (numbers.duration(0.0004), "0.4ms"),
        (numbers.duration(0.0456), "46ms"),
        (numbers.duration(0.9999), "1.0s"),
        (numbers.duration(42), "42s"),
        (numbers.duration(125), "2m05s"),
        (numbers.duration(None), "–"),
        (numbers.age(59.9), "59s"),
        (numbers.age(3600 * 5 + 61), "5h01m"),
        (numbers.age(86400 * 3 + 7200), "3d02h"),
        (numbers.count(9999), "9999"),
        (numbers.count(12_345), "12.3k"),
        (numbers.count(123_456), "123k"),
        (numbers.count(4_000_000), "4.0M"),
        (numbers.rate(3.21), "3.2"),
        (numbers.rate(0), "0"),
        (numbers.percent(0.034), "3.4%"),
        (numbers.percent(0.371), "37%"),
    ],
)
def test_numbers_read_as_operators_write_them(shown: str, text: str) -> None:
    assert shown == text


@given(st.text(max_size=40), st.integers(0, 30), st.booleans())
def test_text_fits_exactly(text: str, width: int, right: bool) -> None:
    text = "".join(char for char in text if char.isprintable())
    assert cell_len(fit(text, width, right=right)) == width


@given(st.lists(st.tuples(st.text("ab ─●", max_size=9), st.just("")), max_size=6), st.integers(1, 40))
def test_lines_are_cut_and_spread_to_the_width(runs: list[tuple[str, str]], width: int) -> None:
    assert width_of(cut(runs, width)) == width
    assert width_of(spread(runs, [("right", "")], width)) == width


def test_ascii_signs_keep_every_state_apart() -> None:
    signs = [ascii_only(glyph) for glyph in GLYPHS.values()]
    assert len(set(signs)) == len(signs)


@given(st.text(max_size=30))
def test_ascii_takes_as_many_cells_and_nothing_steers_the_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert ascii_only(shown).isascii()
    assert cell_len(ascii_only(shown)) == cell_len(shown)


@given(
    st.lists(st.floats(0, 1e6) | st.just(float("nan")), min_size=1, max_size=400), st.integers(2, 80), st.integers(1, 9)
)
def test_graphs_have_the_size_they_are_given(values: list[float], width: int, height: int) -> None:
    top = plot.ceiling(values)
    assert top >= max([value for value in values if value == value] or [0]) * 0.999
    for cells, lines in (
        (width, plot.braille(plot.resampled(values, width * 2), height, top)),
        (width, plot.columns(plot.resampled(values, width), height, top)),
    ):
        assert len(lines) == height
        assert all(len(line) == cells for line in lines)


def test_a_graph_shows_the_newest_at_the_right_and_peaks_stay_seen() -> None:
    points = plot.resampled([0.0] * 299 + [10.0], 10)
    assert plot.columns(points, 1, 10.0)[0][-1] == "#"
    assert plot.resampled([1.0, 9.0, 1.0, 1.0], 2) == [9.0, 1.0]
    assert plot.resampled([1.0], 3)[-1] == 1.0


def test_the_diagram_shows_every_state_with_its_count_and_lights_what_moved() -> None:
    counts = {state: n for n, state in enumerate(LISTED_STATES, 3)}
    lines = diagram.large(counts, {(State.READY, State.UNHEALTHY)})
    text = "\n".join("".join(part for part, _ in line) for line in lines)
    for state, count in counts.items():
        assert state.value in text
        assert str(count) in text
    assert {style for line in lines for part, style in line if "▶" in part and "bold" in style} == {"bold unhealthy"}
    assert all(width_of(line) == diagram.WIDTH for line in lines)
    for old in (None, *LISTED_STATES):
        for new in (*LISTED_STATES, State.GONE):
            diagram.arrow_of((old, new))


@pytest.mark.parametrize("width", [60, 80, 100, 118, 158, 198, 300])
def test_the_table_fits_every_width(width: int) -> None:
    columns = fleet.shown_columns(width)
    row = busy_fleet().plane.rows()[0]
    assert width_of(fleet.header(columns, "N", False, width)) == width
    assert width_of(fleet.row_line(row, columns, NOW, width, selected=True)) == width
    assert {"State", "Worker", "p99"} <= {column.title for column, _ in columns}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", "w1 w2 w3 w4 w5 w6 w7 w8"),
        ("state:ready", "w1 w3 w4 w6"),
        ("state:cord", "w3"),
        ("state:drained", "w5"),
        ("model:QWEN", "w1 w3 w5 w8"),
        ("engine:vllm model:llama", "w2 w4 w6"),
        ("10.1.0.2", "w2"),
        ("failed", "w8"),
        ("w7", "w7"),
        ("nothing", ""),
    ],
)
def test_filters(words: str, names: str) -> None:
    rows = [row for row in busy_fleet().plane.rows() if fleet.matches(row, words.split())]
    assert " ".join(row.worker.name for row in rows) == names


@pytest.mark.parametrize("key", [column.key for column in fleet.COLUMNS])
def test_every_column_sorts(key: str) -> None:
    rows = busy_fleet().plane.rows()
    assert len(fleet.ordered(rows, key, False)) == len(rows)
    if key == "S":
        assert [row.worker.state for row in fleet.ordered(rows, key, False)][:2] == [State.FAILED, State.UNHEALTHY]
