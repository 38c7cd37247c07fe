"""The journal's screen: what its filter means, what its keys do, that it follows, and how it looks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import Input

from gateway.events import JOURNAL_SIZE
from gateway.workers.facts import Cause
from smg_console.app import ConsoleApp
from smg_console.present import events
from smg_console.present.runs import width_of
from smg_console.screens.journal import JournalScreen, JournalTable
from smg_console.screens.main import MainScreen
from smg_console.screens.views import View, WorkerView
from tests.console.fleet import Fleet, busy_fleet
from tests.console.test_app import app_of, console, drawn_text, frame, shown
from tests.console.test_pictures import SIZES, Compare, settle

ANNA = Cause("ssh:anna", "req-1")


def journal(fleet: Fleet) -> list[events.Told]:
    names = {entry.worker.id: entry.worker.name for entry in fleet.registry.entries.values()}
    return [events.told(event, names) for event in fleet.registry.journal.after(0, 1000)]


ALL = journal(busy_fleet())


@pytest.mark.parametrize(
    ("filter_", "fits"),
    [
        ("worker:w3", lambda row: row.worker == "w3"),
        ("WORKER:W3", lambda row: row.worker == "w3"),
        ("kind:cordon", lambda row: "cordon" in row.kind),
        ("by:health", lambda row: "health" in row.by),
        ("disk swapped", lambda row: "disk" in row.text and "swapped" in row.text),
        ("worker:w2 -kind:health", lambda row: row.worker == "w2" and "health" not in row.kind),
        ("-worker:w1", lambda row: row.worker != "w1"),
        ("10.1.0.7:8000", lambda row: "10.1.0.7:8000" in row.text),
        ("", lambda row: True),
        ("-", lambda row: True),
    ],
)
def test_a_filter_keeps_what_fits_all_its_words(filter_: str, fits: object) -> None:
    words = filter_.split()
    assert events.problem(words) == ""
    found = [row for row in ALL if events.matches(row, words)]
    assert found == [row for row in ALL if fits(row)]  # type: ignore[operator]  # the lambdas above
    assert found


@given(st.lists(st.text(alphabet="abw:-123", min_size=1, max_size=6), max_size=4))
def test_a_word_and_its_opposite_part_the_journal(words: list[str]) -> None:
    for word in words:
        plain = word.removeprefix("-")
        with_it = [row for row in ALL if events.matches(row, [plain])]
        without = [row for row in ALL if events.matches(row, [f"-{plain}"])]
        if plain and not plain.startswith("-"):
            assert len(with_it) + len(without) == len(ALL)
    assert [row for row in ALL if events.matches(row, words)] == [
        row for row in ALL if all(events.matches(row, [word]) for word in words)
    ]


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("who:anna", "who: is no field; there are worker:, kind:, by: and plain words"),
        ("by:", "by: of what? Such as by:api"),
        ("-worker:", "worker: of what? Such as worker:w3"),
    ],
)
def test_a_wrong_word_is_named_with_what_is_accepted(word: str, why: str) -> None:
    assert events.problem(["plain", word]) == why


@pytest.mark.parametrize("width", [58, 78, 198])
def test_an_event_in_full_fits_and_loses_nothing(width: int) -> None:
    fleet = busy_fleet()
    entry = fleet.registry.find("w1")
    fleet.registry.cordon(entry, "a long reason " * 20, ANNA)
    row = journal(fleet)[-1]
    lines = events.detail_lines(row.event, {entry.worker.id: "w1"}, width)
    said = " ".join(" ".join(part for part, _ in line) for line in lines).split()
    assert said.count("reason") == 20
    assert "ssh:anna," in said
    assert "req-1" in said
    assert max(map(width_of, lines[1:])) <= width


async def opened(pilot: Pilot[None]) -> JournalTable:
    await pilot.press("e")
    await shown(pilot, lambda: isinstance(pilot.app.screen, JournalScreen))
    table = pilot.app.screen.query_one(JournalTable)
    await shown(pilot, lambda: not table._filling)
    await frame(pilot)
    return table


async def test_e_opens_the_journal_at_its_end_and_it_follows(busy: Fleet) -> None:
    async with console(busy) as pilot:
        table = await opened(pilot)
        last = table.current
        assert last is not None
        assert last.event.seq == busy.registry.journal.seq
        busy.registry.cordon(busy.registry.find("w1"), "new", ANNA)
        await frame(pilot)
        assert table.current is not None
        assert table.current.event.seq == busy.registry.journal.seq
        assert "cordoned: new" in drawn_text(pilot)
        await pilot.press("k")
        stands = table.current
        busy.registry.uncordon(busy.registry.find("w1"), ANNA)
        await frame(pilot)
        assert table.current == stands, "who reads back stays where he is"
        await pilot.press("G")
        busy.registry.note("x", "y", ANNA)
        await frame(pilot)
        assert table.current is not None
        assert table.current.event.seq == busy.registry.journal.seq


async def test_enter_jumps_to_the_events_worker_and_says_where_there_is_none(busy: Fleet) -> None:
    async with console(busy) as pilot:
        table = await opened(pilot)
        busy.registry.note("started", "serving", ANNA)
        await frame(pilot)
        await pilot.press("enter")
        await shown(pilot, lambda: any("about the gateway itself" in n.message for n in pilot.app._notifications))
        entry = busy.registry.find("w6")
        busy.registry.cordon(entry, "x", ANNA)
        await frame(pilot)
        await pilot.press("enter")
        await shown(pilot, lambda: isinstance(pilot.app.screen, WorkerView))
        assert app_of(pilot).chosen is not None
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, JournalScreen))
        busy.registry.remove_now(entry, "gone", ANNA)
        await frame(pilot)
        assert table.current is not None
        await pilot.press("enter")
        await shown(pilot, lambda: any("w6 has left the fleet" in n.message for n in pilot.app._notifications))


async def test_slash_filters_as_one_types_and_esc_drops_the_filter_before_it_leaves(busy: Fleet) -> None:
    async with console(busy) as pilot:
        table = await opened(pilot)
        total = len(table._rows)
        await pilot.press("slash", *"worker:w3")
        await frame(pilot)
        assert 0 < len(table._rows) < total
        assert {row.worker for row in table._rows} == {"w3"}
        assert f"Events: {len(table._rows)} of {total} fit the filter worker:w3" in drawn_text(pilot)
        busy.registry.uncordon(busy.registry.find("w3"), ANNA)
        busy.registry.note("x", "y", ANNA)
        await frame(pilot)
        assert table._rows[-1].worker == "w3", "what comes is filtered as well"
        await pilot.press("enter")
        await pilot.press("escape")
        await frame(pilot)
        assert len(table._rows) == total + 2
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


async def test_a_wrong_filter_says_so_and_the_last_good_one_holds(busy: Fleet) -> None:
    async with console(busy) as pilot:
        table = await opened(pilot)
        await pilot.press("slash")
        line = pilot.app.screen.query_one("#filter", Input)
        line.value = "worker:w3"
        await frame(pilot)
        line.value = "worker:w3 nobody:x"
        await frame(pilot)
        assert "nobody: is no field" in drawn_text(pilot)
        assert {row.worker for row in table._rows} == {"w3"}
        line.value = "zzz"
        await frame(pilot)
        assert "No event fits the filter" in drawn_text(pilot)


async def test_a_full_journal_is_taken_over_and_outrun_without_loss_of_place(fleet: Fleet) -> None:
    for n in range(JOURNAL_SIZE + 500):
        fleet.registry.note("n", f"note {n}", ANNA)
    async with console(fleet) as pilot:
        table = await opened(pilot)
        assert len(table._rows) == JOURNAL_SIZE
        for n in range(JOURNAL_SIZE + 500):  # more than it keeps, between two looks
            fleet.registry.note("n", f"later {n}", ANNA)
        await frame(pilot)
        await shown(pilot, lambda: not table._filling and len(table._rows) == JOURNAL_SIZE)
        await frame(pilot)
        assert table.current is not None
        assert table.current.event.seq == fleet.registry.journal.seq
        await pilot.press("home")
        await frame(pilot)
        assert table.current.event.seq == fleet.registry.journal.oldest


async def test_help_and_palette_know_the_journal(busy: Fleet) -> None:
    async with console(busy) as pilot:
        commands = {command.title: command.callback for command in app_of(pilot).get_system_commands(pilot.app.screen)}
        commands["Events"]()
        await shown(pilot, lambda: isinstance(pilot.app.screen, JournalScreen))
        await pilot.press("e")  # once more opens no second one
        await pilot.press("question_mark")
        await shown(pilot, lambda: isinstance(pilot.app.screen, View))
        await frame(pilot)
        assert "the worker an event is about" in drawn_text(pilot)
        await pilot.press("escape", "escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("look", ["midnight", "daylight", "ascii"])
def test_the_journal(busy: Fleet, snap_compare: Compare, size: tuple[int, int], look: str) -> None:
    app = ConsoleApp(busy.plane, theme="midnight" if look == "ascii" else look, ascii_only=look == "ascii")

    async def filtered(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await opened(pilot)
        if size[0] == 120:
            await pilot.press("slash")
            pilot.app.screen.query_one("#filter", Input).value = "-kind:discovered by:c"
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=filtered)
