"""A line as runs of (text, style name), and fitting text into cells."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

Run = tuple[str, str]
Line = tuple[Run, ...]

BLANK: Line = (("", ""),)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """The text in exactly `width` cells: padded, or cut with an ellipsis."""
    length = cell_len(text)
    if length == width:
        return text
    if length < width:
        return " " * (width - length) + text if right else text + " " * (width - length)
    return set_cell_size(text, width - 1) + "…" if width > 1 else set_cell_size(text, max(0, width))


def width_of(line: Sequence[Run]) -> int:
    """Cells a line takes."""
    return sum(cell_len(text) for text, _ in line)


def spread(left: Sequence[Run], right: Sequence[Run], width: int) -> Line:
    """Left and right aligned parts on one line; the left one is cut where both do not fit."""
    room = width - width_of(right)
    return (*cut(left, room - 1), (" ", ""), *right) if room > 0 else cut(right, width)


def cut(line: Sequence[Run], width: int) -> Line:
    """The line in exactly `width` cells."""
    found: list[Run] = []
    left = max(0, width)
    for text, style in line:
        length = cell_len(text)
        if length > left:
            found.append((fit(text, left), style))
            left = 0
            break
        found.append((text, style))
        left -= length
    if left:
        found.append((" " * left, ""))
    return tuple(found)


ASCII_TABLE = str.maketrans(
    {
        "─": "-",
        "│": "|",
        "┌": "+",
        "┐": "+",
        "└": "+",
        "┘": "+",
        "├": "+",
        "┤": "+",
        "┬": "+",
        "┴": "+",
        "▶": ">",
        "◀": "<",
        "▼": "v",
        "▲": "^",
        "→": ">",
        "…": "~",
        "·": ".",
        "●": "O",
        "◌": "o",
        "◆": "!",
        "✖": "X",
        "◐": "D",
        "✓": "+",
        "✗": "x",
        "⊘": "#",
        "▸": ">",
        "▏": "|",
        "█": "#",
        "▁": ".",
        "×": "x",
        "–": "-",
        "—": "-",
        "µ": "u",
        "⇄": "=",
        "↻": "@",
        "▾": "v",
        "▴": "^",
        "°": " ",
    }
)


def ascii_only(text: str) -> str:
    """The text without anything a plain terminal could not show."""
    return text.translate(ASCII_TABLE).encode("ascii", "replace").decode()
