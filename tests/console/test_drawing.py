"""What drawing costs the traffic, and what it must survive: big fleets, late loops, hostile names, hidden screens."""

import asyncio
from time import perf_counter

import pytest

from gateway.proxy.explain import Explainer
from gateway.workers.model import WorkerId
from smg_console import pace, watch
from smg_console.app import ConsoleApp
from smg_console.local import LocalPlane
from smg_console.plane import WorkerRow
from smg_console.screens.dialogs import Confirm
from smg_console.screens.main import MainScreen, arrangement
from smg_console.screens.views import View
from smg_console.watch import Watch
from smg_console.widgets.panel import Panel
from tests.console.fleet import Fleet, busy_fleet
from tests.console.night import night_fleet
from tests.console.test_app import TEST, app_of, console, frame, shown, text_of


def test_frames_come_four_times_a_second_and_more_rarely_on_a_late_loop_or_when_they_are_dear() -> None:
    assert pace.pause_after(0.001, 1.0) == 0.25
    assert pace.pause_after(0.001, 21.0) == 0.5
    assert pace.pause_after(0.001, 101.0) == 1.0
    assert pace.pause_after(0.08, 1.0) == pytest.approx(0.8)
    assert pace.pause_after(5.0, 500.0) == 2.0


class CountingPlane(LocalPlane):
    """Counts how many rows are asked for between two turns of the loop."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(
            fleet.registry,
            fleet.operations,
            fleet.samples,
            fleet.gateway_row,
            tokenizers=fleet.tokenizer_operations,
            rolling=fleet.rolling,
            explainer=Explainer(fleet.routing, fleet.tokenizers, fleet.clock.mono),
        )
        self.at_once = 0
        self.asked = 0

    def row(self, worker_id: WorkerId) -> WorkerRow | None:
        self.at_once += 1
        self.asked += 1
        return super().row(worker_id)


async def test_a_big_fleet_is_looked_at_in_slices_between_which_traffic_gets_its_turn() -> None:
    fleet = Fleet()
    for n in range(1000):
        fleet.add(f"http://10.0.{n // 200}.{n % 200}:8000", ready=False)
    plane = CountingPlane(fleet)
    seen, most = Watch(plane), 0

    async def traffic() -> None:
        nonlocal most
        while True:
            most, plane.at_once = max(most, plane.at_once), 0
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        other = group.create_task(traffic())
        await seen.look()
        other.cancel()
    assert len(seen.rows) == seen.overview.total == 1000
    assert plane.asked == 1000
    assert 0 < most <= watch.SLICE


async def test_a_big_fleet_is_gone_through_once_a_second_and_at_once_after_an_event() -> None:
    fleet = Fleet()
    entries = [fleet.add(f"http://10.0.{n // 200}.{n % 200}:8000", ready=False) for n in range(300)]
    plane = CountingPlane(fleet)
    seen = Watch(plane)
    await seen.look()
    await seen.look()
    assert plane.asked == 300
    entries[7].meters.began()
    assert seen.fresh(seen.rows[7]).in_flight == 1, "what is in view is fresh all the same"
    fleet.registry.cordon(entries[8], "now", TEST)
    await seen.look()
    assert seen.overview.cordoned == 1


async def test_a_worker_that_leaves_between_two_slices_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SLICE", 1)
    fleet = Fleet()
    first, second = fleet.add("http://a:1"), fleet.add("http://b:1")
    seen = Watch(fleet.plane)
    async with asyncio.TaskGroup() as group:
        group.create_task(seen.look())
        await asyncio.sleep(0)
        fleet.registry.remove_now(second, "test", TEST)
    assert [row.worker.id for row in seen.rows] == [first.worker.id]


async def test_a_thousand_workers_are_painted_within_a_second_and_keys_answer() -> None:
    fleet = await night_fleet(1000, seconds=3)
    began = perf_counter()
    async with console(fleet, size=(200, 60)) as pilot:
        painted_s = perf_counter() - began
        main = pilot.app.screen
        assert isinstance(main, MainScreen)
        assert "Fleet: 1000 workers, 1 to " in str(main.table.border_title)
        began = perf_counter()
        main.table.action_edge(-1)
        key_s = perf_counter() - began
        assert main.table.current is not None
        assert main.table.current.worker.name == "w1000"
        assert "w1000" in text_of(pilot, "#fleet").splitlines()[-1]
    # The figures are the product's; the room above them is for a busy machine.
    assert painted_s < 3.0
    assert key_s < 0.1


async def test_the_place_is_kept_when_rows_move_and_when_the_terminal_changes_size() -> None:
    fleet = await night_fleet(60, seconds=3)
    async with console(fleet, size=(120, 40)) as pilot:
        main = pilot.app.screen
        assert isinstance(main, MainScreen)
        await pilot.press(*["j"] * 30)
        await pilot.press("I")
        for entry in list(fleet.registry.entries.values())[::3]:
            entry.meters.began()
        await frame(pilot)
        for size in ((80, 24), (200, 60), (50, 10), (90, 50)):
            await pilot.resize_terminal(*size)
            await frame(pilot)
            assert main.table.current is not None
            assert main.table.current.worker.name == "w31"
        assert "▸" in text_of(pilot, "#fleet")


async def test_a_hidden_screen_is_not_drawn_and_one_behind_a_dialog_is(busy: Fleet) -> None:
    async with console(busy) as pilot:
        table = pilot.app.screen.query_one("#fleet", Panel)
        await pilot.press("question_mark")
        await shown(pilot, lambda: isinstance(pilot.app.screen, View))
        drawn, entry = table.drawn, busy.registry.find("w1")
        entry.meters.began()
        await frame(pilot)
        assert table.drawn == drawn
        await pilot.press("escape", "d")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await frame(pilot)
        flying = entry.meters.in_flight
        assert f" {flying} " in row_of(table)
        entry.meters.began()
        await frame(pilot)
        assert f" {flying + 1} " in row_of(table)


def row_of(table: Panel) -> str:
    """The table's first row as it is drawn now."""
    return "".join(segment.text for segment in table.render_line(1))


