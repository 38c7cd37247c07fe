"""Pictures and reports: what is in them, that nothing is overwritten, and that a disk that refuses is told."""

import json
import re
import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gateway.workers.facts import Cause
from gateway.workers.model import ModelCard, Secret, WorkerSpec
from smg_console import keeping, places
from smg_console.present import report
from smg_console.watch import Watch
from tests.console.fleet import START, Fleet
from tests.console.test_app import app_of, console, frame, shown

TEST = Cause("test")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "smg-console"


async def test_ctrl_s_saves_the_screen_as_svg_and_text(busy: Fleet, state: Path) -> None:
    async with console(busy, (80, 24)) as pilot:
        await pilot.press("ctrl+s")
        await shown(pilot, lambda: any("saved " in note.message for note in pilot.app._notifications))
        await pilot.press("ctrl+s")
        await shown(pilot, lambda: len(list((state / "screens").iterdir())) == 4)
        files = sorted(path.name for path in (state / "screens").iterdir())
        assert [re.sub(r"\d{8}-\d{6}", "WHEN", name) for name in files] == [
            "screen-WHEN-2.svg",
            "screen-WHEN-2.txt",
            "screen-WHEN.svg",
            "screen-WHEN.txt",
        ]
        first = state / "screens" / files[3]
        assert "10.1.0.1:8000" in first.read_text()
        assert len(first.read_text().splitlines()) == 24
        svg = ElementTree.parse(first.with_suffix(".svg")).getroot()
        assert "10.1.0.1:8000" in "".join(svg.itertext()).replace("\xa0", " ")
        assert stat.S_IMODE(first.stat().st_mode) == 0o600
        assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700


async def test_reports_come_by_name_from_the_palette(busy: Fleet, state: Path) -> None:
    async with console(busy) as pilot:
        commands = {command.title: command.callback for command in app_of(pilot).get_system_commands(pilot.app.screen)}
        for title in ("Report of the fleet as Markdown", "Report of the fleet as JSON", "Report of w1 as Markdown"):
            commands[title]()
        commands["Report of w1 as JSON"]()
        await shown(pilot, lambda: (state / "reports").is_dir() and len(list((state / "reports").iterdir())) == 4)
        await shown(pilot, lambda: sum("saved " in note.message for note in pilot.app._notifications) == 4)
        texts = {path.name.partition("-")[0] + path.suffix: path.read_text() for path in (state / "reports").iterdir()}
        assert "# Fleet of http://127.0.0.1:30000" in texts["fleet.md"]
        assert "# Worker w1: http://10.1.0.1:8000" in texts["w1.md"]
        assert len(json.loads(texts["fleet.json"])["workers"]) == 8
        assert [row["worker"]["name"] for row in json.loads(texts["w1.json"])["workers"]] == ["w1"]


async def test_a_directory_that_cannot_be_written_is_told(busy: Fleet, state: Path) -> None:
    state.write_text("a file in the way")  # noqa: ASYNC240 - nothing else runs
    async with console(busy) as pilot:
        await pilot.press("ctrl+s")
        await shown(pilot, lambda: any("cannot write" in note.message for note in pilot.app._notifications))
        await frame(pilot)


async def look(fleet: Fleet) -> Watch:
    watch = Watch(fleet.plane)
    await watch.look()
    return watch


async def test_the_fleets_report_has_incidents_workers_and_events(busy: Fleet) -> None:
    seen = await look(busy)
    told = report.fleet_markdown(seen.gateway, seen.rows, seen.incidents, busy.plane.past_events(50), seen.names)
    assert "- **◆ 2 workers unhealthy or failed** since 2026-09-21T14:14:55Z: w2, w8" in told
    (w3,) = [line for line in told.splitlines() if line.startswith("| w3 |")]
    assert "no: cordoned: disk is being swapped" in w3
    assert "| w5 | registering → ready |" in told or "ready → draining" in told
    bars = {line.count("|") for line in told.split("## Workers")[1].splitlines() if line.startswith("|")}
    assert bars <= {12, 6}


async def test_a_workers_report_tells_its_way_and_only_its_events(busy: Fleet) -> None:
    seen = await look(busy)
    row = busy.plane.rows()[1]
    told = report.worker_markdown(seen.gateway, row, busy.plane.past_events(1000))
    assert "unhealthy since 2026-09-21T14:14:55Z: 3 failed probes in a row: connection refused" in told
    assert "| – | registering |" in told
    assert "w3" not in told


async def test_what_workers_say_cannot_break_a_table_and_keys_never_appear(fleet: Fleet) -> None:
    spec = WorkerSpec("http://10.0.0.1:8000", models=(ModelCard("a|b\nc"),), api_key=Secret("s3cret"))
    entry = fleet.registry.register(spec, TEST)
    fleet.registry.cordon(entry, "x | y\x1b[2J\n# z", TEST)
    seen = await look(fleet)
    events = fleet.plane.past_events(50)
    for told in (
        report.fleet_markdown(seen.gateway, seen.rows, seen.incidents, events, seen.names),
        report.worker_markdown(seen.gateway, seen.rows[0], events),
    ):
        assert "\x1b" not in told
        assert "\n# z" not in told
        assert "x \\| y" in told
        assert "s3cret" not in told
    assert "s3cret" not in report.as_json(seen.gateway, seen.rows, seen.incidents, events)


async def test_of_one_second_only_so_many_are_kept(tmp_path: Path) -> None:
    for number in range(1, keeping.MOST_OF_A_SECOND + 1):
        path = await keeping.save_report(lambda: "x", "a", ".md", START, tmp_path)
        assert path.name.endswith(".md" if number == 1 else f"-{number}.md")
    with pytest.raises(keeping.CannotKeep, match=r"there are 100 files of that second"):
        await keeping.save_report(lambda: "x", "a", ".md", START, tmp_path)


def test_places_follow_the_xdg_rules() -> None:
    assert places.state_directory({"XDG_STATE_HOME": "/s"}) == Path("/s/smg-console")
    assert places.state_directory({"HOME": "/h"}) == Path("/h/.local/state/smg-console")
    assert places.config_directory({"HOME": "/h", "XDG_CONFIG_HOME": ""}) == Path("/h/.config/smg-console")
