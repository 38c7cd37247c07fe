"""What is drawn, as pure functions: widths that hold, pictures that are true, sentences that fit."""

from dataclasses import replace
from itertools import pairwise
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.events import Event
from gateway.operations import Effect
from gateway.workers import facts
from gateway.workers.facts import Cause
from gateway.workers.model import Health, Intent, State, WorkerId
from smg_console.present import diagram, feed, fleet, graphs, guide, numbers, plot, query, runs, summary
from smg_console.present.arranging import How, arranged
from smg_console.present.overview import Overview
from smg_console.present.states import GLYPHS
from tests.console.fleet import Fleet, busy_fleet

NAN = float("nan")


def text(line: runs.Line) -> str:
    return "".join(part for part, _ in line)


# --- numbers ---


@pytest.mark.parametrize(
    ("written", "value", "wanted"),
    [
        (numbers.rate, 0.0, "0"),
        (numbers.rate, 0.01, "<0.1"),
        (numbers.rate, 3.21, "3.2"),
        (numbers.rate, 9.97, "10"),
        (numbers.rate, 120.4, "120"),
        (numbers.rate, NAN, "–"),
        (numbers.count, 9999, "9999"),
        (numbers.count, 12_345, "12.3k"),
        (numbers.count, 999_951, "1.0M"),
        (numbers.duration, 0.0008, "0.8ms"),
        (numbers.duration, 0.9996, "1.0s"),
        (numbers.duration, 125, "2m05s"),
        (numbers.duration, None, "–"),
        (numbers.age, 3599, "59m59s"),
        (numbers.age, 86400 * 5 + 7 * 3600, "5d07h"),
        (numbers.age, 86400 * 120, "120d"),
        (numbers.percent, 0.0004, "<0.1%"),
        (numbers.percent, 1.0, "100%"),
    ],
)
def test_numbers_read_as_an_operator_reads_them(written: object, value: float | None, wanted: str) -> None:
    assert callable(written)
    assert written(value) == wanted


@given(st.floats(0, 1e12) | st.just(NAN))
def test_no_number_is_wider_than_its_column(value: float) -> None:
    assert len(numbers.rate(value)) <= 6
    assert len(numbers.count(value)) <= 6
    assert len(numbers.duration(value)) <= 6
    assert len(numbers.age(value)) <= 6
    assert len(numbers.percent(min(value, 9.99))) <= 5


# --- text in cells ---


@given(st.text(max_size=40), st.integers(1, 60))
def test_fitted_text_takes_exactly_its_cells(words: str, width: int) -> None:
    words = runs.printable(words)
    for fitted in (
        runs.fit(words, width),
        runs.fit(words, width, right=True),
        runs.cut_middle(words, width),
        fleet.short_model(words, width),
    ):
        assert runs.width_of([(fitted, "")]) == width


@given(st.lists(st.tuples(st.text(max_size=10), st.just("")), max_size=6), st.integers(1, 60))
def test_a_cut_line_takes_exactly_its_cells(parts: list[runs.Run], width: int) -> None:
    line = [(runs.printable(part), style) for part, style in parts]
    assert runs.width_of(runs.cut(line, width)) == width


@given(st.text(max_size=40))
def test_ascii_text_is_ascii_and_as_wide_as_before(words: str) -> None:
    words = runs.printable(words)
    plain = runs.ascii_only(words)
    assert plain.isascii()
    assert runs.width_of([(plain, "")]) == runs.width_of([(words, "")])


some_runs = st.lists(st.tuples(st.text("ab夜─ ", max_size=5), st.sampled_from(["", "ready"])), max_size=5)


@given(some_runs, some_runs)
def test_outside_the_changed_cells_two_lines_are_the_same(old: list[runs.Run], new: list[runs.Run]) -> None:
    width = 40
    first, end = runs.changed_cells(old, new, width)
    assert 0 <= first <= width
    before, after = (cells_of(line, width) for line in (old, new))
    assert before[:first] == after[:first]
    assert before[end:] == after[end:]


