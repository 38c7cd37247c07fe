"""The routing screen: policies by model, shares, who is left out and why, and where a prompt would go."""

from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from gateway.errors import BadRequest
from gateway.proxy.explain import RouteStatus
from gateway.workers.facts import Cause
from gateway.workers.meters import EngineLoad
from gateway.workers.model import ModelCard, Role, WorkerSpec
from smg_console.app import ConsoleApp
from smg_console.plane import Explained
from smg_console.present import routing
from smg_console.present.runs import Line, width_of
from smg_console.screens.main import MainScreen
from smg_console.screens.routing import Answers, Routes, RoutingScreen
from smg_console.screens.views import View
from tests.console.fleet import Fleet
from tests.console.test_app import app_of, console, drawn_text, frame, shown
from tests.console.test_pictures import SIZES, Compare, settle

TEST = Cause("test")


def text(lines: list[Line]) -> str:
    return "\n".join("".join(part for part, _ in line) for line in lines)


def labelled(fleet: Fleet) -> None:
    """A model whose policy a label sets, and a pair of a third one."""
    models = (ModelCard("tiny"),)
    fleet.registry.register(WorkerSpec("http://10.2.0.1:8000", models=models, labels={"policy": "round_robin"}), TEST)
    for role, port in ((Role.PREFILL, 1), (Role.DECODE, 2)):
        spec = WorkerSpec(f"http://10.3.0.{port}:8000", models=(ModelCard("pd"),), role=role)
        entry = fleet.registry.register(spec, TEST)
        for _ in range(2):
            fleet.probe(entry, ok=True)


def test_each_model_and_role_has_its_policy_its_workers_and_those_left_out_with_the_reason(busy: Fleet) -> None:
    labelled(busy)
    found = {(route.model, route.role): route for route in busy.plane.routes()}
    assert list(found) == [
        ("qwen2.5-14b", Role.REGULAR),
        ("llama-3.1-8b", Role.REGULAR),
        ("tiny", Role.REGULAR),
        ("pd", Role.PREFILL),
        ("pd", Role.DECODE),
    ]
    names = {row.worker.id: row.worker.name for row in busy.plane.rows()}
    qwen = found["qwen2.5-14b", Role.REGULAR]
    assert [names[worker] for worker in qwen.candidates] == ["w1"]
    assert {names[worker]: because.partition(":")[0] for worker, because in qwen.left_out} == {
        "w3": "cordoned",
        "w5": "draining",
        "w8": "failed",
    }
    assert (qwen.policy, qwen.by_label) == ("power_of_two", False)
    tiny = found["tiny", Role.REGULAR]
    assert (tiny.policy, tiny.by_label, tiny.candidates) == ("round_robin", True, ())


def test_routes_are_those_that_requests_take(busy: Fleet) -> None:
    labelled(busy)
    for route in busy.plane.routes():
        group = busy.routing.group(route.model, route.role)
        assert tuple(entry.worker.id for entry in group.candidates) == route.candidates
        assert group.policy.name == route.policy


def test_an_overloaded_worker_is_left_out_while_others_are_not(fleet: Fleet) -> None:
    one, two = fleet.add("http://10.0.0.1:8000", "m"), fleet.add("http://10.0.0.2:8000", "m")
    one.overloaded = True
    (route,) = fleet.plane.routes()
    assert route.candidates == (two.worker.id,)
    assert route.left_out == ((one.worker.id, "overloaded by its own report, and others are not"),)
    two.overloaded = True
    (route,) = fleet.plane.routes()
    assert len(route.candidates) == 2


def test_traffic_is_summed_and_hits_are_weighed_by_requests(busy: Fleet) -> None:
    rows = {row.worker.id: row for row in busy.plane.rows()}
    given = [
        replace(row, load=EngineLoad(0.0, cache_hit_rate=hit), sample=replace(row.sample, requests_per_s=rate))
        for row, hit, rate in zip(rows.values(), (0.9, 0.1, None), (9.0, 1.0, 5.0), strict=False)
    ]
    seen = routing.traffic(given)
    assert seen.requests_per_s == 15.0
    assert seen.hit_rate == pytest.approx((0.9 * 9 + 0.1) / 10)
    assert routing.traffic([]) == routing.Traffic(0.0, 0, None)


@pytest.mark.parametrize("width", [60, 78, 118, 198])
def test_lines_fit_and_columns_stand_under_their_titles(busy: Fleet, width: int) -> None:
    labelled(busy)
    rows = {row.worker.id: row for row in busy.plane.rows()}
    head = routing.header(width)
    assert width_of(head) == width
    for route in busy.plane.routes():
        assert width_of(routing.row_line(route, rows, width)) == width
        assert {width_of(line) for line in routing.share_lines(route, rows, width)} == {width}
    if width >= 78:
        line = text([routing.row_line(busy.plane.routes()[0], rows, width)])
        end = text([head]).index("TAKING") + len("TAKING")
        assert line[:end].endswith("1 of 4")


