"""The `:` line at the bottom of the screen: a command with completion and a history. What it means is
`present.commands`'s; here it is only typed."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Label

from smg_console.present import commands
from smg_console.present.commands import Asked, CommandError, Known
from smg_console.present.completion import hint_line
from smg_console.present.runs import Line
from smg_console.widgets.line_edit import Hint, LineEdit


class CommandLine(ModalScreen[tuple[str, Asked] | None]):
    """Asks for a command; the answer is the line and what it means, or None. `check` may refuse what is asked."""

    BINDINGS: ClassVar = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("up", "history(-1)", "Earlier", show=False),
        Binding("down", "history(1)", "Later", show=False),
    ]

    def __init__(
        self, known: Callable[[], Known], history: Sequence[str], check: Callable[[Asked], None], *, start: str = ""
    ) -> None:
        super().__init__()
        self._known = known
        self._history = history
        self._check = check
        self._start = start
        self._at = len(history)
        self._typed = ""
        self._problem = ""

    def compose(self) -> ComposeResult:
        with Vertical(id="command-box"):
            yield Hint(self._hint, id="command-hint")
            with Horizontal(id="command-row"):
                yield Label(":", id="colon")
                yield LineEdit(
                    placeholder="drain model:llama max=2   filter state:unhealthy   sort p99   go events",
                    id="command",
                    complete=lambda text: commands.candidates(text, self._known()),
                )

    def on_mount(self) -> None:
        self.line.put(self._start)
        self.line.focus()

    @property
    def line(self) -> LineEdit:
        return self.query_one("#command", LineEdit)

    def _hint(self, width: int) -> Line:
        typed = self.line.value
        found = self.line.candidates() if typed.strip() and not self._problem else ()
        return hint_line(self._problem, found, commands.hint(typed), width)

    def on_input_changed(self) -> None:
        self._problem = ""
        self.query_one(Hint).tick()

    def on_input_submitted(self) -> None:
        typed = self.line.value.strip().removeprefix(":").strip()
        if not typed:
            self.dismiss(None)
            return
        try:
            asked = commands.understood(typed, self._known())
            self._check(asked)
        except CommandError as error:
            self._problem = str(error)
            self.query_one(Hint).tick()
        else:
            self.dismiss((typed, asked))

    def action_history(self, step: int) -> None:
        """What was typed before; beyond the newest is the line that was being typed."""
        if self._at == len(self._history):
            self._typed = self.line.value
        self._at = max(0, min(self._at + step, len(self._history)))
        self.line.put(self._history[self._at] if self._at < len(self._history) else self._typed)
