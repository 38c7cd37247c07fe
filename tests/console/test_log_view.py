"""The log screen: entries with levels, the filter, following, and how it looks."""

import logging
from collections.abc import Callable

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from gateway.telemetry.logs import RING_SIZE, LogRing
from smg_console.app import ConsoleApp
from smg_console.present import log
from smg_console.present.runs import width_of
from smg_console.screens.log import LogScreen, LogTable
from smg_console.screens.main import MainScreen
from tests.console.fleet import START, Fleet
from tests.console.test_app import console, drawn_text, frame, shown
from tests.console.test_pictures import SIZES, Compare, settle

TRACE = "14:14:55 ERROR   control_failed route=/x\nTraceback (most recent call last):\n  File a\nKeyError: 'b'"
ENTRIES = [
    log.row_of(n, text)
    for n, text in enumerate(
        (
            "14:14:50 DEBUG   probe worker=w1",
            "14:14:51 INFO    worker_ready worker=w1",
            "14:14:52 WARNING worker_unhealthy worker=w2 why=refused",
            TRACE,
            "a line of somebody else's",
        )
    )
]


def record(ring: LogRing, text: str, level: int = logging.WARNING) -> None:
    made = logging.LogRecord("gateway", level, "", 0, text, None, None)
    made.created = START
    ring.handle(made)


@pytest.mark.parametrize(
    ("filter_", "numbers"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("level:warning", [2, 3]),
        ("LEVEL:ERROR", [3]),
        ("level:info -w1", [2, 3, 4]),
        ("KeyError", [3]),
        ("worker=w2 refused", [2]),
        ("-worker", [3, 4]),
        ("-", [0, 1, 2, 3, 4]),
    ],
)
def test_a_filter_keeps_what_fits_all_its_words(filter_: str, numbers: list[int]) -> None:
    words = filter_.split()
    assert log.problem(words) == ""
    assert [row.number for row in ENTRIES if log.matches(row, words)] == numbers


def test_a_level_that_is_none_is_named_with_those_there_are() -> None:
    assert log.problem(["x", "level:bad"]) == "level:bad is none; there are debug, info, warning, error, critical"


@pytest.mark.parametrize("width", [60, 120])
def test_an_entry_of_several_lines_has_a_mark_and_is_whole_below(width: int) -> None:
    assert {width_of(log.row_line(row, width)) for row in ENTRIES} == {width}
    assert "control_failed route=/x ↵" in log.row_line(ENTRIES[3], width)[0][0]
    said = "\n".join(part for line in log.detail_lines(ENTRIES[3], width) for part, _ in line)
    assert "KeyError: 'b'" in said
    assert max(map(width_of, log.detail_lines(log.row_of(1, "word " * 100), width))) <= width


async def opened(pilot: Pilot[None]) -> LogTable:
    await pilot.press("l")
    await shown(pilot, lambda: isinstance(pilot.app.screen, LogScreen))
    await frame(pilot)
    return pilot.app.screen.query_one(LogTable)


async def test_the_log_opens_at_its_end_and_follows_until_one_reads_back(busy: Fleet) -> None:
    ring = LogRing()
    for n in range(200):
        record(ring, f"line_{n}")
    async with console(busy, log=ring) as pilot:
        table = await opened(pilot)
        assert "line_199" in drawn_text(pilot)
        record(ring, "line_200")
        await frame(pilot)
        assert table.current is not None
        assert "line_200" in table.current.text
        await pilot.press("k")
        record(ring, "line_201")
        await frame(pilot)
        assert "line_199" in table.current.text
        assert "line_201" not in "".join(row.text for row in [table.current])
        await pilot.press("G")
        await frame(pilot)
        assert "line_201" in table.current.text


async def test_more_than_the_ring_keeps_is_forgotten_oldest_first(busy: Fleet) -> None:
    ring = LogRing()
    async with console(busy, log=ring) as pilot:
        table = await opened(pilot)
        assert "Nothing has been logged yet." in drawn_text(pilot)
        for n in range(RING_SIZE + 700):
            record(ring, f"line_{n}")
            if n == 300:
                await frame(pilot)
        await frame(pilot)
        assert [row.text.split()[-1] for row in table._rows] == [f"line_{n}" for n in range(700, RING_SIZE + 700)]
        assert [row.number for row in table._rows] == list(range(700, RING_SIZE + 700))


async def test_the_filter_says_what_is_wrong_and_the_last_good_one_holds(busy: Fleet) -> None:
    ring = LogRing()
    record(ring, "good", logging.INFO)
    record(ring, "bad", logging.ERROR)
    async with console(busy, log=ring) as pilot:
        table = await opened(pilot)
        await pilot.press("slash")
        line = pilot.app.screen.query_one("#filter", Input)
        line.value = "level:error"
        await frame(pilot)
        assert [row.level for row in table._rows] == ["ERROR"]
        line.value = "level:odd"
        await frame(pilot)
        assert "level:odd is none" in drawn_text(pilot)
        assert len(table._rows) == 1
        line.value = "nothing"
        await frame(pilot)
        assert "No entry fits the filter" in drawn_text(pilot)
        await pilot.press("escape", "escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


async def test_without_a_log_l_says_so(busy: Fleet) -> None:
    async with console(busy) as pilot:
        await pilot.press("l")
        await shown(pilot, lambda: any("there is no log here" in n.message for n in pilot.app._notifications))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("look", ["midnight", "daylight", "ascii"])
def test_the_log(busy: Fleet, snap_compare: Compare, size: tuple[int, int], look: str) -> None:
    ring = LogRing()
    told: list[Callable[[], None]] = [
        lambda: record(ring, "gateway_listening address=http://127.0.0.1:30000", logging.INFO),
        lambda: record(ring, "worker_unhealthy worker=w2 why=refused"),
        lambda: record(ring, "control_request_failed route=/x", logging.ERROR),
    ]
    for n in range(30):
        told[n % 3]()
    theme = "midnight" if look == "ascii" else look
    app = ConsoleApp(busy.plane, theme=theme, ascii_only=look == "ascii", log=ring)

    async def opened_there(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await opened(pilot)
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=opened_there)