def cells_of(line: list[runs.Run], width: int) -> list[tuple[str, str]]:
    """A line cell by cell; a wide character stands in its first cell."""
    cells = [
        (part, style)
        for word, style in line
        for char in word
        for part in ([char, ""] if runs.width_of([(char, "")]) == 2 else [char])
    ]
    return [*cells, *[(" ", "rest")] * width][:width]


def test_of_a_line_in_which_a_number_changed_only_the_number_is_sent() -> None:
    old: list[runs.Run] = [("● ready ", "ready"), ("w1  10.0.0.1  ", ""), ("  12 ", "bold"), ("1.3s", "")]
    new: list[runs.Run] = [("● ready ", "ready"), ("w1  10.0.0.1  ", ""), ("  15 ", "bold"), ("1.3s", "")]
    assert runs.changed_cells(old, new, 31) == (25, 26)


def test_a_long_host_keeps_both_its_ends() -> None:
    assert runs.cut_middle("w12 sglang-llama-7f9c8d5b6-x2k9q.prod:8000", 24) == "w12 sglang-lla…prod:8000"


def test_a_model_loses_its_organisation_before_its_name() -> None:
    assert fleet.short_model("meta-llama/Llama-3.3-70B", 16) == "Llama-3.3-70B   "


def test_what_a_worker_tells_cannot_steer_the_terminal() -> None:
    assert runs.printable("llama\x1b[2J\n3") == "llama?[2J?3"


# --- curves ---


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_the_axis_ends_above_every_value_but_not_far(values: list[float]) -> None:
    top = plot.ceiling(values, 1.0)
    assert top >= max(values)
    assert top <= max(1.0, 2.01 * max(values))


@given(st.lists(st.floats(0, 1e6) | st.just(NAN), max_size=320), st.integers(1, 120), st.integers(0, 10_000))
def test_a_resampled_curve_has_its_width_and_keeps_the_newest_peak(values: list[float], count: int, taken: int) -> None:
    points = plot.resampled(values, count, taken)
    assert len(points) == count
    if values and not isnan(values[-1]):
        assert points[-1] >= values[-1]


def test_a_drawn_column_keeps_its_value_as_the_curve_moves_left() -> None:
    values = [float(n * 7 % 31) for n in range(400)]
    before = plot.resampled(values[0:300], 100, taken=300)
    after = plot.resampled(values[3:303], 100, taken=303)
    assert after[:-1] == before[1:]
    half = plot.resampled(values[1:301], 100, taken=301)
    assert half[:-1] == before[1:], "a group that is still filling must not shift the others"


def test_braille_fills_from_below() -> None:
    assert plot.braille([4, 0, 2, 1], 1, 4) == ["⡇⣄"]
    assert plot.columns([4, 0, 2, 1], 1, 4) == ["# :."]


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("height", [1, 3, 10, 14])
@pytest.mark.parametrize("width", [26, 40, 78, 200])
def test_graphs_fill_exactly_their_place(width: int, height: int, ascii_only: bool) -> None:
    busy = busy_fleet()
    for draw in (graphs.stacked, graphs.beside):
        lines = draw(busy.plane.series, 300, width, height, ascii_only=ascii_only)
        assert len(lines) == height
        assert {runs.width_of(line) for line in lines} <= {width, 0}


def test_a_graph_says_its_last_value_its_window_and_its_axis() -> None:
    lines = [
        text(line) for line in graphs.graph(graphs.KINDS[2], busy_fleet().plane.series, 300, 60, 4, ascii_only=False)
    ]
    assert lines[0].startswith("Latency p50 ")
    assert "p99 1.0s" in lines[0]
    assert lines[0].endswith("last 3m36s"), "108 columns of two seconds each"
    assert lines[1].startswith(" 3.0s┤")
    assert lines[3].startswith("    0┤")


# --- the diagram ---


