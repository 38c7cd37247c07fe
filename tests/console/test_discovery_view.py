"""The view of service discovery and the strip of its incidents: what they say, and when they are there at all."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from textual.pilot import Pilot

from gateway.kubernetes.status import DiscoveryStatus, SharingStatus
from gateway.settings.flags import add_settings, new_parser
from gateway.settings.load import load
from smg_console.app import ConsoleApp
from smg_console.present import discovery, incidents
from smg_console.present.runs import width_of
from smg_console.screens.main import MainScreen
from smg_console.screens.views import DiscoveryView
from smg_console.widgets.panels import Incident, Lines
from tests.console import cluster
from tests.console.fleet import START, Fleet
from tests.console.test_app import app_of, console, drawn_text, frame, shown
from tests.console.test_pictures import SIZES, Compare, settle

Seen = Callable[[float], DiscoveryStatus]


def text(status: DiscoveryStatus | None, width: int = 118) -> str:
    lines = discovery.discovery_lines(status, START, width)
    return "\n".join("".join(part for part, _ in line) for line in lines)


def strip_text(status: DiscoveryStatus | None, width: int = 200) -> str | None:
    found = discovery.trouble(status, START)
    line = incidents.strip([found] if found is not None else [], width)
    return None if line is None else "".join(part for part, _ in line)


# --- what is said ---


@pytest.mark.parametrize("width", [78, 118, 198])
def test_the_view_names_what_is_watched_and_every_skipped_pod_with_its_reason(width: int) -> None:
    told = " ".join(text(cluster.seen(START), width).split())
    for wanted in ("sees every change watching for 3m07s", "namespace llm", "app=sglang,tier in (big,gpu)"):
        assert wanted in told
    assert "(3m07s ago), took 84ms" in told
    for wanted in ("matched 8", "ready 5", "registered 6", "skipped 3", "1 waiting to be written", "modified 240"):
        assert wanted in told
    assert "llm/sglang-7f9c6d5b8-q8k4w no pod IP yet" in told
    assert all(name in told for name in cluster.SKIPPED)


@pytest.mark.parametrize("seen", [cluster.seen, cluster.blind, cluster.forbidden])
@pytest.mark.parametrize("width", [58, 78, 118, 198])
def test_no_line_is_wider_than_its_place(seen: Seen, width: int) -> None:
    assert max(width_of(line) for line in discovery.discovery_lines(seen(START), START, width)) <= width


def test_a_blind_discovery_says_since_when_why_and_when_it_tries_again() -> None:
    told = text(cluster.blind(START))
    assert "blind  since 14:10:15 (3m05s), next try in 4s" in told
    assert "cannot reach https://10.96.0.1:443: connection refused" in told
    assert "sees every change" not in told


def test_a_missing_permission_is_said_once() -> None:
    told = " ".join(text(cluster.forbidden(START)).split())
    wanted = "cannot watch pods in namespace llm as system:serviceaccount:llm:gateway: the Role needs get, list, watch"
    assert told.count(wanted) == 1


def test_before_the_first_list_no_count_is_claimed() -> None:
    found = cluster.blind(START)
    told = text(replace(found, watch=replace(found.watch, synced=False, last_relist_at=None)))
    assert "not known before the first list is read" in told
    assert "matched" not in told


def test_the_flags_that_are_shown_when_it_is_off_turn_it_on() -> None:
    told = text(None)
    assert "Discovery is off" in told
    words = " ".join(flag.partition("  ")[0] for flag in discovery.FLAGS).split()
    assert " ".join(words[:3]) in told
    parser = new_parser("smg-console", "")
    add_settings(parser)
    assert load(vars(parser.parse_strictly(words)), {}, None).settings.service_discovery


def test_control_characters_in_a_reason_do_not_reach_the_terminal() -> None:
    found = replace(cluster.seen(START), skipped={"llm/a\x1b[2J": "bad \x1b]0;x\x07"})
    assert "\x1b" not in text(found)


def test_of_many_pods_the_rest_is_counted() -> None:
    found = replace(cluster.seen(START), skipped={f"llm/p{n:05}": "no pod IP yet" for n in range(1203)})
    assert "and 203 more" in text(found)


# --- the strip ---


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (None, None),
        (cluster.seen(START), None),
        (cluster.blind(START, 2.0), None),  # a watch is being opened anew
        (cluster.blind(START), "✗ discovery is blind since 14:10:15 cannot reach https://10.96.0.1:443"),
        (cluster.forbidden(START), "✗ discovery lacks a permission since 14:10:15 cannot watch pods in namespace llm"),
        (replace(cluster.seen(START), sharing=SharingStatus(2, "403")), "! operations are not shared 403"),
    ],
)
def test_the_strip_is_there_only_while_something_is_wrong(status: DiscoveryStatus | None, told: str | None) -> None:
    found = strip_text(status)
    if told is None:
        assert found is None
    else:
        assert found is not None
        assert told in found
        assert found.endswith(" s shows it ")


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_strip_fills_its_line_and_keeps_the_key_in_sight(width: int) -> None:
    found = strip_text(cluster.forbidden(START), width)
    assert found is not None
    assert len(found) == width
    assert found.endswith(" s shows it ")


async def test_the_strip_comes_with_the_incident_and_leaves_with_it(fleet: Fleet) -> None:
    fleet.add("http://10.0.0.1:8000", "m")
    now = fleet.clock.now
    fleet.discovery = cluster.seen(now)
    async with console(fleet, (80, 24)) as pilot:
        strip = pilot.app.screen.query_one(Incident)
        assert not strip.display
        assert strip.drawn == 0
        fleet.discovery = cluster.blind(now)
        await frame(pilot)
        await frame(pilot)
        assert "discovery is blind" in drawn_text(pilot)
        fleet.discovery = cluster.seen(now)
        await frame(pilot)
        await frame(pilot)
        assert "discovery is blind" not in drawn_text(pilot)
        assert not strip.display


# --- the keys ---


async def test_s_opens_the_view_it_lives_and_esc_goes_back(busy: Fleet) -> None:
    now = busy.clock.now
    busy.discovery = cluster.seen(now)
    async with console(busy) as pilot:
        await pilot.press("s")
        await shown(pilot, lambda: isinstance(pilot.app.screen, DiscoveryView))
        await frame(pilot)
        assert "llm/sglang-7f9c6d5b8-q8k4w  no pod IP yet" in drawn_text(pilot)
        busy.discovery = replace(cluster.seen(now), skipped={"llm/new-0": "pod is being deleted"})
        await frame(pilot)
        assert "llm/new-0  pod is being deleted" in drawn_text(pilot)
        assert "q8k4w" not in drawn_text(pilot)
        await pilot.press("s")  # once more opens no second one
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


async def test_without_discovery_the_view_says_so(busy: Fleet) -> None:
    async with console(busy, (80, 24)) as pilot:
        await pilot.press("s")
        await shown(pilot, lambda: isinstance(pilot.app.screen, DiscoveryView))
        await frame(pilot)
        assert "--service-discovery --selector app=sglang" in drawn_text(pilot)


async def test_the_palette_knows_the_view(busy: Fleet) -> None:
    async with console(busy) as pilot:
        commands = {command.title: command.callback for command in app_of(pilot).get_system_commands(pilot.app.screen)}
        commands["Service discovery"]()
        await shown(pilot, lambda: isinstance(pilot.app.screen, DiscoveryView))


async def test_the_pods_scroll_to_the_last_line(busy: Fleet) -> None:
    skipped = {f"llm/p{n:04}": "no pod IP yet" for n in range(900)}
    busy.discovery = replace(cluster.seen(busy.clock.now), skipped=skipped, notes={})
    async with console(busy) as pilot:
        await pilot.press("s")
        await shown(pilot, lambda: isinstance(pilot.app.screen, DiscoveryView))
        await frame(pilot)
        assert "llm/p0899" not in drawn_text(pilot)
        await pilot.press("G")
        await frame(pilot)
        assert "llm/p0899  no pod IP yet" in drawn_text(pilot)
        pods = [line for line in pilot.app.screen.query_one(Lines)._all if "llm/p" in line[0][0]]
        await frame(pilot)
        again = [line for line in pilot.app.screen.query_one(Lines)._all if "llm/p" in line[0][0]]
        assert all(a is b for a, b in zip(pods, again, strict=True)), "lines of pods are made once a pass"


# --- how it looks ---


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("look", ["midnight", "ascii"])
def test_the_discovery(busy: Fleet, snap_compare: Compare, size: tuple[int, int], look: str) -> None:
    busy.discovery = cluster.seen(busy.clock.now)
    app = ConsoleApp(busy.plane, theme="midnight", ascii_only=look == "ascii")
    assert snap_compare(app, terminal_size=size, run_before=opened)


@pytest.mark.parametrize("theme", ["midnight", "daylight", "terminal"])
def test_a_discovery_without_its_rights(busy: Fleet, snap_compare: Compare, theme: str) -> None:
    busy.discovery = cluster.forbidden(busy.clock.now)
    assert snap_compare(ConsoleApp(busy.plane, theme=theme), terminal_size=(120, 40), run_before=opened)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_fleet_over_a_blind_discovery(busy: Fleet, snap_compare: Compare, size: tuple[int, int]) -> None:
    busy.discovery = cluster.blind(busy.clock.now)
    app = ConsoleApp(busy.plane, theme="midnight")

    async def twice(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=twice)


async def opened(pilot: Pilot[None]) -> None:
    """The view is open and drawn."""
    await settle(pilot)
    await pilot.press("s")
    await settle(pilot)
