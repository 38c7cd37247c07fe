"""Themes as data: all are whole, a broken one is told and harms nobody."""

from pathlib import Path

import pytest

from smg_console import themes

SHIPPED = themes.load(themes.directories({"HOME": "/nonexistent"}))


def test_six_themes_are_shipped_and_none_is_broken() -> None:
    wanted = {"midnight", "daylight", "high-contrast", "colour-blind", "monochrome", "terminal"}
    assert wanted <= set(SHIPPED.themes)
    assert SHIPPED.problems == ()
    assert themes.DEFAULT in SHIPPED.themes


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", [name for name, file in SHIPPED.themes.items() if not file.ansi])
def test_every_text_colour_can_be_read_on_its_background(name: str) -> None:
    colours = SHIPPED.themes[name].colours.model_dump()
    for text in set(colours) - {"background", "panel", "selection", "border"}:
        one, other = sorted((luminance(colours[text]), luminance(colours["background"])))
        assert (other + 0.05) / (one + 0.05) >= 4.5, f"{text} on the background of {name}"


def test_a_users_theme_wins_and_a_broken_one_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "smg-console" / "themes"
    folder.mkdir(parents=True)
    shipped = Path(__file__).resolve().parents[2] / "themes" / "midnight.toml"
    text = shipped.read_text("utf-8")
    (folder / "mine.toml").write_text(text.replace("Midnight", "Mine"), "utf-8")
    (folder / "half.toml").write_text('title = "Half"\n[colours]\nready = "#00ff00"\n', "utf-8")
    (folder / "junk.toml").write_text("= =", "utf-8")
    (folder / "bad.toml").write_text(text.replace("#4cd787", "green-ish"), "utf-8")
    found = themes.load(themes.directories({"XDG_CONFIG_HOME": str(tmp_path)}))
    assert found.themes["mine"].title == "Mine"
    assert {"half", "junk", "bad"} & set(found.themes) == set()
    assert len(found.problems) == 3
    assert any("half.toml: colours.background" in problem for problem in found.problems)


def test_a_palette_has_a_style_for_every_name_that_is_drawn() -> None:
    for file in SHIPPED.themes.values():
        palette = themes.Palette(file)
        assert palette.style("bold ready").bold
        assert palette.style("ready").color != palette.style("failed").color or file.title == "Monochrome"
        assert palette.style("ready", selected=True) != palette.style("ready")
