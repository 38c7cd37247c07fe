"""The worker's state diagram as lines: boxes with counts, arrows that light up when a worker takes them.

Large form: the mission's picture in box characters, no line crossing another. Small form: one line. A lit
arrow is drawn heavy as well as coloured, so that it shows without colours. Pure.
"""

from collections.abc import Collection, Mapping

from gateway.workers.model import LISTED_STATES, State
from smg_console.present.runs import Line, Run, cut, width_of
from smg_console.present.states import GLYPHS

Move = tuple[State | None, State]
"""From (None: newly added) and to."""

BOX = 15
WIDTH, HEIGHT = 66, 10
_PLACES = {
    State.REGISTERING: (7, 0),
    State.READY: (29, 0),
    State.UNHEALTHY: (51, 0),
    State.FAILED: (7, 5),
    State.DRAINING: (29, 5),
}

Path = tuple[tuple[int, int, str], ...]


def _row(x: int, y: int, text: str) -> Path:
    return tuple((x + i, y, char) for i, char in enumerate(text))


def _column(x: int, y: int, text: str) -> Path:
    return tuple((x, y + i, char) for i, char in enumerate(text))


_PATHS: dict[Move, Path] = {
    (None, State.REGISTERING): _row(4, 1, "──▶"),
    (State.REGISTERING, State.READY): _row(22, 1, "──────▶"),
    (State.READY, State.UNHEALTHY): _row(44, 1, "──────▶"),
    (State.UNHEALTHY, State.READY): _row(44, 2, "◀──────"),
    (State.REGISTERING, State.FAILED): _column(14, 4, "▼"),
    (State.FAILED, State.READY): (*_row(22, 6, "─┘"), *_column(23, 3, "│││"), *_row(23, 2, "┌────▶")),
    (State.UNHEALTHY, State.FAILED): (
        *_column(62, 4, "│││││"),
        *_row(25, 9, "└" + "─" * 36 + "┘"),
        (25, 8, "│"),
        *_row(22, 7, "◀──┐"),
    ),
    (State.READY, State.DRAINING): _column(33, 4, "▼"),
    (State.DRAINING, State.READY): _column(39, 4, "▲"),
    (State.UNHEALTHY, State.DRAINING): (*_column(54, 4, "││"), *_row(44, 6, "◀─────────┘")),
    (State.DRAINING, State.GONE): _row(44, 7, "──▶"),
}
_WORDS: dict[tuple[int, int, str], Move] = {
    (0, 1, "add"): (None, State.REGISTERING),
    (48, 7, "gone"): (State.DRAINING, State.GONE),
}
_SAME_ARROW: dict[Move, Move] = {
    (State.REGISTERING, State.GONE): (State.DRAINING, State.GONE),
    (State.FAILED, State.GONE): (State.DRAINING, State.GONE),
    (State.READY, State.GONE): (State.DRAINING, State.GONE),
    (State.UNHEALTHY, State.GONE): (State.DRAINING, State.GONE),
    (State.FAILED, State.REGISTERING): (None, State.REGISTERING),
    (State.UNHEALTHY, State.REGISTERING): (None, State.REGISTERING),
    (State.READY, State.REGISTERING): (None, State.REGISTERING),
    (State.DRAINING, State.REGISTERING): (None, State.REGISTERING),
    (State.REGISTERING, State.DRAINING): (State.READY, State.DRAINING),
    (State.FAILED, State.DRAINING): (State.READY, State.DRAINING),
    (State.DRAINING, State.UNHEALTHY): (State.UNHEALTHY, State.DRAINING),
}
"""Rarer moves light the arrow that is drawn for what they amount to."""
_HEAVY = str.maketrans("─│┌┐└┘", "━┃┏┓┗┛")

Cells = dict[tuple[int, int], Run]


def arrow_of(move: Move) -> Move:
    """The arrow that a move lights."""
    return _SAME_ARROW.get(move, move)


def large(
    counts: Mapping[State, int],
    lit: Collection[Move],
    below: Mapping[State, str] | None = None,
) -> list[Line]:
    """The picture, `HEIGHT` lines of `WIDTH` cells. `lit` arrows shine; `below` is what stands in the boxes instead
    of the counts."""
    cells: Cells = {}
    for state, (x, y) in _PLACES.items():
        text = below.get(state, "") if below is not None else str(counts.get(state, 0))
        _draw_box(cells, x, y, state, text, lively=bool(counts.get(state)))
    for move, path in _PATHS.items():
        style = f"bold {move[1].value}" if move in lit else "muted"
        for x, y, char in path:
            cells[x, y] = (char.translate(_HEAVY) if move in lit else char, style)
    for (x, y, word), move in _WORDS.items():
        style = f"bold {move[1].value}" if move in lit else "muted"
        for dx, char in enumerate(word):
            cells[x + dx, y] = (char, style)
    return [_line(cells, y) for y in range(HEIGHT)]


def _draw_box(cells: Cells, x: int, y: int, state: State, below: str, *, lively: bool) -> None:
    inner = BOX - 2
    edge, text = (state.value, f"bold {state.value}") if lively else ("border", "muted")
    rows = (
        ("┌" + "─" * inner + "┐", edge),
        ("│" + f"{GLYPHS[state]} {state.value}".center(inner) + "│", text),
        ("│" + below.center(inner) + "│", text),
        ("└" + "─" * inner + "┘", edge),
    )
    for dy, (row, style) in enumerate(rows):
        for dx, char in enumerate(row):
            cells[x + dx, y + dy] = (char, edge if char == "│" else style)


def _line(cells: Mapping[tuple[int, int], Run], y: int) -> Line:
    runs: list[Run] = []
    for x in range(WIDTH):
        char, style = cells.get((x, y), (" ", ""))
        if runs and runs[-1][1] == style:
            runs[-1] = (runs[-1][0] + char, style)
        else:
            runs.append((char, style))
    return tuple(runs)


_BEFORE = {State.READY: "→ ", State.UNHEALTHY: "⇄ ", State.FAILED: "→ ", State.DRAINING: " "}
_SHORT = {
    State.REGISTERING: "regist.",
    State.READY: "ready",
    State.UNHEALTHY: "unwell",
    State.FAILED: "failed",
    State.DRAINING: "drain",
}
_FULL = {state: state.value for state in LISTED_STATES}
_NONE = dict.fromkeys(LISTED_STATES, "")


def small(counts: Mapping[State, int], lit: Collection[Move], width: int) -> Line:
    """The states in one line, in the order of a worker's life; a state just entered is reversed."""
    for names, gone in ((_FULL, "gone"), (_FULL, GLYPHS[State.GONE]), (_SHORT, "gone"), (_NONE, GLYPHS[State.GONE])):
        line = _in_a_row(counts, lit, names, gone)
        if width_of(line) <= width:
            break
    return cut(line, width)


def _in_a_row(counts: Mapping[State, int], lit: Collection[Move], names: Mapping[State, str], gone: str) -> Line:
    entered = {new for _, new in lit}
    runs: list[Run] = []
    for state in LISTED_STATES:
        count = counts.get(state, 0)
        style = f"bold reverse {state.value}" if state in entered else f"bold {state.value}" if count else "muted"
        text = f"{GLYPHS[state]} {names[state]} {count}".replace("  ", " ")
        runs += [(_BEFORE.get(state, " "), "muted"), (text, style), (" ", "")]
    return (*runs, ("→ ", "muted"), (gone, "bold reverse gone" if State.GONE in entered else "muted"))
