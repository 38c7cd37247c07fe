"""The worker's state diagram as lines: boxes with counts, arrows that light up when a worker takes them.

Large form: the mission's picture in box characters. Small form: one line. Pure.
"""

from collections.abc import Collection, Mapping

from gateway.workers.model import LISTED_STATES, State
from smg_console.present.runs import Line, Run
from smg_console.present.states import GLYPHS

Move = tuple[State | None, State]
"""From (None: newly added) and to."""

BOX = 15
WIDTH, HEIGHT = 77, 9
_PLACES = {
    State.REGISTERING: (8, 0),
    State.READY: (31, 0),
    State.UNHEALTHY: (54, 0),
    State.FAILED: (8, 5),
    State.DRAINING: (31, 5),
}

Path = tuple[tuple[int, int, str], ...]


def _row(x: int, y: int, text: str) -> Path:
    return tuple((x + i, y, char) for i, char in enumerate(text) if char != " ")


_PATHS: dict[Move, Path] = {
    (None, State.REGISTERING): _row(0, 1, "add ──▶"),
    (State.REGISTERING, State.READY): _row(23, 1, "───────▶"),
    (State.READY, State.UNHEALTHY): _row(46, 1, "───────▶"),
    (State.UNHEALTHY, State.READY): _row(46, 2, "◀───────"),
    (State.REGISTERING, State.FAILED): ((15, 4, "▼"),),
    (State.FAILED, State.READY): (
        *_row(23, 6, "───┘"),
        (26, 5, "│"),
        (26, 4, "│"),
        (26, 3, "│"),
        *_row(26, 2, "┌───▶"),
    ),
    (State.READY, State.DRAINING): ((36, 4, "▼"),),
    (State.DRAINING, State.READY): ((40, 4, "▲"),),
    (State.UNHEALTHY, State.DRAINING): ((61, 4, "│"), (61, 5, "│"), *_row(46, 6, "◀──────────────┘")),
    (State.DRAINING, State.GONE): _row(46, 7, "───────▶ gone"),
}
_SAME_ARROW: dict[Move, Move] = {
    (State.UNHEALTHY, State.FAILED): (State.REGISTERING, State.FAILED),
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


def arrow_of(move: Move) -> Move:
    """The arrow that a move lights."""
    return _SAME_ARROW.get(move, move)


def large(
    counts: Mapping[State, int], lit: Collection[Move], here: State | None = None, width: int = WIDTH
) -> list[Line]:
    """The picture, `HEIGHT` lines. `lit` arrows shine; `here` marks one box (where a worker stands)."""
    cells: dict[tuple[int, int], Run] = {}
    for state, (x, y) in _PLACES.items():
        _draw_box(cells, x, y, state, counts.get(state, 0), marked=state is here)
    for move, path in _PATHS.items():
        style = f"bold {move[1].value}" if move in lit else "border"
        for x, y, char in path:
            cells[x, y] = (char, style if char.isalpha() is False or move in lit else "muted")
    return [_line(cells, y, width) for y in range(HEIGHT)]


def _draw_box(cells: dict[tuple[int, int], Run], x: int, y: int, state: State, count: int, *, marked: bool) -> None:
    inner = BOX - 2
    style = state.value if count or marked else "border"
    text = f"{GLYPHS[state]} {state.value}"
    rows = (
        ("┌" + "─" * inner + "┐", style),
        ("│" + text.center(inner) + "│", f"bold {state.value}" if count or marked else "muted"),
        (
            "│" + (f"{count}" if not marked else "▲ here").center(inner) + "│",
            f"bold {state.value}" if count or marked else "muted",
        ),
        ("└" + "─" * inner + "┘", style),
    )
    for dy, (row, row_style) in enumerate(rows):
        for dx, char in enumerate(row):
            cells[x + dx, y + dy] = (char, style if char == "│" else row_style)


def _line(cells: Mapping[tuple[int, int], Run], y: int, width: int) -> Line:
    runs: list[Run] = []
    for x in range(width):
        char, style = cells.get((x, y), (" ", ""))
        if runs and runs[-1][1] == style:
            runs[-1] = (runs[-1][0] + char, style)
        else:
            runs.append((char, style))
    return tuple(runs)


def small(counts: Mapping[State, int], lit: Collection[Move], width: int) -> Line:
    """The states in one line, in the order of a worker's life; a state just entered shines."""
    runs: list[Run] = []
    short = width < 76
    entered = {new for _, new in lit}
    for state in LISTED_STATES:
        count = counts.get(state, 0)
        style = state.value if count else "muted"
        if state in entered:
            style = f"bold reverse {state.value}"
        between = {State.READY: " → ", State.UNHEALTHY: " ⇄ ", State.FAILED: "  ", State.DRAINING: "  "}
        if state in between:
            runs.append((between[state], "border"))
        name = state.value[:5] if short else state.value
        runs.append((f"{GLYPHS[state]} {name} {count}", style))
    runs.append((" → gone", "bold reverse gone" if State.GONE in entered else "border"))
    return tuple(runs)
