"""Lines of the log as rows one can filter. Pure."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from smg_console.present.runs import Line, cut, printable

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
STYLES = {"DEBUG": "muted", "WARNING": "warning", "ERROR": "error", "CRITICAL": "bold error"}
WHERE_LEVEL_IS = 40
"""Cells at the beginning of a line among which its level is."""


@dataclass(frozen=True, slots=True)
class LogRow:
    """One entry: the first line is shown, what follows (a traceback) only in full. `number` counts entries."""

    number: int
    text: str
    level: str


def row_of(number: int, text: str) -> LogRow:
    """An entry with its level, which is INFO where none is found."""
    head = text[:WHERE_LEVEL_IS]
    return LogRow(number, text, next((level for level in LEVELS if level in head), "INFO"))


def problem(words: Sequence[str]) -> str:
    """What is wrong with a filter; empty where nothing is."""
    for word in words:
        name, colon, value = word.lower().partition(":")
        if colon and name == "level" and value.upper() not in LEVELS:
            return f"level:{value} is none; there are {', '.join(level.lower() for level in LEVELS)}"
    return ""


def matches(row: LogRow, words: Sequence[str]) -> bool:
    """Whether all words fit; `level:warning` is that level and what is graver; `-word` must not be there."""
    return all(word == "-" or _fits(row, word) for word in words)


def _fits(row: LogRow, word: str) -> bool:
    name, colon, value = word.lower().partition(":")
    if colon and name == "level":
        return LEVELS.index(row.level) >= LEVELS.index(value.upper())
    return (word.removeprefix("-").lower() in row.text.lower()) != word.startswith("-")


def row_line(row: LogRow, width: int) -> Line:
    """The entry's first line; a mark tells that there is more."""
    first, more, _ = row.text.partition("\n")
    return cut(((f" {printable(first)}{' ↵' if more else ''}", STYLES.get(row.level, "")),), width)


def detail_lines(row: LogRow, width: int) -> list[Line]:
    """The whole entry, wrapped."""
    lines: list[Line] = []
    for part in row.text.splitlines():
        lines += [((f" {piece}", ""),) for piece in textwrap.wrap(printable(part), max(20, width - 2)) or [""]]
    return lines
