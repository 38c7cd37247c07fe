"""Incidents: what counts as one, in which order they are told, and that ! goes where each can be seen."""

from dataclasses import replace

import pytest
from textual.pilot import Pilot

from gateway.workers.facts import Cause
from smg_console.plane import GatewayRow
from smg_console.present import incidents
from smg_console.present.incidents import Incident
from smg_console.present.overview import Overview
from smg_console.present.runs import width_of
from smg_console.screens.journal import JournalScreen
from smg_console.screens.main import MainScreen
from smg_console.screens.tokenizers import TokenizersScreen
from smg_console.screens.views import DiscoveryView, WorkerView
from smg_console.widgets import panels
from tests.console import cluster
from tests.console.fleet import START, Fleet
from tests.console.test_app import app_of, console, drawn_text, frame, shown
from tests.console.tokenizers import FAILED, READY, Rows

TEST = Cause("test")


def overview(fleet: Fleet) -> Overview:
    found = Overview()
    for row in fleet.plane.rows():
        found.add(row)
    return found


def told(fleet: Fleet, **gateway: float) -> list[Incident]:
    row: GatewayRow = replace(fleet.gateway_row(), **gateway)  # type: ignore[arg-type]  # numbers of the row
    return incidents.incidents(overview(fleet), row, ())


def words(found: list[Incident]) -> list[str]:
    return [one.word for one in found]


def test_a_fleet_that_is_well_has_none_and_neither_has_an_empty_one(fleet: Fleet) -> None:
    assert told(fleet) == []
    fleet.add("http://10.0.0.1:8000", "llama")
    fleet.add("http://10.0.0.2:8000")
    assert told(fleet) == []


def test_a_model_without_a_worker_is_told_before_the_workers_that_are_down(fleet: Fleet) -> None:
    fleet.add("http://10.0.0.1:8000", "llama")
    lost = fleet.add("http://10.0.0.2:8000", "qwen")
    fleet.clock.now += 10
    for _ in range(3):
        fleet.probe(lost, ok=False)
    first, second = told(fleet)
    assert (first.word, first.text, first.severe) == ("✗ qwen has no worker", "none of its 1 takes requests", True)
    assert (first.since, first.worker) == (START + 10, lost.worker.id)
    assert (second.word, second.text, second.severe) == ("◆ 1 worker unhealthy or failed", "w2", False)
    assert (second.since, second.worker) == (START + 10, lost.worker.id)


def test_a_fleet_that_comes_up_for_the_first_time_is_no_alarm(fleet: Fleet) -> None:
    fleet.add("http://10.0.0.1:8000", ready=False)
    (found,) = told(fleet)
    assert (found.word, found.text, found.severe) == ("◌ the fleet has no worker yet", "1 coming up", False)
    fleet.add("http://10.0.0.2:8000", "llama")
    assert told(fleet) == [], "one that has not said its model yet is missed by nobody"


def test_drained_and_cordoned_workers_leave_a_model_without(fleet: Fleet) -> None:
    one = fleet.add("http://10.0.0.1:8000", "llama")
    fleet.registry.cordon(one, "x", TEST)
    assert words(told(fleet)) == ["✗ llama has no worker"]


def test_breakers_and_names_beyond_some_are_counted(fleet: Fleet) -> None:
    entries = [fleet.add(f"http://10.0.0.{n}:8000", "llama") for n in range(1, 9)]
    for entry in entries[:6]:
        for _ in range(fleet.registry.breaker_settings.failure_threshold):
            fleet.registry.observe_failed_request(entry, None, "it answered 500", TEST)
    found = told(fleet)
    cut_off = [one for one in found if "cut off" in one.word]
    assert [(one.word, one.text) for one in cut_off] == [
        ("◆ 6 workers cut off by breaker or ejection", "w1, w2, w3, w4 and 2 more")
    ]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"loop_late_ms": 99.0}, []),
        ({"loop_late_ms": 180.0}, ["! the loop is late"]),
        ({"requests_per_s": 100.0, "errors_per_s": 4.9}, []),
        ({"requests_per_s": 100.0, "errors_per_s": 6.0}, ["! requests fail"]),
        ({"requests_per_s": 1.0, "errors_per_s": 0.4}, []),
        ({"requests_per_s": 0.0, "errors_per_s": 2.0}, ["! requests fail"]),
    ],
)
def test_a_late_loop_and_failing_requests_are_incidents(
    fleet: Fleet, numbers: dict[str, float], expected: list[str]
) -> None:
    fleet.add("http://10.0.0.1:8000", "llama")
    assert words(told(fleet, **numbers)) == expected


