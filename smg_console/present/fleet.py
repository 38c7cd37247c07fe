"""The lines of the fleet table: its head, a worker, and the head of a group. Pure."""

from gateway.workers.model import LISTED_STATES
from smg_console.plane import WorkerRow
from smg_console.present.arranging import Head
from smg_console.present.columns import BY_KEY, COLUMNS, Column, Shown, column_of, short_model, shown_columns
from smg_console.present.fields import why_of as why
from smg_console.present.runs import Line, Run, cut, fit, width_of
from smg_console.present.states import GLYPHS

__all__ = [
    "BY_KEY",
    "COLUMNS",
    "Column",
    "Shown",
    "column_of",
    "head_line",
    "header",
    "row_line",
    "short_model",
    "shown_columns",
    "why",
]

_STATUS = 24
"""Room from which on the rest of the line tells why a worker is as it is."""
MARK = "•"
OPEN, FOLDED = "▾", "▸"


def header(columns: Shown, sort: str, reverse: bool, width: int, at: str = "") -> Line:
    """The head of the table, with an arrow at the column that sorts; `at`: the one under the column cursor."""
    runs: list[Run] = []
    for column, cells in columns:
        sorts = column.name == sort
        arrow = ("▼" if reverse else "▲") if sorts else ""
        title = arrow + column.title if column.right else column.title + arrow
        # The gap before a column belongs to it, which gives the arrow its room.
        text = fit(title, cells + 1, right=True) if column.right else " " + fit(title, cells)
        style = "bold accent" if sorts else "bold muted"
        if column.name == at:
            runs += [(text[:1], style), (text[1:], f"reverse {style}")]
        else:
            runs.append((text, style))
    if width - width_of(runs) >= _STATUS:
        runs.append(("  Why", "bold muted"))
    return cut(runs, width)


def column_at(columns: Shown, x: int) -> Column | None:
    """The column whose head is at this cell."""
    end = 0
    for column, cells in columns:
        end += cells + 1
        if x < end:
            return column
    return None


def row_line(
    row: WorkerRow,
    columns: Shown,
    now: float,
    width: int,
    *,
    selected: bool,
    marked: bool = False,
    indent: bool = False,
) -> Line:
    """A worker's line. A mark stands before the second column, right beside what is mostly the name."""
    runs: list[Run] = []
    for n, (column, cells) in enumerate(columns):
        text, style = column.text(row, now)
        fitted = fit(text, cells, right=True) if column.right else column.shorten(text, cells)
        gap = "▸" if selected and not runs else MARK if marked and n == min(1, len(columns) - 1) else " "
        runs += [(gap, "bold warning" if gap == MARK else "bold accent"), (fitted, style)]
    if width - width_of(runs) >= _STATUS:
        runs.append((f"  {why(row)}", "muted"))
    return cut(runs, width)


def head_line(head: Head, columns: Shown, width: int, *, selected: bool, marked: int = 0) -> Line:
    """The head of a group: its name and counts over the columns of words, totals under those of numbers."""
    first = next((n for n, (column, _) in enumerate(columns) if column.right), len(columns))
    before = sum(cells + 1 for _, cells in columns[:first])
    if before < _STATUS:
        return cut(_name_of(head, marked, selected=selected), width)
    runs = list(cut(_name_of(head, marked, selected=selected), before))
    for column, cells in columns[first:]:
        text, style = column.total(head.totals) if column.total is not None else ("", "")
        runs += [(" ", ""), (fit(text, cells, right=True), f"bold {style}".strip())]
    return cut(runs, width)


def _name_of(head: Head, marked: int, *, selected: bool) -> list[Run]:
    totals = head.totals
    runs: list[Run] = [
        ("▸" if selected else " ", "bold accent"),
        (FOLDED if head.folded else OPEN, "bold accent"),
        (f" {head.title} ", "bold"),
        (f"{totals.workers} ", "muted"),
    ]
    present = [state for state in LISTED_STATES if totals.states[state]]
    runs += [(f" {GLYPHS[state]}{totals.states[state]}", state.value) for state in present]
    if marked:
        runs.append((f" {MARK}{marked}", "bold warning"))
    return runs
