"""The state diagram: states chosen in it by key, arrow and mouse, and what runs along its arrows."""

import itertools

import pytest
from textual.pilot import Pilot

from gateway.workers.model import LISTED_STATES, State
from smg_console.present import diagram, runs
from smg_console.present.query import state_alone
from smg_console.present.states import GLYPHS
from smg_console.screens.main import MainScreen
from smg_console.widgets.diagram import Diagram
from tests.console.fleet import Fleet
from tests.console.test_app import console, drawn_text, frame, text_of


def main_of(pilot: Pilot[None]) -> MainScreen:
    assert isinstance(pilot.app.screen, MainScreen)
    return pilot.app.screen


async def seen(pilot: Pilot[None]) -> tuple[State | None, set[str]]:
    """The chosen state, and the states of the workers in the table."""
    await frame(pilot)
    main = main_of(pilot)
    return main.diagram.chosen, {row.worker.state.value for row in main.table.fitting}


def text(line: runs.Line) -> str:
    return "".join(part for part, _ in line)


@pytest.mark.parametrize(("key", "state"), [(str(n), state) for n, state in enumerate(LISTED_STATES, 1)])
async def test_a_digit_shows_one_state_alone_and_again_all(busy: Fleet, key: str, state: State) -> None:
    async with console(busy) as pilot:
        await pilot.press(key)
        assert await seen(pilot) == (state, {state.value})
        assert f"{state} alone, 0 shows all" in str(main_of(pilot).diagram.border_subtitle)
        assert "╔" in text_of(pilot, "#diagram")
        await pilot.press(key)
        assert (await seen(pilot))[0] is None
        assert "╔" not in text_of(pilot, "#diagram")


async def test_what_else_the_filter_asks_stays_and_0_drops_the_state_only(busy: Fleet) -> None:
    async with console(busy) as pilot:
        await pilot.press("slash", *"model:llama", "enter", "2")
        assert await seen(pilot) == (State.READY, {"ready"})
        assert main_of(pilot).filter_line.value == "model:llama state:ready"
        assert main_of(pilot).focused is main_of(pilot).table
        await pilot.press("3", "0")
        assert (await seen(pilot))[0] is None
        assert main_of(pilot).filter_line.value == "model:llama"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_in_the_diagram_arrows_choose_and_enter_leads_to_the_table(busy: Fleet, size: tuple[int, int]) -> None:
    async with console(busy, size=size) as pilot:
        await pilot.press("tab", "tab")
        assert isinstance(pilot.app.focused, Diagram)
        for key, state in (
            ("right", State.REGISTERING),
            ("l", State.READY),
            ("down", State.DRAINING),
            ("j", State.READY),
            ("left", State.REGISTERING),
            ("h", State.DRAINING),
            ("up", State.READY),
            ("k", State.DRAINING),
        ):
            await pilot.press(key)
            assert await seen(pilot) == (state, {state.value})
        await pilot.press("enter")
        assert main_of(pilot).focused is main_of(pilot).table
        assert (await seen(pilot))[0] is State.DRAINING
        await pilot.press("tab", "tab", "escape")
        assert main_of(pilot).focused is main_of(pilot).table
        assert (await seen(pilot))[0] is None


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_a_click_on_a_state_shows_it_alone_and_a_second_one_all(busy: Fleet, size: tuple[int, int]) -> None:
    async with console(busy, size=size) as pilot:
        for state in LISTED_STATES:
            lines = text_of(pilot, "#diagram").splitlines()
            y, x = next((y, line.index(GLYPHS[state])) for y, line in enumerate(lines) if GLYPHS[state] in line)
            frame_of_it = (0, 0) if size[1] == 24 else (1, 1)
            at = (x + frame_of_it[0] + 1, y + frame_of_it[1])
            await pilot.click("#diagram", offset=at)
            assert await seen(pilot) == (state, {state.value})
            await pilot.click("#diagram", offset=at)
            assert (await seen(pilot))[0] is None
        await pilot.click("#diagram", offset=(1, 0))
        assert (await seen(pilot))[0] is None, "beside all boxes nothing is chosen"