def test_the_diagram_has_a_box_and_a_count_for_every_state_and_all_arrows_of_the_mission() -> None:
    picture = diagram.large({State.READY: 12, State.UNHEALTHY: 3}, ())
    lines = [text(line) for line in picture]
    assert len(lines) == diagram.HEIGHT
    assert {len(line) for line in lines} == {diagram.WIDTH}
    assert "add ──▶│◌ registering│──────▶│   ● ready   │──────▶│ ◆ unhealthy │" in lines[1]
    assert "│      12     │◀──────│      3      │" in lines[2]
    assert "│   ✖ failed  │─┘     │  ◐ draining │◀─────────┘" in lines[6]
    assert "│      0      │◀──┐   │      0      │──▶ gone" in lines[7]


@pytest.mark.parametrize("move", sorted(diagram._PATHS, key=str), ids=lambda move: f"{move[0]}-{move[1]}")
def test_a_lit_arrow_is_heavy_and_coloured_and_the_only_one(move: diagram.Move) -> None:
    dark, lit = diagram.large({}, ()), diagram.large({}, {move})
    changed = {
        style
        for line, before in zip(lit, dark, strict=True)
        for part, style in line
        if (part, style) not in before and part.strip()
    }
    assert f"bold {move[1].value}" in changed
    assert any(style == f"bold {move[1].value}" for line in lit for _, style in line)
    assert not any(style.startswith("bold") for line in dark for _, style in line)


def test_every_possible_move_lights_an_arrow_that_is_drawn() -> None:
    for old in State:
        for new in State:
            if old not in (new, State.GONE):
                arrow = diagram.arrow_of((old, new))
                known = arrow in diagram._PATHS
                unseen = (old, new) in {(State.READY, State.FAILED), (State.DRAINING, State.FAILED)}
                backwards = new is State.UNHEALTHY and old in (State.REGISTERING, State.FAILED)
                assert known or unseen or backwards, (old, new)


@pytest.mark.parametrize("width", [78, 70, 50, 30])
def test_the_small_diagram_fits_and_counts_every_state(width: int) -> None:
    line = diagram.small({State.READY: 9, State.FAILED: 1}, {(State.READY, State.DRAINING)}, width)
    assert runs.width_of(line) == width
    assert all(glyph in text(line) for glyph in (GLYPHS[State.READY], GLYPHS[State.FAILED]))
    assert any("reverse" in style and "◐" in part for part, style in line)


def test_state_signs_differ_without_colour_even_in_ascii() -> None:
    assert len(set(GLYPHS.values())) == len(GLYPHS)
    assert len({runs.ascii_only(glyph) for glyph in (*GLYPHS.values(), "⊘")}) == len(GLYPHS) + 1


# --- the table ---


@pytest.mark.parametrize("width", [58, 60, 78, 98, 118, 158, 198, 300])
def test_rows_and_head_take_exactly_the_table_s_width(width: int) -> None:
    busy = busy_fleet()
    columns = fleet.shown_columns(width)
    assert runs.width_of(fleet.header(columns, "name", False, width)) == width
    for row in busy.plane.rows():
        assert runs.width_of(fleet.row_line(row, columns, busy.clock.now, width, selected=False)) == width


def test_wider_tables_show_more_and_the_essentials_always() -> None:
    shown = [{column.title for column, _ in fleet.shown_columns(width)} for width in (58, 78, 118, 198)]
    assert all(more >= less for less, more in pairwise(shown))
    assert {"State", "Worker", "In fl", "p99"} <= shown[0]
    assert {"Queue", "Err", "Probe", "Since"} <= shown[1]
    assert {"Model", "KV", "Req/s", "p50"} <= shown[2]
    assert shown[3] == {column.title for column in fleet.COLUMNS}


