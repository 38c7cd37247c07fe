"""How what is rarer looks, held against pictures: dialogs, empty and lost screens, a terminal too small.

The screens themselves have pictures of their own, at every size, in two themes and in ASCII. Here each is drawn
once, at the size and in the look in which it is most likely to go wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from textual.pilot import Pilot

from gateway.telemetry.logs import LogRing
from smg_console.app import ConsoleApp
from smg_console.plane import Link
from tests.console.fleet import START, Fleet, busy_fleet
from tests.console.test_pictures import Compare, settle

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)


@dataclass(frozen=True, slots=True)
class Picture:
    """What is seen after these keys. `look`: a theme, or `ascii`."""

    keys: tuple[str, ...]
    size: tuple[int, int] = SMALL
    look: str = "midnight"
    fleet: Callable[[], Fleet] = busy_fleet


def empty() -> Fleet:
    return Fleet()


def read_only() -> Fleet:
    fleet = Fleet(read_only=True)
    fleet.add("http://10.1.0.1:8000", "llama-3.1-8b")
    return fleet


def lost() -> Fleet:
    """One elsewhere that is not heard any more."""
    fleet = busy_fleet()
    link = Link("http://gateway:30000", fleet.clock.now - 42, "connection refused", fleet.clock.now + 3, 0)
    fleet.plane.link = lambda: link  # type: ignore[method-assign]
    return fleet


def alone() -> Fleet:
    """The last worker of its model."""
    fleet = Fleet()
    fleet.add("http://10.1.0.1:8000", "llama-3.1-8b")
    return fleet


PICTURES = {
    "add-80x24": Picture(("a",)),
    "add-ascii": Picture(("a", *"http", "enter"), look="ascii"),
    "add-daylight": Picture(("a", *"http", "enter"), LARGE, "daylight"),
    "drain-80x24": Picture(("d",)),
    "drain-ascii": Picture((*"jjjd",), look="ascii"),
    "drain-last-daylight": Picture(("d",), MIDDLE, "daylight", alone),
    "drain-many": Picture(("plus", "d"), MIDDLE),
    "remove-80x24": Picture((*"jjjx",)),
    "remove-200x60": Picture((*"jjjx",), LARGE, "daylight"),
    "quit-ascii": Picture(("q",), look="ascii"),
    "command-line-80x24": Picture(("colon", *"drain st")),
    "command-line-wrong": Picture(("colon", *"drian", "enter"), MIDDLE, "daylight"),
    "command-line-ascii": Picture(("colon", "d"), look="ascii"),
    "columns-80x24": Picture(("O",)),
    "columns-daylight": Picture(("O", "j", "space"), LARGE, "daylight"),
    "columns-ascii": Picture(("O",), look="ascii"),
    "help-80x24": Picture(("question_mark",)),
    "help-200x60": Picture(("question_mark",), LARGE, "daylight"),
    "help-ascii": Picture(("question_mark",), MIDDLE, "ascii"),
    "help-graphs": Picture(("h", "question_mark"), MIDDLE),
    "people-ascii": Picture(("U",), look="ascii"),
    "people-daylight": Picture(("U",), MIDDLE, "daylight"),
    "json-80x24": Picture(("y",)),
    "filter-80x24": Picture(("slash", *"state:")),
    "filter-nobody": Picture(("slash", *"nobody", "enter"), MIDDLE, "daylight"),
    "state-alone-80x24": Picture(("2",)),
    "state-alone-120x40": Picture(("2", "tab", "tab"), MIDDLE),
    "state-alone-ascii": Picture(("2", "tab", "tab"), MIDDLE, "ascii"),
    "groups-and-marks": Picture(("v", "j", "space", "space"), MIDDLE),
    "groups-ascii": Picture(("v", "j", "space", "left"), look="ascii"),
    "empty-120x40": Picture((), MIDDLE, "daylight", empty),
    "empty-200x60": Picture((), LARGE, "midnight", empty),
    "empty-ascii": Picture((), SMALL, "ascii", empty),
    "empty-graphs": Picture(("h",), SMALL, "midnight", empty),
    "empty-journal": Picture(("e",), SMALL, "midnight", empty),
    "empty-routing": Picture(("m",), SMALL, "midnight", empty),
    "empty-tokenizers": Picture(("z",), MIDDLE, "daylight", empty),
    "empty-log": Picture(("l",), SMALL, "midnight", empty),
    "no-discovery": Picture(("s",), SMALL, "ascii", empty),
    "read-only": Picture(("d",), SMALL, "midnight", read_only),
    "lost-80x24": Picture((), SMALL, "midnight", lost),
    "lost-120x40": Picture((), MIDDLE, "daylight", lost),
    "lost-200x60": Picture((), LARGE, "ascii", lost),
    "too-small": Picture((), (50, 12)),
    "too-small-ascii": Picture((), (59, 30), "ascii"),
    "terminal-colours": Picture((), SMALL, "terminal"),
    "monochrome": Picture((), MIDDLE, "monochrome"),
    "high-contrast": Picture(("enter",), MIDDLE, "high-contrast"),
    "colour-blind": Picture((), MIDDLE, "colour-blind"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_it_looks_as_it_should(snap_compare: Compare, name: str) -> None:
    picture = PICTURES[name]
    theme = "midnight" if picture.look == "ascii" else picture.look
    app = ConsoleApp(picture.fleet().plane, theme=theme, ascii_only=picture.look == "ascii", log=LogRing())

    async def press(pilot: Pilot[None]) -> None:
        await settle(pilot)
        for key in picture.keys:
            screen = pilot.app.screen
            await pilot.press(key)
            if pilot.app.screen is not screen:
                await settle(pilot)
        await settle(pilot)

    assert snap_compare(app, terminal_size=picture.size, run_before=press)


def test_the_lost_one_was_heard_before_it_was_lost() -> None:
    link = lost().plane.link()
    assert link is not None
    assert link.lost_at is not None
    assert link.lost_at > START
