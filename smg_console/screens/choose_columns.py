"""The dialog in which one chooses and orders the columns of the fleet table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label

from smg_console.plane import WorkerRow
from smg_console.present.columns import COLUMNS, column_of, names_known
from smg_console.present.runs import Line, fit
from smg_console.widgets.rows import Rows


@dataclass(frozen=True, slots=True)
class Choice:
    name: str
    shown: bool


class ColumnList(Rows[Choice]):
    """The columns in their order, those that are not shown last."""

    BINDINGS: ClassVar = [
        Binding("space", "show", "Show or hide", show=False),
        Binding("J,shift+down", "shift(1)", "Further right", show=False),
        Binding("K,shift+up", "shift(-1)", "Further left", show=False),
    ]

    def __init__(self, choices: Sequence[Choice]) -> None:
        super().__init__(id="column-list")
        self.choices = tuple(choices)

    def rows(self) -> Sequence[Choice]:
        return self.choices

    def key(self, row: Choice) -> str:
        return row.name

    def line(self, row: Choice, width: int, *, selected: bool) -> Line:
        column = column_of(row.name)
        title = column.title if column is not None else row.name
        style = "" if row.shown else "muted"
        return (
            ("▸" if selected else " ", "bold accent"),
            ("[x] " if row.shown else "[ ] ", f"bold {style or 'accent'}"),
            (fit(title, 14), f"bold {style}".strip()),
            (fit(row.name, max(0, width - 19)), "muted"),
        )

    def action_show(self) -> None:
        at = self._at
        self._put([replace(c, shown=not c.shown) if n == at else c for n, c in enumerate(self.choices)])
        self.action_move(1)

    def action_open(self) -> None:
        """A second click; Enter takes the choice."""
        self.action_show()

    def action_shift(self, step: int) -> None:
        """Move the column; the cursor goes with it."""
        at, to = self._at, self._at + step
        if 0 <= to < len(self.choices):
            choices = list(self.choices)
            choices[at], choices[to] = choices[to], choices[at]
            self._put(choices)

    def usual(self) -> None:
        """The usual columns in their usual order."""
        names = [column.name for column in COLUMNS]
        rest = [choice.name for choice in self.choices if choice.name not in names]
        self._put([*(Choice(name, True) for name in names), *(Choice(name, False) for name in rest)])

    def _put(self, choices: Sequence[Choice]) -> None:
        self.choices = tuple(choices)
        self.tick()


class ChooseColumns(ModalScreen[tuple[str, ...] | None]):
    """The answer is the names of the columns in order, none of them for the usual ones; None: as before."""

    BINDINGS: ClassVar = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("enter", "done", "Done", priority=True),
        Binding("d", "usual", "The usual ones"),
    ]

    def __init__(self, shown: Sequence[str], rows: Sequence[WorkerRow]) -> None:
        super().__init__()
        others = [name for name in names_known(rows) if name not in shown]
        self._choices = [*(Choice(name, True) for name in shown), *(Choice(name, False) for name in others)]
        self._as_usual = False

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label("Columns", classes="title")
            yield ColumnList(self._choices)
            yield Label("", id="problem", classes="problem", markup=False)
            yield Label(
                "Space shows or hides, J and K move it, d takes the usual ones, Enter is done, Esc leaves all as it"
                " was. Where room is short, those at the right are left out.",
                id="keys-of-columns",
                markup=False,
            )

    def on_mount(self) -> None:
        self.list.focus()
        self.list.tick()

    @property
    def list(self) -> ColumnList:
        return self.query_one(ColumnList)

    def action_usual(self) -> None:
        self.list.usual()

    def action_done(self) -> None:
        names = tuple(choice.name for choice in self.list.choices if choice.shown)
        if not names:
            self.query_one("#problem", Label).update("a table needs at least one column")
        else:
            self.dismiss(() if names == tuple(column.name for column in COLUMNS) else names)
