"""The worker's state diagram as lines: boxes with counts, arrows that light up when a worker takes them.

Large form: the mission's picture in box characters, no line crossing another. Small form: one line. A lit
arrow is drawn heavy as well as coloured, so that it shows without colours, and the worker's new sign runs along it.
A state can be chosen: its box is doubled. Pure.
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
"""Cells in the order in which a worker goes through them."""


def _row(x: int, y: int, text: str) -> Path:
    return tuple((x + i, y, char) for i, char in enumerate(text))


def _column(x: int, y: int, text: str) -> Path:
    return tuple((x, y + i, char) for i, char in enumerate(text))


def _left(x: int, y: int, text: str) -> Path:
    return _row(x, y, text)[::-1]


def _up(x: int, y: int, text: str) -> Path:
    return _column(x, y, text)[::-1]


_PATHS: dict[Move, Path] = {
    (None, State.REGISTERING): _row(4, 1, "──▶"),
    (State.REGISTERING, State.READY): _row(22, 1, "──────▶"),
    (State.READY, State.UNHEALTHY): _row(44, 1, "──────▶"),
    (State.UNHEALTHY, State.READY): _left(44, 2, "◀──────"),
    (State.REGISTERING, State.FAILED): _column(14, 4, "▼"),
    (State.FAILED, State.READY): (*_row(22, 6, "─┘"), *_up(23, 3, "│││"), *_row(23, 2, "┌────▶")),
    (State.UNHEALTHY, State.FAILED): (
        *_column(62, 4, "│││││"),
        *_left(25, 9, "└" + "─" * 36 + "┘"),
        (25, 8, "│"),
        *_left(22, 7, "◀──┐"),
    ),
    (State.READY, State.DRAINING): _column(33, 4, "▼"),
    (State.DRAINING, State.READY): _column(39, 4, "▲"),
    (State.UNHEALTHY, State.DRAINING): (*_column(54, 4, "││"), *_left(44, 6, "◀─────────┘")),
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
_DOUBLE = str.maketrans("─│┌┐└┘", "═║╔╗╚╝")
_TALL = 4
_ACROSS = {
    State.REGISTERING: State.FAILED,
    State.FAILED: State.REGISTERING,
    State.READY: State.DRAINING,
    State.DRAINING: State.READY,
    State.UNHEALTHY: State.DRAINING,
}

Cells = dict[tuple[int, int], Run]


def arrow_of(move: Move) -> Move:
    """The arrow that a move lights."""
    return _SAME_ARROW.get(move, move)


def large(
    counts: Mapping[State, int],
    lit: Collection[Move] | Mapping[Move, float],
    below: Mapping[State, str] | None = None,
    chosen: State | None = None,
) -> list[Line]:
    """The picture, `HEIGHT` lines of `WIDTH` cells. `lit` arrows shine; of a mapping, the worker's sign is at that
    share of the way. `below` is what stands in the boxes instead of the counts. `chosen` has a doubled box."""
    cells: Cells = {}
    for state, (x, y) in _PLACES.items():
        text = below.get(state, "") if below is not None else str(counts.get(state, 0))
        _draw_box(cells, x, y, state, text, lively=bool(counts.get(state)))
        if below is None:
            cells[x + 2, y] = (str(number_of(state)), "muted")
        if state is chosen:
            _double(cells, x, y)
    for move, path in _PATHS.items():
        style = f"bold {move[1].value}" if move in lit else "muted"
        for x, y, char in path:
            cells[x, y] = (char.translate(_HEAVY) if move in lit else char, style)
        if move in lit and isinstance(lit, Mapping):
            x, y, _ = path[min(len(path) - 1, int(lit[move] * len(path)))]
            cells[x, y] = (GLYPHS[move[1]], style)
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


def _double(cells: Cells, x: int, y: int) -> None:
    for dy in range(_TALL):
        for dx in range(BOX):
            if dx in (0, BOX - 1) or dy in (0, _TALL - 1):
                char, _ = cells[x + dx, y + dy]
                cells[x + dx, y + dy] = (char.translate(_DOUBLE), "bold accent")


# --- choosing a state ---


def number_of(state: State) -> int:
    """The key that chooses it."""
    return LISTED_STATES.index(state) + 1


def beside(state: State | None, step: int) -> State:
    """The next or the previous one, in the order of their numbers; None: the first or the last."""
    if state not in LISTED_STATES:
        return LISTED_STATES[0 if step > 0 else -1]
    return LISTED_STATES[(LISTED_STATES.index(state) + step) % len(LISTED_STATES)]


def across(state: State | None) -> State:
    """The one above or below it in the large form."""
    return _ACROSS.get(state, State.READY) if state is not None else State.READY


def state_at(x: int, y: int) -> State | None:
    """The state whose box is at this cell of the large form."""
    return next((s for s, (left, top) in _PLACES.items() if left <= x < left + BOX and top <= y < top + _TALL), None)


def state_in_line(line: Line, x: int) -> State | None:
    """The state at this cell of the small form."""
    end = 0
    for text, _ in line:
        end += width_of([(text, "")])
        if x < end:
            return next((state for state in LISTED_STATES if GLYPHS[state] in text), None)
    return None


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


def small(counts: Mapping[State, int], lit: Collection[Move], width: int, chosen: State | None = None) -> Line:
    """The states in one line, in the order of a worker's life; a state just entered is reversed, the chosen one
    in brackets."""
    for names, gone in ((_FULL, "gone"), (_FULL, GLYPHS[State.GONE]), (_SHORT, "gone"), (_NONE, GLYPHS[State.GONE])):
        line = _in_a_row(counts, lit, names, gone, chosen)
        if width_of(line) <= width:
            break
    return cut(line, width)


def _in_a_row(
    counts: Mapping[State, int], lit: Collection[Move], names: Mapping[State, str], gone: str, chosen: State | None
) -> Line:
    entered = {new for _, new in lit}
    runs: list[Run] = []
    for state in LISTED_STATES:
        count = counts.get(state, 0)
        style = f"bold reverse {state.value}" if state in entered else f"bold {state.value}" if count else "muted"
        text = f"{GLYPHS[state]} {names[state]} {count}".replace("  ", " ")
        before, after = _BEFORE.get(state, " "), " "
        if state is chosen:
            before, text, after = before[:-1], f"[{text}]", ""
            style = style.replace("muted", "bold accent")
        runs += [(before, "muted"), (text, style), (after, "")]
    return (*runs, ("→ ", "muted"), (gone, "bold reverse gone" if State.GONE in entered else "muted"))
