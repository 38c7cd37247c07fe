"""The settings in force as rows one can filter, and one of them in full. Pure."""

import textwrap
from collections.abc import Sequence

from gateway.settings.effective import Effective
from smg_console.present.runs import Line, Run, cut, cut_middle, fit, printable

FIELDS = {"group": "health", "from": "--port", "is": "set"}
"""What a word of the filter may name, with an example each."""
STATES = ("set", "default")
NAME = 36
VALUE = 56
LABEL = 13


def value_text(value: object) -> str:
    """A value as one would write it: lists with spaces, nothing as a dash."""
    match value:
        case None | []:
            return "–"
        case bool():
            return "on" if value else "off"
        case float() if value.is_integer():
            return f"{value:.0f}"
        case list():
            return " ".join(value)
    return str(value)


def problem(words: Sequence[str]) -> str:
    """What is wrong with a filter; empty where nothing is."""
    for word in words:
        name, colon, value = word.removeprefix("-").lower().partition(":")
        if not colon or name not in FIELDS:
            continue
        if not value:
            return f"{name}: of what? Such as {name}:{FIELDS[name]}"
        if name == "is" and value not in STATES:
            return f"is:{value} is nothing; there are {' and '.join(f'is:{state}' for state in STATES)}"
    return ""


def matches(one: Effective, words: Sequence[str]) -> bool:
    """Whether all words fit; one that begins with `-` (and is no flag) must not."""
    return all(word == "-" or _wanted(one, word) for word in words)


def _wanted(one: Effective, word: str) -> bool:
    if word.startswith("--"):
        return _fits(one, word)
    return _fits(one, word.removeprefix("-")) != word.startswith("-")


def _fits(one: Effective, word: str) -> bool:
    name, colon, value = word.lower().partition(":")
    if colon and name in FIELDS:
        if name == "is":
            return one.given == (value == "set")
        return value in (one.group if name == "group" else one.origin).lower()
    text = f"{one.flag} {one.name} {one.description} {value_text(one.value)} {one.origin} {one.group}".lower()
    return word.lower() in text


def _widths(width: int) -> tuple[int, int]:
    """Of name and value; the rest is the origin's."""
    name = min(NAME, max(20, width * 2 // 5))
    return name, max(12, min(VALUE, (width - name - 4) // 2))


def header(width: int) -> Line:
    """The columns' names."""
    name, value = _widths(width)
    return cut(((f" {'SETTING':<{name}} {'VALUE':<{value}} FROM", "bold muted"),), width)


def row_line(one: Effective, width: int) -> Line:
    """A setting in a line; what somebody said stands out, and has a sign beside the colour."""
    name, value = _widths(width)
    style = "bold" if one.given else "muted"
    left: list[Run] = [(f" {cut_middle(one.flag, name)} ", "bold" if one.given else "")]
    left += [(fit(printable(value_text(one.value)), value), "bold accent" if one.given else "")]
    return cut((*left, (f" {'●' if one.given else ' '} {printable(one.origin)}", style)), width)


def detail_lines(one: Effective, width: int) -> list[Line]:
    """One setting, nothing cut off."""
    lines: list[Line] = [((f" {one.flag}", "bold accent"), (f"  {one.group}", "muted"))]
    lines += [((f" {part}", ""),) for part in textwrap.wrap(one.description, max(20, width - 3))]
    parts = textwrap.wrap(printable(value_text(one.value)), max(20, width - LABEL - 3)) or ["–"]
    lines += [_pair("value" if not n else "", part, "bold") for n, part in enumerate(parts)]
    lines.append(_pair("from", one.origin, ""))
    if one.given:
        lines.append(_pair("otherwise", value_text(one.default), ""))
    lines.append(_pair("environment", one.environment, "muted"))
    return lines


def _pair(name: str, value: str, style: str) -> Line:
    return ((f" {name:<{LABEL}}", "muted"), (printable(value), style))
