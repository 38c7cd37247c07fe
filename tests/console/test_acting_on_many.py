"""Marked workers are acted on together, rolling drains run as jobs, and `u` takes an act back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot

from gateway.operations import Resume, StartDrain
from gateway.workers.entry import Entry
from gateway.workers.meters import Outcome
from smg_console.app import ConsoleApp
from smg_console.screens.command_line import CommandLine
from smg_console.screens.dialogs import Confirm
from smg_console.screens.main import MainScreen
from smg_console.screens.views import View, WorkerView
from tests.console.fleet import Fleet
from tests.console.test_app import TEST, app_of, console, frame, shown, text_of


@asynccontextmanager
async def four(fleet: Fleet, **options: object) -> AsyncIterator[tuple[Pilot[None], list[Entry]]]:
    """Three workers of m and one of n, a request in flight at each."""
    entries = [fleet.add(f"http://10.0.0.{n}:8000", "m" if n < 4 else "n") for n in range(1, 5)]
    for entry in entries:
        entry.meters.began()
    async with fleet.rolling, console(fleet, **options) as pilot:  # type: ignore[arg-type]
        yield pilot, entries


def states(fleet: Fleet, entries: list[Entry]) -> str:
    return " ".join(fleet.state(entry) for entry in entries)


def finish(fleet: Fleet, entry: Entry) -> None:
    entry.meters.ended(Outcome.OK, 0.1, fleet.clock.mono())


async def asked(pilot: Pilot[None]) -> str:
    """The question that is open, as text."""
    await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
    screen = pilot.app.screen
    assert isinstance(screen, Confirm)
    return "\n".join((screen.question.title, *screen.question.lines, screen.question.typed))


async def told(pilot: Pilot[None], sentence: str) -> None:
    await shown(pilot, lambda: any(sentence in notice.message for notice in pilot.app._notifications))


async def type_command(pilot: Pilot[None], line: str) -> None:
    await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
    await pilot.press("colon")
    await shown(pilot, lambda: isinstance(pilot.app.screen, CommandLine))
    screen = pilot.app.screen
    assert isinstance(screen, CommandLine)
    screen.line.put(line)
    await pilot.press("enter")
    await pilot.pause()


# --- many at once ---


async def test_marked_workers_are_drained_one_by_one_after_their_joint_effect_was_shown(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, entries):
        await pilot.press("space", "space", "d")
        text = await asked(pilot)
        assert "Drain 2 workers?" in text
        assert "w1 w2" in text
        assert "2 requests in flight" in text
        assert "m: 2 of 3 ready go, 33 % of its capacity remains." in text
        await pilot.press("y")
        await shown(pilot, lambda: states(fleet, entries) == "draining ready ready ready")
        await frame(pilot)
        assert "rolling drain j1 running: 0 of 2 drained  w1 1 in flight 5m00s left" in text_of(pilot, "#rolling")
        finish(fleet, entries[0])
        await shown(pilot, lambda: states(fleet, entries) == "draining draining ready ready")
        finish(fleet, entries[1])
        await shown(pilot, lambda: fleet.plane.rollings()[0].phase == "done")
        await frame(pilot)
        assert "✓ rolling drain j1 done: 2 of 2 drained" in text_of(pilot, "#rolling")
        fleet.clock.now += 31
        await frame(pilot)
        assert not pilot.app.screen.query_one("#rolling").display
        assert "asked by console" in entries[0].worker.reason


async def test_all_at_once_is_offered_only_where_somebody_is_left(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, entries):
        await pilot.press("plus", "d")
        text = await asked(pilot)
        assert "m: ALL 3 ready workers go: its requests will fail." in text
        assert "n: its LAST ready worker goes: its requests will fail." in text
        assert not pilot.app.screen.query("#extra")
        await pilot.press("exclamation_mark")
        assert isinstance(pilot.app.screen, Confirm)
        await pilot.press("escape", "minus", "g", "space", "space", "d")
        await asked(pilot)
        await pilot.press("exclamation_mark")
        await shown(pilot, lambda: states(fleet, entries) == "draining draining ready ready")


async def test_cordoning_the_last_of_a_model_needs_its_name(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, entries):
        await pilot.press("G", "c")
        assert "LAST worker that serves n" in await asked(pilot)
        await pilot.press("enter")
        assert not entries[3].worker.cordoned
        await pilot.press(*"w4", "enter")
        await shown(pilot, lambda: entries[3].worker.cordoned)
        await pilot.press("c")
        await shown(pilot, lambda: not entries[3].worker.cordoned)
        await pilot.press("plus", "c")
        assert (await asked(pilot)).endswith("\nm")
        await pilot.press("enter")
        assert not any(entry.worker.cordoned for entry in entries)
        await pilot.press("m", "enter")
        await shown(pilot, lambda: all(entry.worker.cordoned for entry in entries))
        await pilot.press("c")
        await shown(pilot, lambda: not any(entry.worker.cordoned for entry in entries))


async def test_marked_workers_are_probed_resumed_and_removed(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, entries):
        await pilot.press("space", "space", "p")
        await shown(pilot, lambda: fleet.probed == [entries[0].worker.id, entries[1].worker.id])
        for name in ("w1", "w2"):
            await fleet.operations.execute(StartDrain(name), TEST)
        await frame(pilot)
        await pilot.press("r")
        await shown(pilot, lambda: states(fleet, entries) == "ready ready ready ready")
        await pilot.press("x")
        assert "Remove 2 workers?" in await asked(pilot)
        await pilot.press("y")
        await shown(pilot, lambda: states(fleet, entries) == "draining ready ready ready")
        finish(fleet, entries[0])
        await shown(pilot, lambda: states(fleet, entries) == "gone draining ready ready")


async def test_what_cannot_be_done_for_some_is_told_and_the_others_are_done(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, entries):
        for _ in range(3):
            fleet.probe(entries[1], ok=False)
        await frame(pilot)
        await pilot.press("space", "space", "R")
        await told(pilot, "only an unhealthy or failed worker is retried")
        await told(pilot, "w2 registers again")


# --- undo ---


async def test_u_says_what_will_happen_and_takes_the_last_act_back(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, entries):
        await pilot.press("u")
        await told(pilot, "nothing to undo")
        await pilot.press("c")
        await shown(pilot, lambda: entries[0].worker.cordoned)
        await pilot.press("u")
        assert "w1 is uncordoned: it takes new requests again." in await asked(pilot)
        await pilot.press("y")
        await shown(pilot, lambda: not entries[0].worker.cordoned)
        await pilot.press("d")
        await asked(pilot)
        await pilot.press("y")
        await shown(pilot, lambda: fleet.state(entries[0]) == "draining")
        await pilot.press("p", "u")
        assert "w1 is resumed" in await asked(pilot), "a probe leaves nothing to undo"
        await pilot.press("y")
        await shown(pilot, lambda: fleet.state(entries[0]) == "ready")
        await pilot.press("u")
        await told(pilot, "nothing to undo")


async def test_a_removal_is_undone_while_it_drains_and_not_once_it_has_left(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, entries):
        for left in (False, True):
            await pilot.press("x")
            await asked(pilot)
            await pilot.press("y")
            await shown(pilot, lambda: fleet.state(entries[0]) == "draining")
            if left:
                finish(fleet, entries[0])
            await pilot.press("u")
            if left:
                await told(pilot, "w1 has left the list; :add http://10.0.0.1:8000 brings it back as a new worker")
            else:
                await asked(pilot)
                await pilot.press("y")
                await shown(pilot, lambda: fleet.state(entries[0]) == "ready")


async def test_undoing_an_uncordon_and_an_add_shows_what_they_would_cost(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, entries):
        fleet.registry.cordon(entries[0], "disk swap", TEST)
        await frame(pilot)
        await pilot.press("c", "u")
        assert "2 other workers of m remain" in await asked(pilot)
        await pilot.press("y")
        await shown(pilot, lambda: entries[0].worker.cordon_reason == "disk swap")
        await type_command(pilot, "add http://10.0.0.9:8000")
        await shown(pilot, lambda: len(fleet.registry) == 5)
        await pilot.press("u")
        assert "w5 is drained, then leaves the list." in await asked(pilot)
        await pilot.press("y")
        await shown(pilot, lambda: len(fleet.registry) == 4)


async def test_undoing_a_rolling_drain_cancels_it_and_resumes_its_workers(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, entries):
        await type_command(pilot, "drain model:m max=1")
        await asked(pilot)
        await pilot.press("y")
        await shown(pilot, lambda: fleet.state(entries[0]) == "draining")
        finish(fleet, entries[0])
        await shown(pilot, lambda: fleet.state(entries[1]) == "draining")
        await pilot.press("u")
        assert "j1 is cancelled, and those that it drained are resumed." in await asked(pilot)
        await pilot.press("y")
        await shown(pilot, lambda: states(fleet, entries) == "ready ready ready ready")
        assert fleet.plane.rollings()[0].phase in ("stopped", "cancelled")


# --- the command line ---


async def test_a_rolling_drain_by_command_is_paused_continued_and_cancelled(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, entries):
        await type_command(pilot, "drain model=m max=2 timeout=1m")
        text = await asked(pilot)
        assert "Drain 3 workers, rolling?" in text
        assert "At most 2 at a time; it stops at the first failure, and before fewer than 1 ready remain." in text
        await pilot.press("y")
        await shown(pilot, lambda: states(fleet, entries) == "draining draining ready ready")
        assert fleet.plane.rollings()[0].what == "model=m"
        await type_command(pilot, "pause")
        await told(pilot, "j1 paused")
        await type_command(pilot, "continue j1")
        await told(pilot, "j1 goes on")
        await type_command(pilot, "cancel")
        await told(pilot, "j1 cancelled; w1, w2 drain on")
        await type_command(pilot, "jobs")
        await shown(pilot, lambda: isinstance(pilot.app.screen, View))
        await frame(pilot)
        assert "asked by console: model=m  at most 2 at a time, floor 1" in text_of(pilot, "#text")


async def test_commands_about_the_table(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, _):
        main = pilot.app.screen
        assert isinstance(main, MainScreen)
        await type_command(pilot, "filter model:m")
        await shown(pilot, lambda: len(main.table.fitting) == 3)
        await type_command(pilot, "filter")
        await shown(pilot, lambda: len(main.table.fitting) == 4)
        await type_command(pilot, "sort rps asc")
        await shown(pilot, lambda: (main.table.how.sort, main.table.how.reverse) == ("rps", False))
        await type_command(pilot, "group model")
        await shown(pilot, lambda: main.table.how.group == "model")
        await type_command(pilot, "group none")
        await shown(pilot, lambda: not main.table.how.group)
        await type_command(pilot, "columns name p99 state")
        await shown(pilot, lambda: main.table.chosen == ("name", "p99", "state"))
        await type_command(pilot, "columns usual")
        await shown(pilot, lambda: main.table.chosen == ())
        await type_command(pilot, "mark model:m")
        await shown(pilot, lambda: len(main.table.marks) == 3)
        await type_command(pilot, "unmark")
        await shown(pilot, lambda: not main.table.marks)


async def test_commands_that_go_somewhere(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, _):
        app = app_of(pilot)
        await type_command(pilot, "worker w2")
        await shown(pilot, lambda: isinstance(pilot.app.screen, WorkerView))
        for place in ("events", "discovery", "graphs", "settings", "routing", "tokenizers", "help"):
            await pilot.press("colon")
            await shown(pilot, lambda: isinstance(pilot.app.screen, CommandLine))
            await pilot.press(*f"go {place}", "enter")
            await shown(pilot, lambda: not isinstance(pilot.app.screen, CommandLine | MainScreen))
            assert len(app.screen_stack) == 3, "screens do not pile up"
        await pilot.press("colon", *"go fleet", "enter")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        await type_command(pilot, "theme daylight")
        await shown(pilot, lambda: app.theme == "daylight")
        await type_command(pilot, "q")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm) or not app.is_running)


async def test_a_wrong_command_says_what_is_accepted_and_the_line_stays(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, _):
        for line, sentence in (
            ("drian w1", "there is no command drian; did you mean :drain"),
            ("drain w9", "no worker is called w9"),
            ("drain p99>x", "p99>x: given x, expected a time"),
            ("drain model:zzz", "no worker fits model:zzz"),
            ("pause", "no rolling drain is under way"),
        ):
            await type_command(pilot, line)
            await frame(pilot)
            assert sentence in text_of(pilot, "#command-hint"), line
            screen = pilot.app.screen
            assert isinstance(screen, CommandLine)
            assert screen.line.value == line
            await pilot.press("escape")


async def test_up_and_down_go_through_what_was_typed_and_tab_completes(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, _):
        for line in ("filter model:m", "sort kv"):
            await type_command(pilot, line)
            await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        await pilot.press("colon", "x")
        screen = pilot.app.screen
        assert isinstance(screen, CommandLine)
        seen = []
        for key in ("up", "up", "up", "down", "down"):
            await pilot.press(key)
            seen.append(screen.line.value)
        assert seen == ["sort kv", "filter model:m", "filter model:m", "sort kv", "x"]
        await pilot.press("backspace", *"dr", "tab", *"mod", "tab")
        assert screen.line.value == "drain model:"
        await frame(pilot)
        assert " m" in text_of(pilot, "#command-hint")


async def test_a_read_only_console_refuses_acts_in_the_line_and_keeps_the_rest() -> None:
    fleet = Fleet(read_only=True)
    async with four(fleet) as (pilot, entries):
        before = fleet.registry.journal.seq
        for line in ("drain w1", "cordon model:m", "add http://a:1", "undo"):
            await type_command(pilot, line)
            await frame(pilot)
            assert "read-only" in text_of(pilot, "#command-hint")
            await pilot.press("escape")
        await pilot.press("space", "space", "d", "c", "x", "p", "u")
        assert isinstance(pilot.app.screen, MainScreen)
        assert fleet.registry.journal.seq == before
        await type_command(pilot, "filter model:n")
        main = pilot.app.screen
        assert isinstance(main, MainScreen)
        await shown(pilot, lambda: len(main.table.fitting) == 1)
        assert states(fleet, entries) == "ready ready ready ready"


async def test_a_job_outlives_the_console_that_asked(fleet: Fleet) -> None:
    entries = [fleet.add(f"http://10.0.0.{n}:8000", "m") for n in (1, 2, 3)]
    for entry in entries:
        entry.meters.began()
    async with fleet.rolling:
        async with console(fleet) as pilot:
            await type_command(pilot, "drain w1 w2 max=1")
            await asked(pilot)
            await pilot.press("y")
            await shown(pilot, lambda: fleet.state(entries[0]) == "draining")
        async with ConsoleApp(fleet.plane).run_test(size=(120, 40)) as pilot:
            finish(fleet, entries[0])
            await shown(pilot, lambda: fleet.state(entries[1]) == "draining")
            await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
            await frame(pilot)
            assert "rolling drain j1 running: 1 of 2 drained" in text_of(pilot, "#rolling")


async def test_a_worker_resumed_by_somebody_else_stops_the_job_and_the_screen_says_why(fleet: Fleet) -> None:
    async with four(fleet) as (pilot, entries):
        await type_command(pilot, "drain w1 w2 max=1")
        await asked(pilot)
        await pilot.press("y")
        await shown(pilot, lambda: fleet.state(entries[0]) == "draining")
        await fleet.operations.execute(Resume("w1"), TEST)
        await shown(pilot, lambda: fleet.plane.rollings()[0].phase == "stopped")
        await frame(pilot)
        assert "✗ rolling drain j1 stopped: 0 of 2 drained, w1 was resumed" in text_of(pilot, "#rolling")


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_the_command_line_works_at_every_size(fleet: Fleet, size: tuple[int, int]) -> None:
    async with four(fleet, size=size) as (pilot, _):
        await type_command(pilot, "cordon w1")
        await shown(pilot, lambda: fleet.registry.find("w1").worker.cordoned)