def test_shares_of_an_idle_route_are_not_invented(fleet: Fleet) -> None:
    fleet.add("http://10.0.0.1:8000", "m")
    rows = {row.worker.id: row for row in fleet.plane.rows()}
    said = text(routing.share_lines(fleet.plane.routes()[0], rows, 120))
    assert " – " in said
    assert "100%" not in said
    empty = RouteStatus("m", Role.REGULAR, "random", False, (), ())
    assert "no worker is listed" in text(routing.share_lines(empty, {}, 80))
    assert routing.share_lines(None, {}, 80) == []


def test_the_policy_in_use_is_told_first_and_has_a_mark(busy: Fleet) -> None:
    worker = busy.registry.find("w1").worker.id
    found = [
        Explained(Role.REGULAR, "random", False, worker, "any\x1b[2J"),
        Explained(Role.DECODE, "cache_aware", True, worker, "longest prefix"),
    ]
    first, second = (text([line]) for line in routing.explained_lines(found, {worker: "w1"}, 100))
    assert first.startswith(" ▶ decode cache_aware")
    assert "w1" in first
    assert "\x1b" not in second
    assert "no worker would be chosen" in text(routing.explained_lines([], {}, 100))


async def opened(pilot: Pilot[None]) -> RoutingScreen:
    await pilot.press("m")
    await shown(pilot, lambda: isinstance(pilot.app.screen, RoutingScreen))
    await frame(pilot)
    screen = pilot.app.screen
    assert isinstance(screen, RoutingScreen)
    return screen


async def test_m_opens_the_routes_and_a_typed_prompt_is_explained(busy: Fleet) -> None:
    async with console(busy) as pilot:
        screen = await opened(pilot)
        assert "Routing: 2 models and roles" in drawn_text(pilot)
        assert "takes none: cordoned" in drawn_text(pilot)
        await pilot.press("j", "enter", *"Hello")
        panel = screen.query_one(Answers)
        await shown(pilot, lambda: bool(panel.found))
        assert panel.found is not None
        (used,) = [one for one in panel.found if one.in_use]
        assert used.policy == "power_of_two"
        assert used.worker in screen.query_one(Routes).current.candidates  # type: ignore[union-attr]
        await frame(pilot)
        assert "▶ power_of_two" in drawn_text(pilot)
        await pilot.press("escape")
        await shown(pilot, lambda: screen.focused is screen.table)
        await pilot.press("k")
        await shown(pilot, lambda: bool(panel.found) and panel.found[0].worker == busy.registry.find("w1").worker.id)
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


async def test_what_happens_to_workers_shows_at_once(fleet: Fleet) -> None:
    entry = fleet.add("http://10.0.0.1:8000", "m")
    async with console(fleet) as pilot:
        await opened(pilot)
        assert "1 of 1" in drawn_text(pilot)
        fleet.registry.cordon(entry, "x", TEST)
        await frame(pilot)
        assert "0 of 1" in drawn_text(pilot)
        assert "takes none: cordoned" in drawn_text(pilot)
        fleet.registry.remove_now(entry, "x", TEST)
        await frame(pilot)
        assert "nothing is routed" in drawn_text(pilot)


async def test_tab_reaches_the_workers_of_a_big_model_which_scroll(fleet: Fleet) -> None:
    for n in range(1, 61):
        fleet.add(f"http://10.0.1.{n}:8000", "m")
    async with console(fleet, (80, 24)) as pilot:
        screen = await opened(pilot)
        assert "w9 " not in drawn_text(pilot)
        await pilot.press("tab", "end")
        await frame(pilot)
        assert "w9 " in drawn_text(pilot)
        await pilot.press("escape")
        assert screen.focused is screen.table


async def test_a_question_that_is_refused_says_why(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.add("http://10.0.0.1:8000", "m")

    async def refused(model: str | None, text: str) -> list[Explained]:
        raise BadRequest(f"{model}: not so")

    monkeypatch.setattr(fleet.plane, "explain", refused)
    async with console(fleet) as pilot:
        screen = await opened(pilot)
        await pilot.press("i", "x")
        await shown(pilot, lambda: screen.query_one(Answers).problem == "m: not so")


async def test_help_and_palette_know_the_screen(busy: Fleet) -> None:
    async with console(busy) as pilot:
        commands = {command.title: command.callback for command in app_of(pilot).get_system_commands(pilot.app.screen)}
        commands["Routing"]()
        await shown(pilot, lambda: isinstance(pilot.app.screen, RoutingScreen))
        await pilot.press("m")
        await pilot.press("question_mark")
        await shown(pilot, lambda: isinstance(pilot.app.screen, View))
        await frame(pilot)
        assert "who would get it, and why" in drawn_text(pilot)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("look", ["midnight", "daylight", "ascii"])
def test_the_routing(busy: Fleet, snap_compare: Compare, size: tuple[int, int], look: str) -> None:
    labelled(busy)
    app = ConsoleApp(busy.plane, theme="midnight" if look == "ascii" else look, ascii_only=look == "ascii")

    async def explained(pilot: Pilot[None]) -> None:
        await settle(pilot)
        screen = await opened(pilot)
        await pilot.press("j")
        screen.query_one("#prompt", Input).value = "What is a drain?"
        await shown(pilot, lambda: bool(screen.query_one(Answers).found))
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=explained)