async def test_in_ascii_the_chosen_state_has_a_frame_of_its_own(busy: Fleet) -> None:
    async with console(busy, ascii_only=True) as pilot:
        await pilot.press("2")
        await frame(pilot)
        assert "+=2===========+" in drawn_text(pilot)
        assert "#   O ready   #" in drawn_text(pilot)
    async with console(busy, ascii_only=True, size=(80, 24)) as pilot:
        await pilot.press("2")
        await frame(pilot)
        assert "[O ready 3]" in drawn_text(pilot) or "[O ready 4]" in drawn_text(pilot)


def test_a_worker_s_sign_runs_along_the_arrow_in_the_direction_it_takes() -> None:
    for move, path in diagram._PATHS.items():
        places = []
        for step in range(len(path)):
            picture = diagram.large({}, {move: (step + 0.5) / len(path)})
            places += [
                (x, y) for y, line in enumerate(picture) for x, char in enumerate(text(line)) if char == GLYPHS[move[1]]
            ]
        on_path = [place for place in places if place in {(x, y) for x, y, _ in path}]
        assert on_path == [(x, y) for x, y, _ in path], move
        ends = [end for end, char in ((path[-1][:2], path[-1][2]), (path[0][:2], path[0][2])) if char in "▶◀▲▼"]
        assert ends[0] == path[-1][:2], "the arrow's head comes last"
        assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in itertools.pairwise(on_path))


async def test_an_arrow_s_sign_moves_with_time_and_rests_when_the_arrow_goes_out(fleet: Fleet) -> None:
    entry = fleet.add("http://10.0.0.1:8000")
    async with console(fleet) as pilot:
        fleet.clock.now += 10
        await frame(pilot)
        for _ in range(3):
            fleet.probe(entry, ok=False)
        seen_at = []
        for _ in range(4):
            await frame(pilot)
            row = text_of(pilot, "#diagram").splitlines()[1]
            seen_at.append(next(x for x, char in enumerate(row) if char == "◆"))
            fleet.clock.now += 0.49
        assert seen_at == sorted(set(seen_at)), "further right each time"
        fleet.clock.now += 1
        await frame(pilot)
        assert text_of(pilot, "#diagram").splitlines()[1].count("◆") == 1, "only the box's own"


@pytest.mark.parametrize("width", [78, 70, 50, 30])
@pytest.mark.parametrize("chosen", LISTED_STATES)
def test_in_the_small_form_every_state_is_found_where_it_is_drawn(width: int, chosen: State) -> None:
    line = diagram.small({State.READY: 120, State.FAILED: 1}, (), width, chosen)
    assert runs.width_of(line) == width
    for state in LISTED_STATES:
        at = text(line).find(GLYPHS[state])
        assert at >= 0
        assert diagram.state_in_line(line, at) is state
    if width >= 50:
        assert f"[{GLYPHS[chosen]}" in text(line)


def test_every_cell_of_a_box_is_its_state_s() -> None:
    picture = [text(line) for line in diagram.large({}, ())]
    for y, line in enumerate(picture):
        for x, char in enumerate(line):
            state = diagram.state_at(x, y)
            if char in GLYPHS.values():
                assert state is not None
                assert GLYPHS[state] == char
            assert state is None or char not in "▶◀▲▼"


@pytest.mark.parametrize(
    ("asked", "state"),
    [
        ("", None),
        ("state:ready", State.READY),
        ("p99>500 State=FAILED", State.FAILED),
        ("state:ready,failed", None),
        ("state:cordoned", None),
        ("state:ready state:failed", None),
        ("-state:ready", None),
    ],
)
def test_a_typed_filter_chooses_the_state_it_asks_for(asked: str, state: State | None) -> None:
    assert state_alone(asked) is state
