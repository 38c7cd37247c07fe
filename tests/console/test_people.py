"""Who is connected: on a screen of its own, and counted in the header when one is not alone."""

from dataclasses import replace

import pytest
from textual.pilot import Pilot

from gateway.access import AccessRole
from gateway.presence import Person, Presence
from smg_console.app import ConsoleApp
from smg_console.present.people import people_lines
from smg_console.present.runs import Line, width_of
from smg_console.present.summary import header_line
from tests.console.fleet import START, Fleet
from tests.console.test_pictures import SIZES, Compare, settle

ANN = Person("ssh:ops@ann-laptop", AccessRole.OPERATOR, "192.0.2.7", START - 65, "console", "xterm-256color 120x40")
BOB = Person("ssh:bob@\x1b[2J" + "b" * 40, AccessRole.ADMIN, "2001:db8::17", START - 3, "command")
HERE = Person("console", AccessRole.ADMIN, "", START - 3725)


def texts(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def test_everybody_has_a_line_that_fits_and_moves_no_cursor() -> None:
    for width in (78, 118, 198):
        assert all(width_of(line) <= width for line in people_lines((HERE, ANN, BOB), START, width))
    lines = people_lines((HERE, ANN, BOB), START, 120)
    shown = texts(lines)
    assert shown[1].split()[:4] == ["console", "admin", "this", "terminal"]
    assert shown[2].split() == [
        *("ssh:ops@ann-laptop", "operator", "192.0.2.7", "14:12:15", "1m05s", "console", "xterm-256color", "120x40")
    ]
    assert all(text.isprintable() for text in shown)
    assert "nobody" in texts(people_lines((), START, 80))[1]


@pytest.mark.parametrize("width", [80, 120])
def test_the_header_counts_those_who_are_here_when_one_is_not_alone(fleet: Fleet, width: int) -> None:
    row = fleet.gateway_row()
    alone = texts([header_line(row, width, read_only=False)])[0]
    together = texts([header_line(replace(row, people=3), width, read_only=False)])[0]
    assert "here" not in alone
    assert ("3 here" if width == 120 else "3u") in together


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_people(fleet: Fleet, snap_compare: Compare, size: tuple[int, int]) -> None:
    presence = Presence()
    for person in (HERE, ANN, BOB):
        presence.enter(person)
    fleet.plane._people = presence.people

    async def press(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await pilot.press("U")
        await settle(pilot)

    assert snap_compare(ConsoleApp(fleet.plane, theme="midnight"), terminal_size=size, run_before=press)