def test_every_column_sorts_and_has_a_key_of_its_own() -> None:
    rows = busy_fleet().plane.rows()
    assert len(fleet.BY_KEY) == len(fleet.COLUMNS)
    assert not {"R", "G"} & set(fleet.BY_KEY), "R retries, G goes to the end"
    for column in fleet.COLUMNS:
        assert len(arranged(rows, How(sort=column.name, reverse=True), 0.0).items) == len(rows)
    assert [row.worker.name for row in arranged(rows, How(sort="state"), 0.0).fitting][:2] == [
        "w8",
        "w2",
    ]  # trouble first


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", "w1 w2 w3 w4 w5 w6 w7 w8"),
        ("state:ready", "w1 w3 w4 w6"),
        ("state:cord", "w3"),
        ("unhealthy", "w2"),
        ("model:qwen state:ready", "w1 w3"),
        ("10.1.0.7", "w7"),
        ("QWEN w1", "w1"),
        ("engine:vllm w6", "w6"),
        ("rack=b7", "w1"),
        ("label:rack=b", "w1"),
        ("[/", ""),
    ],
)
def test_a_filter_takes_all_its_words(words: str, names: str) -> None:
    busy = busy_fleet()
    rows = list(busy.plane.rows())
    rows[0] = replace(rows[0], worker=replace(rows[0].worker, spec=replace(rows[0].worker.spec, labels={"rack": "b7"})))
    assert [row.worker.name for row in rows if query.parsed(words).fits(row, busy.clock.now)] == names.split()


# --- events ---


def event(fact: facts.Fact, seq: int = 1) -> Event:
    return Event(seq, 1_790_000_000.0, 0.0, Cause("health checker"), fact)


W1 = WorkerId("1")


def test_a_verdict_that_only_announces_the_move_beside_it_is_left_out() -> None:
    verdict = event(facts.HealthChanged(W1, Health.HEALTHY, Health.UNHEALTHY, "3 failed probes"), 1)
    move = event(facts.StateChanged(W1, State.READY, State.UNHEALTHY, "3 failed probes"), 2)
    alone = event(facts.HealthChanged(W1, Health.UNHEALTHY, Health.HEALTHY, "2 good probes"), 3)
    assert feed.told([verdict, move, alone]) == [move, alone]


def test_a_drain_is_told_once_and_its_calling_off_too() -> None:
    fleet_ = Fleet()
    entry = fleet_.add("http://a:1")
    entry.meters.began()
    start = fleet_.registry.journal.seq
    fleet_.registry.drain(entry, Intent.HOLD, None, "disk swap", Cause("console"))
    fleet_.registry.resume(entry, Cause("console"))
    events = fleet_.registry.journal.after(start, 10)
    assert [e.fact.kind for e in feed.told(events)] == ["worker_state_changed", "worker_state_changed"]
    fleet_.registry.drain(entry, Intent.HOLD, 5.0, "again", Cause("console"))
    fleet_.registry.drain(entry, Intent.REMOVE, 9.0, "for good", Cause("console"))
    shown = feed.told(fleet_.registry.journal.after(events[-1].seq, 10))
    assert [feed.described(e)[1] for e in shown] == ["ready → draining", "drains to remove"]


@pytest.mark.parametrize("width", [40, 58, 80, 118, 196])
def test_every_kind_of_event_is_a_line_of_the_width(width: int) -> None:
    busy = busy_fleet()
    registry = busy.registry
    registry.uncordon(registry.find("w3"), Cause("console"))
    registry.remove_now(registry.find("w1"), "gone for good", Cause("ssh:anna"))
    registry.note("started", "serving on http://127.0.0.1:30000", Cause("gateway"))
    names = {worker_id: entry.worker.name for worker_id, entry in registry.entries.items()}
    events = registry.journal.after(0, 1000)
    assert len({e.fact.kind for e in events}) >= 8
    for e in events:
        assert runs.width_of(feed.event_line(e, names, width)) == width


def test_an_event_says_when_who_what_why_and_by_whom() -> None:
    line = text(feed.event_line(event(facts.StateChanged(W1, State.READY, State.UNHEALTHY, "refused")), {W1: "w1"}, 90))
    assert line.startswith(" 14:13:20 w1   ◆ ready → unhealthy: refused  ")
    assert line.endswith(" health checker ")


