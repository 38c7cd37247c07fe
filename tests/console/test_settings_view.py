"""The settings in force: what is told of each, that keys stay hidden, the filter, and how the screen looks."""

import re

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from gateway.settings.effective import HIDDEN, Effective, effective
from gateway.settings.flags import add_settings, new_parser
from gateway.settings.load import load
from gateway.settings.model import SECRETS, Settings
from smg_console.app import ConsoleApp
from smg_console.present import settings
from smg_console.present.runs import width_of
from smg_console.screens.main import MainScreen
from smg_console.screens.settings import SettingsScreen, SettingsTable
from tests.console.fleet import Fleet
from tests.console.test_app import app_of, console, drawn_text, frame, shown
from tests.console.test_pictures import SIZES, Compare, settle

WORDS = ["--port", "31000", "--worker-urls", "http://a:1", "http://b:2", "--worker-api-key", "s3cret", "--no-log-json"]


def loaded() -> list[Effective]:
    parser = new_parser("smg-console", "")
    add_settings(parser)
    found = load(vars(parser.parse_strictly(WORDS)), {"SMG_CONSOLE_POLICY": "random"}, None)
    return effective(found.settings, found.origins)


ALL = loaded()
BY_NAME = {one.name: one for one in ALL}


def _place(text: str, flag: str) -> int:
    """Where `--help` tells of a flag."""
    found = re.search(rf"^  (\S+, )*{flag}\b(?!-)", text, re.MULTILINE)
    assert found is not None, flag
    return found.start()


def test_every_setting_is_there_once_as_in_help_with_variable_group_and_description() -> None:
    parser = new_parser("smg-console", "")
    add_settings(parser)
    assert {one.name for one in ALL} == set(Settings.model_fields)
    assert len(ALL) == len(Settings.model_fields)
    text = parser.format_help()
    assert [one.flag for one in ALL] == sorted((one.flag for one in ALL), key=lambda flag: _place(text, flag))
    for one in ALL:
        assert one.flag == "--" + one.name.replace("_", "-")
        assert one.environment == "SMG_CONSOLE_" + one.name.upper()
        assert one.group
        assert one.description


def test_what_was_given_says_where_and_the_rest_is_a_default() -> None:
    given = {one.name: (one.value, one.origin) for one in ALL if one.given}
    assert given == {
        "port": (31000, "--port"),
        "worker_urls": (["http://a:1", "http://b:2"], "--worker-urls"),
        "worker_api_key": (HIDDEN, "--worker-api-key"),
        "log_json": (False, "--log-json"),
        "policy": ("random", "SMG_CONSOLE_POLICY"),
    }
    assert BY_NAME["port"].default == 30000
    assert BY_NAME["host"].value == BY_NAME["host"].default == "0.0.0.0"


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_of_a_secret_only_whether_it_is_set_is_told(name: str) -> None:
    assert BY_NAME[name].value == HIDDEN
    assert "s3cret" not in repr(ALL)
    unset = {one.name: one for one in effective(Settings(), {})}
    assert unset[name].value is None


@pytest.mark.parametrize(
    ("filter_", "names"),
    [
        ("is:set", {"port", "worker_urls", "worker_api_key", "log_json", "policy"}),
        ("is:set -from:smg_console", {"port", "worker_urls", "worker_api_key", "log_json"}),
        ("from:SMG_CONSOLE_POLICY", {"policy"}),
        ("--port", {"port"}),
        ("http://b:2", {"worker_urls"}),
        ("group:serving 31000", {"port"}),
    ],
)
def test_a_filter_keeps_what_fits_all_its_words(filter_: str, names: set[str]) -> None:
    words = filter_.split()
    assert settings.problem(words) == ""
    found = {one.name for one in ALL if settings.matches(one, words)}
    assert names <= found
    if filter_ != "--port":
        assert found == names


def test_a_wrong_word_is_named_with_what_is_accepted() -> None:
    assert settings.problem(["is:new"]) == "is:new is nothing; there are is:set and is:default"
    assert settings.problem(["group:"]) == "group: of what? Such as group:health"


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), ([], "–"), (True, "on"), (False, "off"), (30.0, "30"), (0.5, "0.5"), (["a", "b"], "a b"), ("x", "x")],
)
def test_values_as_one_would_write_them(value: object, said: str) -> None:
    assert settings.value_text(value) == said


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_lines_fit(width: int) -> None:
    lines = [settings.header(width), *(settings.row_line(one, width) for one in ALL)]
    assert {width_of(line) for line in lines} == {width}
    for one in ALL:
        assert max(map(width_of, settings.detail_lines(one, width))) <= width


async def opened(pilot: Pilot[None]) -> SettingsTable:
    await pilot.press("comma")
    await shown(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
    await frame(pilot)
    return pilot.app.screen.query_one(SettingsTable)


async def test_comma_opens_the_settings_and_the_filter_narrows_them(fleet: Fleet) -> None:
    async with console(fleet) as pilot:
        table = await opened(pilot)
        assert len(table._rows) == len(Settings.model_fields)
        assert "3 given, the others are defaults" in drawn_text(pilot)
        await pilot.press("slash", *"is:set")
        await frame(pilot)
        assert [one.name for one in table._rows] == ["worker_urls", "port", "policy"]
        await pilot.press("enter", "j")
        await frame(pilot)
        assert "SMG_CONSOLE_PORT" in drawn_text(pilot)
        pilot.app.screen.query_one("#filter", Input).value = "is:odd"
        await frame(pilot)
        assert "there are is:set and is:default" in drawn_text(pilot)
        await pilot.press("escape")
        await frame(pilot)
        assert len(table._rows) == len(Settings.model_fields)
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


async def test_the_palette_knows_the_settings(fleet: Fleet) -> None:
    async with console(fleet) as pilot:
        commands = {command.title: command.callback for command in app_of(pilot).get_system_commands(pilot.app.screen)}
        commands["Settings"]()
        await shown(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        await pilot.press("comma")
        assert isinstance(pilot.app.screen, SettingsScreen)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("look", ["midnight", "daylight", "ascii"])
def test_the_settings(busy: Fleet, snap_compare: Compare, size: tuple[int, int], look: str) -> None:
    groups = ("Workers", "Routing")  # new settings elsewhere change no picture
    busy.plane._settings = [one for one in ALL if one.group in groups]
    app = ConsoleApp(busy.plane, theme="midnight" if look == "ascii" else look, ascii_only=look == "ascii")

    async def at_port(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await opened(pilot)
        await pilot.press(*["j"] * 6)
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=at_port)
