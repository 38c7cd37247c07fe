"""Themes as data: TOML files in the package, beside a checkout, and in the user's configuration directory.

A broken file never stops the console: it is reported beside the themes that are fine. Every theme names every
colour, so that no state is without one; states differ by glyph as well, whatever the colours.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from rich.color import Color
from rich.style import Style
from textual.theme import BUILTIN_THEMES, Theme

from smg_console.places import config_directory

DEFAULT, SIXTEEN = "midnight", "terminal"

Colour = Annotated[str, StringConstraints(pattern=r"^(#[0-9a-fA-F]{6}|ansi_[a-z_]+)$")]


class Colours(BaseModel):
    """Every colour a theme must name: `#rrggbb`, or an ANSI name such as `ansi_green`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    background: Colour
    foreground: Colour
    muted: Colour
    accent: Colour
    panel: Colour
    selection: Colour
    border: Colour
    success: Colour
    warning: Colour
    error: Colour
    registering: Colour
    ready: Colour
    unhealthy: Colour
    failed: Colour
    draining: Colour
    gone: Colour


class ThemeFile(BaseModel):
    """A theme as it stands in its file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    dark: bool = True
    ansi: bool = False
    colours: Colours


@dataclass(frozen=True, slots=True)
class Found:
    """Themes by name, and one line for each file that is not a theme."""

    themes: Mapping[str, ThemeFile]
    problems: tuple[str, ...]


def directories(environment: Mapping[str, str] | None = None) -> list[Path]:
    """Where themes are looked for; a later place wins over an earlier one."""
    here = Path(__file__).parent
    return [here / "themes", here.parent / "themes", config_directory(environment) / "themes"]


def load(places: Iterable[Path] | None = None) -> Found:
    """Read all themes."""
    themes: dict[str, ThemeFile] = {}
    problems: list[str] = []
    for place in directories() if places is None else places:
        for path in sorted(place.glob("*.toml")) if place.is_dir() else ():
            try:
                themes[path.stem] = ThemeFile.model_validate(tomllib.loads(path.read_text("utf-8")))
            except ValidationError as error:
                first = error.errors()[0]
                problems.append(f"theme {path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}")
            except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
                problems.append(f"theme {path.name}: {error}")
    return Found(themes, tuple(problems))


def default_for(colour_system: str | None) -> str:
    """The theme when none was asked for: on a terminal of 16 colours the one made of just these."""
    return SIXTEEN if colour_system == "standard" else DEFAULT


def textual_theme(name: str, file: ThemeFile) -> Theme:
    """The theme as Textual takes it, for inputs, dialogs and the palette."""
    colours = file.colours
    return Theme(
        name=name,
        primary=colours.accent,
        secondary=colours.draining,
        accent=colours.accent,
        foreground=colours.foreground,
        background=colours.background,
        surface=colours.panel,
        panel=colours.panel,
        success=colours.success,
        warning=colours.warning,
        error=colours.error,
        dark=file.dark,
        ansi=file.ansi,
        # A theme of ANSI colours needs more names than others; Textual's own has them all.
        variables=(BUILTIN_THEMES["ansi-dark"].variables if file.ansi else {})
        | {"border": colours.border, "selection": colours.selection}
        # Not Textual's black there: the terminal may be a light one.
        | ({"ansi-background": colours.background, "ansi-foreground": colours.foreground} if file.ansi else {}),
    )


_FAINT = ("muted", "border", "gone")


class Palette:
    """Styles by name for the widgets that draw lines. A name is a colour, with `bold`, `reverse` or `on` added:
    `ready`, `bold accent`, `muted`, and each also on the selection's background."""

    def __init__(self, file: ThemeFile) -> None:
        self._colours = {name: _colour(value) for name, value in file.colours.model_dump().items()}
        self._ansi = file.ansi
        self._styles: dict[tuple[str, bool], Style] = {}

    def style(self, name: str, *, selected: bool = False) -> Style:
        """The style with this name; an empty name is plain text."""
        style = self._styles.get((name, selected))
        if style is None:
            style = self._styles[name, selected] = self._made(name, selected)
        return style

    def _made(self, name: str, selected: bool) -> Style:
        words = name.split()
        colour = next((word for word in words if word in self._colours), "foreground")
        back = "selection" if selected else "background"
        if self._ansi and selected:  # whatever the palette, reversed text can be read
            return Style(color=self._colours[colour], bold="bold" in words, reverse=True)
        if self._ansi and colour in _FAINT:  # bright black is the background itself in some palettes
            return Style(color=self._colours[colour], bold="bold" in words or None, dim=True)
        return Style(
            color=self._colours[colour],
            bgcolor=self._colours[back],
            bold="bold" in words or None,
            reverse="reverse" in words or None,
        )


def _colour(value: str) -> Color:
    return Color.parse(value.removeprefix("ansi_"))
