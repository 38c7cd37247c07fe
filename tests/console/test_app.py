"""Keys act: each one is pressed in a running console and its effect looked for in the registry."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from weakref import WeakKeyDictionary

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from gateway.operations import StartDrain
from gateway.workers.facts import Cause
from gateway.workers.meters import Outcome
from gateway.workers.model import Circuit, Intent, State
from smg_console.app import ConsoleApp
from smg_console.plane import Plane
from smg_console.remote.console import AttachedConsole
from smg_console.remote.plane import RemotePlane
from smg_console.screens.add_worker import AddWorker
from smg_console.screens.dialogs import Confirm
from smg_console.screens.main import MainScreen
from smg_console.screens.views import View, WorkerView
from smg_console.widgets.diagram import Diagram
from smg_console.widgets.event_feed import Feed
from smg_console.widgets.panel import Panel
from tests.console.attached import attached, settled
from tests.console.fleet import Fleet

SIZE = (120, 40)
TEST = Cause("test")


@asynccontextmanager
async def console(fleet: Fleet, size: tuple[int, int] = SIZE, **options: object) -> AsyncIterator[Pilot[None]]:
    """A running console over the fleet, its first frame drawn."""
    async with plane_of(fleet) as plane:
        kind = AttachedConsole if fleet.attached else ConsoleApp
        app = kind(plane, **options)  # type: ignore[arg-type]  # tests pass what the app takes
        async with app.run_test(size=size, notifications=True) as pilot:
            FLEETS[app] = fleet
            await shown(pilot, lambda: isinstance(app.screen, MainScreen))
            await frame(pilot)
            yield pilot


FLEETS: WeakKeyDictionary[ConsoleApp, Fleet] = WeakKeyDictionary()
"""What the consoles that run are looking at."""


def plane_of(fleet: Fleet) -> AbstractAsyncContextManager[Plane]:
    return attached(fleet) if fleet.attached else nullcontext(fleet.plane)


def app_of(pilot: Pilot[None]) -> ConsoleApp:
    assert isinstance(pilot.app, ConsoleApp)
    return pilot.app


async def frame(pilot: Pilot[None]) -> None:
    """Draw what is true now, rather than wait for the timer."""
    app = app_of(pilot)
    await pilot.pause()
    if isinstance(app.plane, RemotePlane):
        await settled(app.plane, FLEETS[app])
        await app.frame()
        await settled(app.plane, FLEETS[app])  # with what that frame asked for
    await app.frame()
    await pilot.pause()


async def shown(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await pilot.pause(0.01)
    raise AssertionError(f"not shown; the screen is {app_of(pilot).screen}")


def drawn_text(pilot: Pilot[None]) -> str:
    """All that is on the screen, whichever widget drew it."""
    strips = pilot.app.screen._compositor.render_strips(pilot.app.size)
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def text_of(pilot: Pilot[None], selector: str = "") -> str:
    """What the panels of the screen show, as text."""
    panels = app_of(pilot).screen.query(selector or "Panel")
    return "\n".join(
        "".join(segment.text for segment in panel.render_line(y))
        for panel in panels
        if isinstance(panel, Panel)
        for y in range(panel.size.height)
    )


async def test_a_adds_the_worker_that_was_typed(fleet: Fleet) -> None:
    async with console(fleet) as pilot:
        await pilot.press("a")
        await shown(pilot, lambda: isinstance(pilot.app.screen, AddWorker))
        for name, value in (
            ("url", "http://10.0.0.9:8000/"),
            ("model", "llama"),
            ("labels", "rack=b7"),
            ("priority", "70"),
        ):
            pilot.app.screen.query_one(f"#{name}", Input).value = value
        pilot.app.screen.query_one("#api_key", Input).value = "s3cret"
        await pilot.press("enter")
        await shown(pilot, lambda: len(fleet.registry) == 1)
        worker = fleet.registry.find("w1").worker
        assert worker.url == "http://10.0.0.9:8000"
        assert (worker.models, worker.labels, worker.spec.priority) == (("llama",), {"rack": "b7"}, 70)
        assert worker.spec.api_key is not None
        assert worker.spec.api_key.reveal() == "s3cret"
        await frame(pilot)
        assert "10.0.0.9:8000" in text_of(pilot, "#fleet")
        assert "s3cret" not in text_of(pilot)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("url", "", "url: it must start with http://"),
        ("url", "ipc://a:1", "it must start with"),
        ("url", "http://u:p@a:1", "credentials do not belong"),
        ("url", "http://a:1/v1", "more than host and port"),
        ("priority", "many", "priority: given 'many'"),
        ("priority", "101", "priority: given 101, expected 0 to 100"),
        ("labels", "rack", "labels: given 'rack', expected name=value"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_typed_is_lost(
    fleet: Fleet, field: str, value: str, complaint: str
) -> None:
    async with console(fleet) as pilot:
        await pilot.press("a")
        await shown(pilot, lambda: isinstance(pilot.app.screen, AddWorker))
        pilot.app.screen.query_one("#url", Input).value = "http://10.0.0.9:8000"
        pilot.app.screen.query_one(f"#{field}", Input).value = value
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, AddWorker)
        assert complaint in str(pilot.app.screen.query_one(f"#problem-{field}").render())
        assert pilot.app.screen.query_one(f"#{field}", Input).value == value
        assert len(fleet.registry) == 0
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


async def test_adding_a_listed_worker_again_is_refused_with_a_sentence(fleet: Fleet) -> None:
    fleet.add("http://10.0.0.1:8000")
    async with console(fleet) as pilot:
        await pilot.press("a")
        await shown(pilot, lambda: isinstance(pilot.app.screen, AddWorker))
        pilot.app.screen.query_one("#url", Input).value = "http://10.0.0.1:8000"
        await pilot.press("enter")
        await shown(pilot, lambda: any("already listed as w1" in n.message for n in pilot.app._notifications))
        assert len(fleet.registry) == 1


async def test_c_cordons_and_lifts_the_cordon(fleet: Fleet) -> None:
    entry = fleet.add("http://10.0.0.1:8000")
    fleet.add("http://10.0.0.2:8000")
    async with console(fleet) as pilot:
        await pilot.press("c")
        await shown(pilot, lambda: entry.worker.cordoned)
        await frame(pilot)
        assert "cordoned" in text_of(pilot, "#fleet")
        await pilot.press("c")
        await shown(pilot, lambda: not entry.worker.cordoned)


async def test_d_says_what_is_in_flight_and_drains_after_yes(fleet: Fleet) -> None:
    entry, other = fleet.add("http://10.0.0.1:8000", "m"), fleet.add("http://10.0.0.2:8000", "m")
    for _ in range(3):
        entry.meters.began()
    async with console(fleet) as pilot:
        await pilot.press("d")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        question = pilot.app.screen.question  # type: ignore[attr-defined]  # it is a Confirm
        assert question.lines == (
            "3 requests in flight, which may finish.",
            "1 other worker of m remains: 50 % of its capacity.",
        )
        await pilot.press("n")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        assert fleet.state(entry) == "ready"
        await pilot.press("d")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await shown(pilot, lambda: fleet.state(entry) == "draining")
        assert entry.worker.drain is not None
        assert entry.worker.drain.intent is Intent.HOLD
        await frame(pilot)
        assert "ready → draining: drain asked by console" in text_of(pilot, "#feed")
        for _ in range(3):
            entry.meters.ended(Outcome.OK, 0.1, fleet.clock.mono())
        await frame(pilot)
        assert "drained: nothing in flight, safe to delete" in text_of(pilot, "#feed")
        assert "drained" in text_of(pilot, "#fleet")
        assert fleet.state(other) == "ready"


async def test_r_calls_a_drain_off(fleet: Fleet) -> None:
    entry = fleet.add("http://10.0.0.1:8000")
    entry.meters.began()
    await fleet.operations.execute(StartDrain("w1"), TEST)
    async with console(fleet) as pilot:
        await pilot.press("r")
        await shown(pilot, lambda: fleet.state(entry) == "ready")


async def test_x_removes_after_yes_and_remove_now_does_not_wait(fleet: Fleet) -> None:
    first, second = fleet.add("http://10.0.0.1:8000"), fleet.add("http://10.0.0.2:8000")
    fleet.add("http://10.0.0.3:8000")
    first.meters.began()
    second.meters.began()
    async with console(fleet) as pilot:
        await pilot.press("x")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await shown(pilot, lambda: fleet.state(first) == "draining")
        first.meters.ended(Outcome.OK, 0.1, fleet.clock.mono())
        assert fleet.state(first) == "gone"
        await frame(pilot)
        await pilot.press("x")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.click("#extra")
        await shown(pilot, lambda: fleet.state(second) == "gone")


async def test_the_last_worker_of_a_model_leaves_only_after_its_name_was_typed(fleet: Fleet) -> None:
    entry = fleet.add("http://10.0.0.1:8000", "m")
    fleet.add("http://10.0.0.2:8000", "another")
    async with console(fleet) as pilot:
        await pilot.press("x")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert "LAST worker that serves m" in pilot.app.screen.question.lines[1]  # type: ignore[attr-defined]
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, Confirm)
        assert fleet.state(entry) == "ready"
        await pilot.press("w", "1", "enter")
        await shown(pilot, lambda: fleet.state(entry) == "gone")


@pytest.mark.parametrize("retry", ["R", "ctrl+r"])
async def test_p_probes_and_a_retry_registers_anew(fleet: Fleet, retry: str) -> None:
    entry = fleet.add("http://10.0.0.1:8000", ready=False)
    fleet.registry.registration_timeout(entry.worker.id, 1, 1800, TEST)
    async with console(fleet) as pilot:
        await pilot.press("p")
        await shown(pilot, lambda: fleet.probed == [entry.worker.id])
        assert fleet.state(entry) == "failed"
        await pilot.press(retry)
        await shown(pilot, lambda: fleet.state(entry) == "registering")
        assert entry.worker.revision == 2


async def test_a_read_only_console_says_so_and_changes_nothing() -> None:
    fleet = Fleet(read_only=True)
    entry = fleet.add("http://10.0.0.1:8000")
    before = fleet.registry.journal.seq
    async with console(fleet) as pilot:
        for key in ("a", "c", "d", "r", "x", "p", "ctrl+r"):
            await pilot.press(key)
            await pilot.pause()
            assert isinstance(pilot.app.screen, MainScreen)
        assert fleet.registry.journal.seq == before
        assert fleet.state(entry) == "ready"
        assert "READ-ONLY" in text_of(pilot, "#header")
        assert len(pilot.app._notifications) > 0


async def test_enter_shows_the_worker_and_keys_act_there(busy: Fleet) -> None:
    async with console(busy) as pilot:
        await pilot.press("enter")
        await shown(pilot, lambda: isinstance(pilot.app.screen, WorkerView))
        await frame(pilot)
        assert "http://10.1.0.1:8000" in text_of(pilot, "#who")
        assert "▲ 1m35s" in text_of(pilot, "#place")
        await pilot.press("c")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))  # nobody else serves its model
        await pilot.press(*"w1", "enter")
        await shown(pilot, lambda: busy.registry.find("w1").worker.cordoned)
        await pilot.press("y")
        await shown(pilot, lambda: type(pilot.app.screen) is View)
        await frame(pilot)
        assert '"name": "w1"' in text_of(pilot, "#text")
        await pilot.press("escape", "escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


async def test_the_details_of_a_worker_that_leaves_stay_readable(fleet: Fleet) -> None:
    entry = fleet.add("http://10.0.0.1:8000")
    async with console(fleet) as pilot:
        await pilot.press("enter")
        await shown(pilot, lambda: isinstance(pilot.app.screen, WorkerView))
        await frame(pilot)
        fleet.registry.remove_now(entry, "test", TEST)
        await frame(pilot)
        assert "has left the fleet" in text_of(pilot, "#who")
        assert "http://10.0.0.1:8000" in text_of(pilot, "#who")


async def test_the_cursor_moves_by_key_and_stays_on_its_worker_when_rows_move(busy: Fleet) -> None:
    async with console(busy) as pilot:
        main = pilot.app.screen
        assert isinstance(main, MainScreen)
        await pilot.press("j", "j", "down", "k")
        assert main.table.current is not None
        assert main.table.current.worker.name == "w3"
        await pilot.press("P")
        await frame(pilot)
        assert main.table.current.worker.name == "w3"
        await pilot.press("g")
        await frame(pilot)
        assert main.table.current.worker.name == "w6"  # the slowest p99 comes first
        await pilot.press("G")
        assert main.table.current.worker.name in ("w7", "w8")
        busy.registry.remove_now(busy.registry.find(main.table.current.worker.name), "test", TEST)
        await frame(pilot)
        assert main.table.current is not None


async def test_slash_filters_as_one_types_and_escape_clears(busy: Fleet) -> None:
    async with console(busy) as pilot:
        main = pilot.app.screen
        assert isinstance(main, MainScreen)
        await pilot.press("slash", *"state:ready", "space", *"model:llama")
        await frame(pilot)
        assert {row.worker.name for row in main.table._rows} == {"w4", "w6"}
        await pilot.press("enter")
        await frame(pilot)
        assert "2 of 8 fit the filter state:ready model:llama" in str(main.table.border_title)
        await pilot.press("slash", *"nonsense")
        await frame(pilot)
        assert "No worker fits the filter" in text_of(pilot, "#fleet")
        await pilot.press("escape")
        await frame(pilot)
        assert len(main.table._rows) == 8


async def test_w_switches_the_graphs_to_the_worker_under_the_cursor(busy: Fleet) -> None:
    async with console(busy) as pilot:
        graphs = pilot.app.screen.query_one("#either")
        before = text_of(pilot, "#either")
        assert str(graphs.border_title) == "Load of the fleet"
        await pilot.press("w")
        assert str(graphs.border_title) == "Load of w1"
        assert text_of(pilot, "#either") != before
        await pilot.press("j")
        assert str(graphs.border_title) == "Load of w2"
        await pilot.press("w")
        assert text_of(pilot, "#either") == before


async def test_tab_goes_to_the_events_which_stay_put_while_one_reads(busy: Fleet) -> None:
    async with console(busy) as pilot:
        feed = pilot.app.screen.query_one(Feed)
        await pilot.press("tab")
        assert pilot.app.focused is feed
        await pilot.press("k", "k")
        await frame(pilot)
        before = text_of(pilot, "#feed")
        assert "2 newer below" in str(feed.border_subtitle)
        busy.registry.cordon(busy.registry.find("w1"), "reading on", TEST)
        await frame(pilot)
        assert text_of(pilot, "#feed") == before
        assert "3 newer below" in str(feed.border_subtitle)
        await pilot.press("G")
        await frame(pilot)
        assert "reading on" in text_of(pilot, "#feed").splitlines()[-1]
        await pilot.press("escape")
        assert pilot.app.focused is pilot.app.screen.query_one("#fleet")


async def test_an_arrow_shines_when_a_worker_takes_it(fleet: Fleet) -> None:
    entry = fleet.add("http://10.0.0.1:8000")
    async with console(fleet) as pilot:
        fleet.clock.now += 10
        await frame(pilot)
        diagram = pilot.app.screen.query_one(Diagram)
        assert not diagram._lit
        for _ in range(3):
            fleet.probe(entry, ok=False)
        await frame(pilot)
        lit = [name for line in diagram._lines for text, name in line if "▶" in text and name.startswith("bold")]
        assert lit == ["bold unhealthy"]
        fleet.clock.now += 10
        await frame(pilot)
        assert not diagram._lit


async def test_what_did_not_change_is_not_drawn_again(busy: Fleet) -> None:
    async with console(busy) as pilot:
        panels = [panel for panel in pilot.app.screen.query(Panel) if panel.size.height]
        await frame(pilot)
        drawn = {panel: panel.drawn for panel in panels}
        for _ in range(5):
            await frame(pilot)
        assert {panel: panel.drawn for panel in panels} == drawn
        busy.registry.find("w1").meters.began()
        await frame(pilot)
        changed = {panel.id: panel.drawn - drawn[panel] for panel in panels if panel.drawn != drawn[panel]}
        assert changed == {"header": 1, "fleet": 1}


async def test_a_reader_that_missed_events_starts_over_from_the_journal(fleet: Fleet) -> None:
    async with console(fleet) as pilot:
        entry = fleet.add("http://10.0.0.1:8000")
        for _ in range(6000):
            fleet.registry.cordon(entry, "again", TEST)
            fleet.registry.uncordon(entry, TEST)
        await frame(pilot)
        feed = pilot.app.screen.query_one(Feed)
        assert feed.events[-1].seq == fleet.registry.journal.seq
        assert len(feed.events) <= 500


async def test_q_ends_at_once_when_nothing_is_in_flight(fleet: Fleet) -> None:
    async with console(fleet) as pilot:
        await pilot.press("q")
        await shown(pilot, lambda: not pilot.app.is_running)
        assert pilot.app.return_code == 0


async def test_q_asks_when_requests_are_in_flight() -> None:
    fleet = Fleet()
    fleet.add("http://10.0.0.1:8000").meters.began()
    async with console(fleet) as pilot:
        await pilot.press("q")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        assert pilot.app.is_running
        await pilot.press("q")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await shown(pilot, lambda: not pilot.app.is_running)


async def test_ctrl_c_twice_quits_with_requests_in_flight() -> None:
    fleet = Fleet()
    fleet.add("http://10.0.0.1:8000").meters.began()
    async with console(fleet) as pilot:
        await pilot.press("ctrl+c")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("ctrl+c")
        await shown(pilot, lambda: not pilot.app.is_running)


async def test_help_log_and_palette_open_and_close(busy: Fleet) -> None:
    async with console(busy) as pilot:
        await pilot.press("question_mark")
        await shown(pilot, lambda: isinstance(pilot.app.screen, View))
        await frame(pilot)
        assert "cordon: no new requests" in text_of(pilot, "#text")
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        for key, opened in (("colon", "CommandLine"), ("ctrl+p", "CommandPalette")):
            await pilot.press(key)
            await shown(pilot, lambda: type(pilot.app.screen).__name__ == opened)  # noqa: B023 - awaited at once
            await pilot.press("escape")
            await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        names = [command.title for command in app_of(pilot).get_system_commands(pilot.app.screen)]
        assert {"Add a worker", "Drain w1", "Remove w1", "Help", "Quit", "Theme daylight"} <= set(names)


async def test_the_palette_acts_on_the_worker_under_the_cursor(busy: Fleet) -> None:
    async with console(busy) as pilot:
        await pilot.press("j", "ctrl+p")
        await shown(pilot, lambda: type(pilot.app.screen).__name__ == "CommandPalette")
        await pilot.press(*"probe w")
        await shown(pilot, lambda: "Probe w2 now" in drawn_text(pilot))
        await pilot.press("enter")
        await shown(pilot, lambda: busy.probed == [busy.registry.find("w2").worker.id])


async def test_a_key_that_makes_no_sense_says_why_and_nothing_ends(fleet: Fleet) -> None:
    entry = fleet.add("http://10.0.0.1:8000")
    async with console(fleet) as pilot:
        for key, sentence in (("R", "only an unhealthy or failed worker is retried"), ("r", "is not draining")):
            await pilot.press(key)
            await shown(pilot, lambda: any(sentence in n.message for n in pilot.app._notifications))  # noqa: B023
        assert fleet.state(entry) == "ready"
        fleet.registry.remove_now(entry, "test", TEST)
        await frame(pilot)
        for key in ("c", "d", "x", "enter", "y"):
            await pilot.press(key)
            await frame(pilot)
            assert isinstance(pilot.app.screen, MainScreen)
        assert any("no worker is chosen" in n.message for n in pilot.app._notifications)


async def test_sorting_shows_its_arrow_and_turns_round(busy: Fleet) -> None:
    async with console(busy) as pilot:
        for arrow, first in (("▼In fl", "w2"), ("▲In fl", "w5")):
            await pilot.press("I")
            await frame(pilot)
            head, row = text_of(pilot, "#fleet").splitlines()[:2]
            assert arrow in head
            assert f" {first} " in row


async def test_t_goes_through_all_themes_and_redraws(busy: Fleet) -> None:
    async with console(busy) as pilot:
        seen = set()
        for _ in range(6):
            await pilot.press("t")
            await frame(pilot)
            seen.add(pilot.app.theme)
        assert len(seen) == 6


async def test_a_terminal_too_small_says_what_it_needs(busy: Fleet) -> None:
    async with console(busy, size=(50, 12)) as pilot:
        await frame(pilot)
        assert "needs 60x15" in text_of(pilot)


async def test_an_ascii_console_draws_nothing_else(busy: Fleet) -> None:
    async with console(busy, ascii_only=True) as pilot:
        for keys in (
            *((), ("enter",), ("escape",), ("question_mark",), ("escape",), ("d",), ("escape",), ("c",)),
            *(("a", *"http", "enter"), ("escape",), ("colon", "t"), ("escape",), ("slash", "w"), ("escape",)),
        ):
            await pilot.press(*keys)
            await frame(pilot)
            text = drawn_text(pilot)
            assert text.isascii(), {char for char in text if not char.isascii()}


async def test_a_broken_off_worker_says_so_and_b_closes_its_breaker(fleet: Fleet) -> None:
    entry = fleet.add("http://10.0.0.1:8000")
    assert entry.worker.state is State.READY
    async with console(fleet) as pilot:
        for _ in range(fleet.registry.breaker_settings.failure_threshold):
            fleet.registry.observe_failed_request(entry, None, "it answered 500", TEST)
        await frame(pilot)
        text = drawn_text(pilot)
        assert "ϟ breaker open" in text
        assert "1 broken off" in text
        assert "0 of 1 routable" in text
        await pilot.press("b")
        await shown(pilot, lambda: entry.worker.breaker.state is Circuit.CLOSED)
        await frame(pilot)
        assert "breaker open" not in text_of(pilot, "#fleet")