# --- header, counters, sentences ---


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("read_only", [False, True])
def test_the_header_fits_and_keeps_the_traffic(width: int, read_only: bool) -> None:
    busy = busy_fleet()
    busy.loop_late_ms = 45.0
    line = summary.header_line(busy.gateway_row(), width, read_only=read_only)
    assert runs.width_of(line) == width
    assert "48 r" in text(line)
    assert ("READ-ONLY" in text(line)) is read_only
    if width >= 80 and not read_only:
        assert ("   !45ms", "bold warning") in [
            (f" {part}" if len(part) == 7 else f"  {part}", style) for part, style in line
        ]


def test_a_late_loop_is_marked_and_coloured_and_one_in_time_is_not() -> None:
    busy = busy_fleet()
    for late, sign in ((20.0, False), (20.6, True)):
        busy.loop_late_ms = late
        line = summary.header_line(busy.gateway_row(), 120, read_only=False)
        assert any("warning" in style for part, style in line if "ms" in part) is sign
        assert ("!2" in text(line)) is sign


def test_the_overview_counts_what_the_registry_holds() -> None:
    busy = busy_fleet()
    overview = Overview()
    for row in busy.plane.rows():
        overview.add(row)
    assert overview.states == {"ready": 4, "unhealthy": 1, "registering": 1, "failed": 1, "draining": 1}
    assert (overview.total, overview.routable, overview.cordoned, overview.failing) == (8, 3, 1, 3)
    assert overview.draining_in_flight == busy.registry.find("w5").meters.in_flight
    words = text(summary.counters_line(overview, busy.clock.now, 140))
    assert words.startswith(" ▸ 3 of 8 routable  ✓ 5 healthy  ✗ 1 unhealthy  ◌ 2 unknown  ⊘ 1 cordoned  ◐ 1 draining")
    assert "oldest check 1m35s" in words


def test_no_routable_worker_is_an_error_but_an_empty_fleet_is_not() -> None:
    empty, down = Overview(), Overview(total=3)
    assert summary.counters_line(empty, 0.0, 100)[1][1] == "bold accent"
    assert summary.counters_line(down, 0.0, 100)[1][1] == "bold error"


FINISH = "in flight, which may finish."


@pytest.mark.parametrize(
    ("effect", "lines"),
    [
        (
            Effect(1, "m", 1, True),
            (f"1 request {FINISH}", "1 other worker of m remains: 50 % of its capacity."),
        ),
        (
            Effect(0, "m", 3, True),
            (f"0 requests {FINISH}", "3 other workers of m remain: 75 % of its capacity."),
        ),
        (
            Effect(2, None, 0, True),
            (f"2 requests {FINISH}", "It is the LAST worker that serves any model: its requests will fail."),
        ),
        (
            Effect(0, "m", 0, False),
            ("It takes no requests at present; 0 requests in flight.",),
        ),
    ],
)
def test_the_effect_of_an_act_in_sentences(effect: Effect, lines: tuple[str, ...]) -> None:
    assert guide.effect_lines(effect, last=effect.routable and not effect.left) == lines


@pytest.mark.parametrize("width", [58, 78, 118, 198])
@pytest.mark.parametrize("where", [guide.TABLE, guide.READING, guide.TOKENIZERS], ids=["table", "text", "tokenizers"])
def test_help_names_every_key_and_fits(width: int, where: tuple[tuple[str, guide.Keys], ...]) -> None:
    lines = guide.help_lines(width, where)
    words = "\n".join(map(text, lines))
    here = [pair for _, keys in where for pair in keys]
    bound_here = {key for key, _ in here}
    for key, said in (*here, *guide.ANYWHERE):
        if (key, said) in here or key not in bound_here:
            assert said[: width - 20] in words
        else:
            assert said not in words, "here the key means something else"
    if width >= 78:
        assert max(map(runs.width_of, lines)) <= width


def test_the_line_under_the_table_says_since_when_why_and_what_next() -> None:
    worker = busy_fleet().registry.find("w2").worker
    said = guide.standing(worker, 200)
    assert said == (
        "w2 unhealthy since 14:14:55: 3 failed probes in a row: connection refused; "
        "probed every second; comes back after its success threshold, p probes now"
    )
    assert len(guide.standing(worker, 60)) == 60
