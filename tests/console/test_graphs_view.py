"""The Graphs screen: every key in a running console, how it looks, and that it is drawn only when it must be."""

from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from gateway.telemetry.history import History
from smg_console.app import ConsoleApp
from smg_console.plane import FLEET, Subject
from smg_console.present.charts import AXIS, CHARTS
from smg_console.present.window import SPANS, moment
from smg_console.screens.graphs import GraphsScreen
from smg_console.screens.main import MainScreen
from smg_console.screens.views import View, WorkerView
from smg_console.widgets.charts import ChartPanel
from smg_console.widgets.panel import Panel
from tests.console.day import NOW, day_fleet, values_at
from tests.console.fleet import Fleet
from tests.console.test_app import TEST, app_of, console, frame, shown, text_of
from tests.console.test_pictures import SIZES, Compare, settle


@pytest.fixture
def day(way: str) -> Fleet:
    """The busy fleet with a day behind it."""
    found = day_fleet()
    found.attached = way == "attached"
    return found


async def opened(pilot: Pilot[None], *keys: str) -> GraphsScreen:
    """The graphs, after some keys."""
    await pilot.press("h")
    await shown(pilot, lambda: isinstance(pilot.app.screen, GraphsScreen))
    await pilot.pause()
    await pilot.press(*keys)
    await frame(pilot)
    found = pilot.app.screen
    assert isinstance(found, GraphsScreen)
    return found


async def test_h_shows_all_graphs_of_the_fleet_and_esc_goes_back(day: Fleet) -> None:
    async with console(day) as pilot:
        await opened(pilot)
        text = text_of(pilot)
        for chart in CHARTS:
            assert chart.title in text
        assert "the fleet" in text_of(pilot, "#shown")
        assert "live last 5m" in text_of(pilot, "#shown")
        assert "14:12" in text_of(pilot, "#axis-1")
        await pilot.press("h")
        assert isinstance(pilot.app.screen, GraphsScreen), "it does not open twice"
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


async def test_j_and_k_go_through_fleet_models_and_workers_and_shift_m_w_f_go_there(day: Fleet) -> None:
    llama, qwen = Subject(model="llama-3.1-8b"), Subject(model="qwen2.5-14b")
    workers = [Subject(worker=worker_id) for worker_id in day.plane.ids()]
    async with console(day) as pilot:
        await pilot.press("j", "j")  # w3 is under the table's cursor
        graphs = await opened(pilot)
        seen: list[Subject] = []
        for key in ("j", "j", "j", "down", "up", "k", "k", "k", "k"):
            await pilot.press(key)
            seen.append(graphs.shown.subject)
        assert seen == [llama, qwen, workers[0], workers[1], workers[0], qwen, llama, FLEET, workers[-1]]
        for keys, wanted, words in (
            ("f", FLEET, "the fleet"),
            ("M", llama, "model llama-3.1-8b  1 of 2"),
            ("M", qwen, "model qwen2.5-14b  2 of 2"),
            ("f", FLEET, "the fleet"),
            ("w", workers[2], "w3 http://10.1.0.3:8000"),
            ("M", qwen, "model qwen2.5-14b"),
            ("f", FLEET, "the fleet"),
            ("M", llama, "model llama"),
            ("w", workers[1], "w2 http://10.1.0.2:8000"),
        ):
            await pilot.press(keys)
            await frame(pilot)
            assert graphs.shown.subject == wanted
            assert words in text_of(pilot, "#shown")


async def test_on_a_worker_s_screen_h_shows_that_worker_and_acts_mean_it(day: Fleet) -> None:
    async with console(day) as pilot:
        await pilot.press("j", "enter")
        await shown(pilot, lambda: isinstance(pilot.app.screen, WorkerView))
        await opened(pilot)
        assert "w2 http://10.1.0.2:8000" in text_of(pilot, "#shown")
        await pilot.press("c")
        await shown(pilot, lambda: day.registry.find("w2").worker.cordoned)
        await pilot.press("f", "c")
        await shown(pilot, lambda: any("no worker is chosen" in n.message for n in pilot.app._notifications))


