"""A line as runs of (text, style name), and fitting text into cells."""

from collections.abc import Sequence
from functools import lru_cache

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


def cut_end(text: str, width: int) -> str:
    """The text, cut with an ellipsis where it does not fit."""
    return text if cell_len(text) <= width else fit(text, max(0, width))


def cut_middle(text: str, width: int) -> str:
    """Like `fit`, but what is too long loses its middle: both ends of a host name tell workers apart."""
    if cell_len(text) <= width or width < 8:
        return fit(text, width)
    tail = min(len(text) - 1, (width - 1) * 2 // 5)
    return fit(set_cell_size(text, width - 1 - tail) + "…" + text[-tail:], width)


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


_ASCII = {
    **dict.fromkeys("─╌╴╶━▔▁⎺⎽", "-"),
    **dict.fromkeys("│╎┃║▏▕▌▐▎▊", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛╔╗╚╝", "+"),
    **dict.fromkeys("█▀▄▆▇▅▃▂║", "#"),
    "═": "=",
    "━": "=",
    "┃": "#",
    "▁": "_",
    "▔": "-",
    "▶": ">",
    "◀": "<",
    "▼": "v",
    "▲": "^",
    "→": ">",
    "←": "<",
    "↓": "v",
    "↑": "^",
    "⇄": "=",
    "…": "~",
    "·": ".",
    "•": "*",
    "×": "x",
    "–": "-",
    "—": "-",
    "µ": "u",
    "°": " ",
    "\u00a0": " ",
    "●": "O",
    "◌": "o",
    "◆": "!",
    "✖": "X",
    "◐": "D",
    "✓": "+",
    "✗": "x",
    "⊘": "#",
    "ϟ": "%",
    "╵": "'",
    "‖": "=",
    "◑": "%",
    "▸": ">",
    "▾": "v",
    "↻": "@",
}


@lru_cache(256)
def _ascii_char(char: str) -> str:
    return char if char.isascii() else _ASCII.get(char) or "?" * cell_len(char)


def ascii_only(text: str) -> str:
    """The text in as many cells, without anything a plain terminal could not show."""
    return text if text.isascii() else "".join(map(_ascii_char, text))


def changed_cells(old: Sequence[Run], new: Sequence[Run], width: int) -> tuple[int, int]:
    """The cells from the first to beyond the last that differ between two lines drawn in `width` cells.

    Over a slow link what is sent counts: of a line of the table, mostly one number changes.
    """
    first = _same_cells(old, new, reverse=False)
    length = width_of(old)
    if length != width_of(new):
        return first, width
    return min(first, width), min(width, max(first, length - _same_cells(old, new, reverse=True)))


def _same_cells(old: Sequence[Run], new: Sequence[Run], *, reverse: bool) -> int:
    """Cells that two lines have in common at their beginning, or at their end."""
    step = -1 if reverse else 1
    cells = 0
    for (one, style), (other, other_style) in zip(old[::step], new[::step], strict=False):
        if style != other_style:
            break
        if one == other:
            cells += cell_len(one)
            continue
        pairs = zip(one[::step], other[::step], strict=False)
        same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
        part = one[len(one) - same :] if reverse else one[:same]
        return cells + cell_len(part)
    return cells


def printable(text: str) -> str:
    """The text without control characters: what a worker tells must not steer the terminal."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