def test_a_tokenizer_that_failed_counts_only_where_a_worker_needs_it(fleet: Fleet) -> None:
    needed = replace(FAILED, name="qwen", users=("w1",))
    found = incidents.incidents(Overview(), fleet.gateway_row(), (READY, FAILED, needed))
    assert [(one.word, one.key, one.severe) for one in found] == [("✗ the tokenizer of qwen is missing", "z", True)]


def test_the_gravest_come_first_and_of_those_the_oldest(fleet: Fleet) -> None:
    mild, old, new = Incident("mild", "", False, 1.0), Incident("old", "", True, 5.0), Incident("new", "", True, 9.0)
    found = incidents.incidents(Overview(), fleet.gateway_row(), (), [new, mild, old])
    assert words(found) == ["old", "new", "mild"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_strip_fills_its_line_with_the_number_of_others_and_the_key(width: int) -> None:
    found = [Incident("✗ qwen has no worker", "x" * 300 + "\x1b[2J", True, START)] * 3
    line = incidents.strip(found, width)
    assert line is not None
    text = "".join(part for part, _ in line)
    assert width_of(line) == width
    assert text.endswith(" +2 more  ! shows it ")
    assert "\x1b" not in text
    assert incidents.strip([], width) is None


async def pressed(pilot: Pilot[None], kind: type[object]) -> None:
    await frame(pilot)
    await pilot.press("exclamation_mark")
    await shown(pilot, lambda: isinstance(pilot.app.screen, kind))
    await pilot.press("escape")
    await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


async def test_the_mark_goes_to_what_the_strip_tells_of(fleet: Fleet) -> None:
    entry = fleet.add("http://10.0.0.1:8000", "llama")
    async with console(fleet) as pilot:
        await pilot.press("exclamation_mark")
        await shown(pilot, lambda: any("nothing is wrong" in n.message for n in pilot.app._notifications))
        fleet.plane._tokenizers = Rows(replace(FAILED, users=("w1",)))
        fleet.clock.now += 2
        await pressed(pilot, TokenizersScreen)
        fleet.plane._tokenizers = Rows()
        fleet.clock.now += 2
        fleet.discovery = cluster.blind(fleet.clock.now)
        await pressed(pilot, DiscoveryView)
        fleet.discovery = None
        fleet.samples.fleet = replace(fleet.samples.fleet, requests_per_s=10.0, errors_per_s=5.0)
        await pressed(pilot, JournalScreen)
        fleet.samples.fleet = replace(fleet.samples.fleet, errors_per_s=0.0)
        fleet.loop_late_ms = 500.0
        await frame(pilot)
        await pilot.press("exclamation_mark")
        await shown(pilot, lambda: any("the loop is late: by 500 ms" in n.message for n in pilot.app._notifications))
        fleet.loop_late_ms = 1.0
        fleet.registry.cordon(entry, "x", TEST)
        await frame(pilot)
        await frame(pilot)
        assert "llama has no worker" in drawn_text(pilot)
        assert pilot.app.screen.query_one(panels.Incident).display
        await pilot.press("exclamation_mark")
        await shown(pilot, lambda: isinstance(pilot.app.screen, WorkerView))
        assert app_of(pilot).chosen is not None
        await pilot.press("c", "escape")
        await frame(pilot)
        await frame(pilot)
        assert not pilot.app.screen.query_one(panels.Incident).display