async def test_a_question_tells_the_effect_as_it_is_now_and_asks_for_the_name_once_it_is_the_last(
    fleet: Fleet,
) -> None:
    entry, other = fleet.add("http://a:1", "m"), fleet.add("http://b:1", "m")
    entry.meters.began()
    async with console(fleet) as pilot:
        await pilot.press("d")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert "1 request in flight" in str(pilot.app.screen.query_one("#effect").render())
        entry.meters.began()
        await frame(pilot)
        assert "2 requests in flight" in str(pilot.app.screen.query_one("#effect").render())
        for _ in range(3):
            fleet.probe(other, ok=False)
        await frame(pilot)
        assert "LAST worker that serves m" in str(pilot.app.screen.query_one("#effect").render())
        await pilot.press("enter")
        assert fleet.state(entry) == "ready"
        await pilot.press(*"w1", "enter")
        await shown(pilot, lambda: fleet.state(entry) == "draining")


HOSTILE = "[/]\x1b[2J[red]夜\u202e"


async def test_names_with_markup_or_control_characters_do_no_harm(fleet: Fleet) -> None:
    entry = fleet.add("http://10.0.0.1:8000", HOSTILE)
    for _ in range(3):
        fleet.probe(entry, ok=False, error=f"answered {HOSTILE}")
    fleet.registry.cordon(entry, HOSTILE, TEST)
    async with console(fleet) as pilot:
        for keys in (("d",), ("escape",), ("enter",), ("y",), ("escape",), ("escape",), ("slash", *"[/b"), ("escape",)):
            await pilot.press(*keys)
            await frame(pilot)
        await pilot.press("a", "tab", "tab", "tab", *"[/x]", "enter")
        await frame(pilot)
        strips = pilot.app.screen._compositor.render_strips(pilot.app.size)
        shown_text = "".join(segment.text for strip in strips for segment in strip if not segment.control)
        assert all(char.isprintable() for char in shown_text)
        assert "labels: given '[/x]', expected name=value" in shown_text


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((59, 40), "-tiny"),
        ((80, 14), "-tiny"),
        ((60, 15), "-small -short"),
        ((80, 24), "-small"),
        ((80, 50), "-tall"),
        ((120, 40), "-medium"),
        ((200, 40), "-medium"),
        ((200, 60), "-large"),
    ],
)
async def test_every_size_has_its_arrangement_and_the_table_has_room(size: tuple[int, int], wanted: str) -> None:
    assert arrangement(*size) == wanted
    async with console(busy_fleet(), size=size) as pilot:
        await frame(pilot)
        in_view = {panel.id for panel in pilot.app.screen.query(Panel) if panel.is_on_screen and panel.size.height}
        if wanted == "-tiny":
            assert in_view == {"too-small"}
            return
        assert {"header", "diagram", "fleet", "feed", "keys"} <= in_view
        assert "too-small" not in in_view
        assert pilot.app.screen.query_one("#fleet").size.height >= (6 if "-short" in wanted else 9)
        names = [line[15:].split()[0] for line in text_of(pilot, "#fleet").splitlines()[1:] if line.strip()]
        assert names[:2] == ["w1", "w2"]


async def test_a_panel_that_fails_to_be_there_any_more_does_not_end_the_console(busy: Fleet) -> None:
    """Screens close between the slices of a frame."""
    async with console(busy) as pilot:
        app = app_of(pilot)
        await pilot.press("enter")
        async with asyncio.TaskGroup() as group:
            group.create_task(app.frame())
            await asyncio.sleep(0)
            group.create_task(pilot.press("escape"))
        await frame(pilot)
        assert isinstance(app.screen, MainScreen)


async def test_what_was_built_is_reported_settled_once_after_the_first_frame(busy: Fleet) -> None:
    calls: list[bool] = []
    app = ConsoleApp(busy.plane, settled=lambda: calls.append(True))
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(pilot, lambda: bool(calls))
        for _ in range(3):
            await frame(pilot)
        assert calls == [True]
