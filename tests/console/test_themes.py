"""Themes: all of them whole and readable, found where they should be, and a broken one only reported."""

import tomllib
from pathlib import Path

import pytest
from rich.color import ColorType

from smg_console import themes
from tests.console.fleet import Fleet
from tests.console.test_app import app_of, console, shown

SHIPPED = Path(__file__).parents[2] / "themes"
NAMES = sorted(path.stem for path in SHIPPED.glob("*.toml"))
STATES = ("registering", "ready", "unhealthy", "failed", "draining")


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_there_is_one_for_every_kind_of_terminal_and_eye() -> None:
    assert set(NAMES) == {"midnight", "daylight", "high-contrast", "monochrome", "colour-blind", "terminal"}
    found = themes.load()
    assert found.problems == ()
    assert set(NAMES) <= set(found.themes)
    assert themes.DEFAULT in found.themes
    assert not found.themes["daylight"].dark
    assert found.themes["terminal"].ansi


@pytest.mark.parametrize("name", [name for name in NAMES if name != "terminal"])
def test_every_text_can_be_read_on_its_background_and_on_the_selection(name: str) -> None:
    colours = themes.load([SHIPPED]).themes[name].colours.model_dump()
    texts = {key: colours[key] for key in (*STATES, "foreground", "muted", "accent", "success", "warning", "error")}
    for back, least in (("background", 4.5), ("panel", 4.5), ("selection", 3.0)):
        poor = {key: round(contrast(colour, colours[back]), 2) for key, colour in texts.items()}
        assert {key: ratio for key, ratio in poor.items() if ratio < least} == {}, back
    if name == "high-contrast":
        assert min(contrast(colour, colours["background"]) for colour in texts.values()) >= 7


def test_the_terminal_s_theme_names_nothing_but_the_terminal_s_colours() -> None:
    colours = tomllib.loads((SHIPPED / "terminal.toml").read_text())["colours"]
    assert all(colour.startswith("ansi_") for colour in colours.values())
    palette = themes.Palette(themes.load([SHIPPED]).themes["terminal"])
    assert palette.style("muted").dim
    assert palette.style("muted").color is not None
    assert palette.style("ready", selected=True).reverse


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("title = ", "theme mine.toml: "),
        ("title = 'x'\n[colours]\nready = '#00ff00'\n", "theme mine.toml: colours."),
        ("title = 'x'\nsize = 3\n", "theme mine.toml: "),
    ],
)
def test_a_broken_theme_is_reported_with_its_name_and_the_others_work(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / "mine.toml").write_text(text)
    found = themes.load([SHIPPED, tmp_path])
    assert len(found.problems) == 1
    assert found.problems[0].startswith(complaint)
    assert set(found.themes) == set(NAMES)


def test_a_colour_that_is_none_is_named(tmp_path: Path) -> None:
    good = (SHIPPED / "midnight.toml").read_text()
    (tmp_path / "mine.toml").write_text(good.replace('ready = "#4cd787"', 'ready = "greenish"'))
    assert "theme mine.toml: colours.ready: " in themes.load([tmp_path]).problems[0]


def test_a_user_s_theme_is_found_and_wins_over_a_shipped_one_of_its_name(tmp_path: Path) -> None:
    own = tmp_path / "smg-console" / "themes"
    own.mkdir(parents=True)
    good = (SHIPPED / "midnight.toml").read_text()
    (own / "midnight.toml").write_text(good.replace('title = "Midnight"', 'title = "My night"'))
    (own / "mine.toml").write_text(good)
    found = themes.load(themes.directories({"XDG_CONFIG_HOME": str(tmp_path)}))
    assert found.themes["midnight"].title == "My night"
    assert "mine" in found.themes
    assert themes.directories({"HOME": "/home/anna"})[-1] == Path("/home/anna/.config/smg-console/themes")


def test_a_terminal_of_sixteen_colours_gets_the_theme_made_of_them() -> None:
    assert themes.default_for("standard") == "terminal"
    assert {themes.default_for(system) for system in (None, "256", "truecolor")} == {"midnight"}


@pytest.mark.parametrize("name", NAMES)
async def test_every_theme_runs_and_its_dialogs_too(fleet: Fleet, name: str) -> None:
    fleet.add("http://10.0.0.1:8000")
    async with console(fleet, theme=name) as pilot:
        for key in ("x", "escape", "a", "escape", "colon", "escape", "enter", "escape"):
            await pilot.press(key)
            await app_of(pilot).frame()
            await pilot.pause()
        assert pilot.app.theme == name


async def test_an_unknown_theme_is_said_and_the_usual_one_used(fleet: Fleet) -> None:
    async with console(fleet, theme="nope") as pilot:
        assert pilot.app.theme in NAMES
        assert any("no theme is called nope; there are " in n.message for n in pilot.app._notifications)


async def test_the_terminal_s_theme_draws_in_nothing_but_the_terminal_s_sixteen_colours(busy: Fleet) -> None:
    async with console(busy, theme="terminal") as pilot:
        for keys in ((), ("enter",), ("escape", "h"), ("escape", "e"), ("escape", "z"), ("escape", "question_mark")):
            await pilot.press(*keys)
            await app_of(pilot).frame()
            await pilot.pause()
            strips = pilot.app.screen._compositor.render_strips(pilot.app.size)
            used = {
                colour.type
                for strip in strips
                for segment in strip
                if segment.style is not None
                for colour in (segment.style.color, segment.style.bgcolor)
                if colour is not None
            }
            assert used <= {ColorType.DEFAULT, ColorType.STANDARD}, keys


async def test_a_user_s_theme_is_chosen_live_by_its_name(
    busy: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "smg-console" / "themes"
    own.mkdir(parents=True)
    good = (SHIPPED / "midnight.toml").read_text()
    (own / "mine.toml").write_text(good.replace('ready = "#4cd787"', 'ready = "#123456"'))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with console(busy) as pilot:
        await pilot.press("colon", *"theme mine", "enter")
        await shown(pilot, lambda: pilot.app.theme == "mine")
        await app_of(pilot).frame()
        await pilot.pause()
        strips = pilot.app.screen._compositor.render_strips(pilot.app.size)
        colours = {str(s.style.color.name) for strip in strips for s in strip if s.style is not None and s.style.color}
        assert "#123456" in colours
