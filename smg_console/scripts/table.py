"""Tables for people: aligned columns, cut to the terminal's width, whole where they go to a file. Pure."""

from collections.abc import Sequence

from rich.cells import cell_len

from smg_console.present.runs import cut_middle, fit, printable

GAP = "  "
NARROWEST = 8


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Lines, the titles first. A title that begins with `>` is of a column of numbers, aligned to the right; one
    with `*` may be narrowed where `width` cells are not enough. Nothing is cut without a width."""
    names = [title.lstrip(">*") for title in titles]
    cells = [[printable(value) for value in row] for row in rows]
    widths = [max([cell_len(name), *(cell_len(row[n]) for row in cells)]) for n, name in enumerate(names)]
    if width is not None:
        _narrow(widths, [n for n, title in enumerate(titles) if "*" in title], width)
    right = [title.startswith(">") for title in titles]
    return [_line(row, widths, right) for row in [names, *cells]]


def _narrow(widths: list[int], elastic: Sequence[int], width: int) -> None:
    """Take from the widest elastic column until all fits, or none can give any more."""
    over = sum(widths) + len(GAP) * (len(widths) - 1) - width
    while over > 0 and elastic:
        widest = max(elastic, key=lambda n: widths[n])
        if widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1
        over -= 1


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = [
        fit(value, wide, right=True) if at_right else cut_middle(value, wide)
        for value, wide, at_right in zip(row, widths, right, strict=True)
    ]
    return GAP.join(parts).rstrip()