async def test_a_worker_that_leaves_says_so_and_its_graphs_stay(day: Fleet) -> None:
    async with console(day) as pilot:
        await pilot.press("enter")
        await shown(pilot, lambda: isinstance(pilot.app.screen, WorkerView))
        graphs = await opened(pilot)
        before = text_of(pilot, "#chart-1")
        entry = day.registry.find("w1")
        day.registry.remove_now(entry, "test", TEST)
        del day.samples.histories[entry.worker.id]
        day.samples.taken += 1
        await frame(pilot)
        assert text_of(pilot, "#chart-1") == before
        await pilot.press("plus")
        graphs._tell()
        await frame(pilot)
        assert "w1 has left the fleet" in text_of(pilot, "#shown")


async def test_plus_and_minus_zoom_from_a_minute_to_a_day(day: Fleet) -> None:
    async with console(day) as pilot:
        graphs = await opened(pilot)
        for keys, span in (("minus", 600), ("equals_sign", 300), ("plus", 120), ("plus", 60), ("plus", 60)):
            await pilot.press(keys)
            assert graphs.shown.window.span_s == span
        await pilot.press(*["minus"] * 20)
        await frame(pilot)
        assert graphs.shown.window.span_s == SPANS[-1]
        assert "last 24h" in text_of(pilot, "#shown")
        assert "06:00" in text_of(pilot, "#axis-1")
        assert graphs.shown.stretch is not None
        assert graphs.shown.stretch.step_s == 120


async def test_the_cursor_tells_the_exact_value_and_time_and_esc_takes_it_away(day: Fleet) -> None:
    async with console(day) as pilot:
        graphs = await opened(pilot, "plus", "plus", "left")
        await pilot.press("shift+left", "shift+left", "shift+right", "left", "right", "left", "left", "left")
        await frame(pilot)
        cursor = graphs.shown.window.cursor
        assert cursor is not None
        second = int(cursor)
        assert moment(cursor) in text_of(pilot, "#shown")
        assert moment(cursor) in text_of(pilot, "#axis-2")
        assert f"{values_at(second, 48.0)[0]:.1f}" in text_of(pilot, "#chart-1").splitlines()[0]
        lit = [line for line in text_of(pilot, "#chart-2").splitlines()[1:] if set("⡇⢸⣇⣸") & set(line)]
        assert len(lit) == graphs.query_one("#chart-2").size.height - 1, "it crosses every row"
        await pilot.press("escape")
        assert graphs.shown.window.cursor is None
        assert isinstance(pilot.app.screen, GraphsScreen)


async def test_space_holds_the_picture_and_the_cursor_scrolls_it_back_at_the_edge(day: Fleet) -> None:
    async with console(day) as pilot:
        graphs = await opened(pilot, "space")
        assert f"paused {moment(NOW - 300)} to {moment(NOW)}" in text_of(pilot, "#shown")
        held = text_of(pilot, "#chart-1")
        day.clock.now += 40
        day.samples.taken += 1
        await frame(pilot)
        assert text_of(pilot, "#chart-1") == held
        await pilot.press("right", *["shift+left"] * 2)
        end = graphs.shown.window.end
        assert end is not None
        assert end < NOW
        assert graphs.shown.window.cursor is not None
        assert graphs.shown.window.cursor < NOW - 300
        await pilot.press("space")
        assert not graphs.shown.window.paused


async def test_pages_scroll_in_time_within_what_is_kept_and_end_returns_to_now(day: Fleet) -> None:
    async with console(day) as pilot:
        graphs = await opened(pilot, "pageup")
        assert graphs.shown.window.end == NOW - 150
        await pilot.press("pageup", "pagedown")
        assert graphs.shown.window.end == NOW - 150
        await pilot.press("pagedown", "pagedown")
        assert graphs.shown.window.end == NOW, "there is nothing beyond now"
        await pilot.press("g")
        assert graphs.shown.window.end == NOW - 86_400 + 300
        await frame(pilot)
        assert graphs.shown.stretch is not None
        assert graphs.shown.stretch.step_s == 120
        await pilot.press("end")
        assert not graphs.shown.window.paused
        await pilot.press("home", "G")
        assert not graphs.shown.window.paused


