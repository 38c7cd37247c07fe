"""How the console looks, held against pictures: every size, dark and light, ASCII, and its dialogs."""

from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from smg_console.app import ConsoleApp
from tests.console.fleet import Fleet

SIZES = [(80, 24), (120, 40), (200, 60)]

Compare = Callable[..., bool]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("look", ["midnight", "daylight", "ascii"])
def test_the_fleet(busy: Fleet, snap_compare: Compare, size: tuple[int, int], look: str) -> None:
    theme = "midnight" if look == "ascii" else look
    app = ConsoleApp(busy.plane, theme=theme, ascii_only=look == "ascii")
    assert snap_compare(app, terminal_size=size, run_before=settle)


@pytest.mark.parametrize("keys", ["enter", "d", "x", "a", "question_mark", "slash"])
def test_what_a_key_opens(busy: Fleet, snap_compare: Compare, keys: str) -> None:
    async def press(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await pilot.press(keys)
        await settle(pilot)

    assert snap_compare(ConsoleApp(busy.plane, theme="midnight"), terminal_size=(120, 40), run_before=press)


def test_an_empty_fleet_says_how_to_begin(fleet: Fleet, snap_compare: Compare) -> None:
    assert snap_compare(ConsoleApp(fleet.plane, theme="midnight"), terminal_size=(80, 24), run_before=settle)


async def settle(pilot: Pilot[None]) -> None:
    """Draw a frame, with nothing that blinks."""
    await pilot.pause()
    assert isinstance(pilot.app, ConsoleApp)
    for field in pilot.app.screen.query("Input"):
        field.cursor_blink = False  # type: ignore[attr-defined]  # they are Inputs
    await pilot.app.frame()
    await pilot.pause()