async def test_a_click_puts_the_cursor_there_and_the_wheel_zooms(day: Fleet) -> None:
    async with console(day) as pilot:
        graphs = await opened(pilot)
        panel = graphs.query_one("#chart-4", ChartPanel)
        await pilot.click(panel, offset=(30, 4))
        await frame(pilot)
        cursor = graphs.shown.window.cursor
        assert cursor is not None
        assert panel.grid(panel.size.width).index(cursor) // 2 + AXIS == 30
        await pilot.click(panel, offset=(2, 4))
        assert graphs.shown.window.cursor == cursor, "the axis is no time"
        graphs.on_mouse_scroll_down()
        assert graphs.shown.window.span_s == 600
        graphs.on_mouse_scroll_up()
        assert graphs.shown.window.span_s == 300


@pytest.mark.parametrize("size", [(59, 14), (40, 8), (12, 4), (76, 20), (75, 20), (250, 80)])
async def test_any_size_of_a_terminal_is_borne(day: Fleet, size: tuple[int, int]) -> None:
    async with console(day) as pilot:
        await pilot.press("enter")
        await shown(pilot, lambda: isinstance(pilot.app.screen, WorkerView))
        await pilot.resize_terminal(*size)
        for key in ("tab", "right", "3", "4", "G", "h", "left", "left", "minus", "space", "pageup", "3", "j"):
            await pilot.press(key)
            await frame(pilot)
        assert isinstance(pilot.app.screen, GraphsScreen)
        await pilot.resize_terminal(120, 40)
        await frame(pilot)
        assert "Queue" in text_of(pilot) or "In flight" in text_of(pilot)
        await pilot.press("escape", "escape", "escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, WorkerView))


async def test_digits_show_one_graph_alone(day: Fleet) -> None:
    async with console(day, size=(80, 24)) as pilot:
        await opened(pilot)
        for n in range(1, len(CHARTS) + 1):
            await pilot.press(str(n))
            await frame(pilot)
            seen = [
                panel.id for panel in pilot.app.screen.query(ChartPanel) if panel.is_on_screen and panel.size.height
            ]
            assert seen == [f"chart-{n}"]
            assert pilot.app.screen.query_one(f"#chart-{n}").size.height == 20
        await pilot.press("8")
        await frame(pilot)
        assert "Req/s" in text_of(pilot, "#chart-1")
        await pilot.press("3", "0", "4", "escape")
        await frame(pilot)
        assert isinstance(pilot.app.screen, GraphsScreen)
        assert pilot.app.screen.query_one("#chart-1").display


async def test_a_small_terminal_has_one_graph_at_a_time(day: Fleet) -> None:
    async with console(day, size=(70, 18)) as pilot:
        await opened(pilot)
        assert [panel.id for panel in pilot.app.screen.query(ChartPanel) if panel.display] == ["chart-1"]
        await pilot.press("6")
        assert [panel.id for panel in pilot.app.screen.query(ChartPanel) if panel.display] == ["chart-6"]
        await pilot.resize_terminal(120, 40)
        await pilot.press("0")
        assert all(panel.display for panel in pilot.app.screen.query(ChartPanel))


async def test_nothing_is_drawn_again_until_a_sample_came() -> None:
    day = day_fleet()  # inside: from elsewhere samples come when they do
    async with console(day) as pilot:
        graphs = await opened(pilot)
        fresh = day.samples.histories[None] = History()
        panels = [panel for panel in graphs.query(Panel) if "chart" in panel.classes]
        drawn = [panel.drawn for panel in panels]
        await frame(pilot)
        assert [panel.drawn for panel in panels] == drawn
        fresh.append(NOW, values_at(NOW, 48.0))
        day.clock.now += 1
        day.samples.taken += 1
        await frame(pilot)
        behind = [n for n, panel in enumerate(panels, 1) if panel.drawn == drawn[n - 1]]
        assert behind == [5, 6, 7, 8], "what is painted at a stretch is little"
        await frame(pilot)
        assert all(panel.drawn > before for panel, before in zip(panels, drawn, strict=True))
        drawn = [panel.drawn for panel in panels]
        await pilot.press("plus")
        await pilot.pause()
        assert all(panel.drawn > before for panel, before in zip(panels, drawn, strict=True)), "keys do not wait"


async def test_what_comes_late_from_elsewhere_is_shown_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    day = day_fleet()
    there, history_of = False, day.plane.history
    monkeypatch.setattr(day.plane, "arrived", lambda: int(there))
    monkeypatch.setattr(day.plane, "history", lambda *asked: history_of(*asked) if there else None)
    async with console(day) as pilot:
        graphs = await opened(pilot)
        assert "no requests" in text_of(pilot, "#chart-1")
        drawn = graphs.query_one("#chart-1", ChartPanel).drawn
        await frame(pilot)
        assert graphs.query_one("#chart-1", ChartPanel).drawn == drawn
        there = True
        await frame(pilot)
        assert "63.0" in text_of(pilot, "#chart-1")


async def test_a_fleet_without_a_history_says_so(fleet: Fleet) -> None:
    async with console(fleet) as pilot:
        graphs = await opened(pilot, "left", "M", "w", "plus", "space", "pageup")
        assert "no requests" in text_of(pilot, "#chart-1")
        assert "no streams" in text_of(pilot, "#chart-5")
        assert graphs.shown.subject == FLEET
        told = [n.message for n in pilot.app._notifications]
        assert any("no worker has told its model" in message for message in told)
        assert any("there is no worker" in message for message in told)


async def test_help_names_the_keys_of_the_graphs(day: Fleet) -> None:
    async with console(day) as pilot:
        await opened(pilot)
        await pilot.press("question_mark")
        await shown(pilot, lambda: isinstance(pilot.app.screen, View))
        await frame(pilot)
        assert "zoom: a minute to a day" in text_of(pilot, "#text")


async def test_a_thousand_workers_do_not_make_the_graphs_dearer(day: Fleet) -> None:
    for n in range(1000):
        day.add(f"http://10.9.{n // 200}.{n % 200}:8000", ready=False)
    async with console(day, size=(200, 60)) as pilot:
        graphs = await opened(pilot)
        held = 0.0
        for _ in range(3):
            day.clock.now += 1
            day.samples.taken += 1
            graphs.shown.look(app_of(pilot).plane, day.clock.now)
            held = max(held, *(_cost(panel) for panel in graphs.query(ChartPanel)))
        assert held < 0.02, "the product's figure is 2 ms; the room above it is for a busy machine"


def _cost(panel: Panel) -> float:
    from time import thread_time

    began = thread_time()
    panel.tick()
    return thread_time() - began


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("look", ["midnight", "daylight", "ascii"])
def test_the_graphs(day: Fleet, snap_compare: Compare, size: tuple[int, int], look: str) -> None:
    keys = ("h", *["left"] * 30) if look == "midnight" else ("h", "minus", "minus", "M")
    theme = "midnight" if look == "ascii" else look
    app = ConsoleApp(day.plane, theme=theme, ascii_only=look == "ascii")
    assert snap_compare(app, terminal_size=size, run_before=press(*keys))


@pytest.mark.parametrize("look", ["midnight", "ascii"])
def test_one_graph_of_a_worker_held_still(day: Fleet, snap_compare: Compare, look: str) -> None:
    app = ConsoleApp(day.plane, theme="midnight", ascii_only=look == "ascii")
    assert snap_compare(app, terminal_size=(80, 24), run_before=press("h", "w", "6", "space", "pageup", "left", "left"))


def test_a_day_of_the_fleet(day: Fleet, snap_compare: Compare) -> None:
    keys = press("h", *["minus"] * 7)
    assert snap_compare(ConsoleApp(day.plane, theme="colour-blind"), terminal_size=(120, 40), run_before=keys)


def press(*keys: str) -> Callable[[Pilot[None]], object]:
    """Press keys and draw."""

    async def pressed(pilot: Pilot[None]) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
        await settle(pilot)

    return pressed
