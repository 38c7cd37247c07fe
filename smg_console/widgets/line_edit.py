"""A line one types in, with completion: Tab takes what all candidates share, then goes through them.

And the hint beneath it: what is wrong with the line, or what may come next.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding
from textual.widgets import Input

from smg_console.present.completion import shared_beginning
from smg_console.present.runs import Line
from smg_console.widgets.panel import Panel

Complete = Callable[[str], Sequence[str]]


class LineEdit(Input):
    """An input of one line. `complete` gives the whole texts that what is typed may become."""

    BINDINGS: ClassVar = [
        Binding("tab", "complete(1)", "Complete", show=False),
        Binding("shift+tab", "complete(-1)", "Complete", show=False),
    ]

    def __init__(self, *, placeholder: str, id: str, complete: Complete) -> None:  # noqa: A002 - Textual's name
        super().__init__(placeholder=placeholder, id=id, compact=True)
        self._complete = complete
        self._candidates: Sequence[str] = ()
        self._at = -1
        self._put = ""

    def candidates(self) -> Sequence[str]:
        """What Tab goes through at present."""
        return self._candidates if self.value == self._put and self._candidates else self._complete(self.value)

    def put(self, text: str) -> None:
        """Put a text in, with the cursor at its end."""
        self.value = text
        self.cursor_position = len(text)

    def action_complete(self, step: int) -> None:
        """What all candidates share; where that is there already, the next of them."""
        if self.value != self._put or not self._candidates:
            self._candidates, self._at = self._complete(self.value), -1
            if not self._candidates:
                return
            shared = shared_beginning(self._candidates)
            if len(self._candidates) > 1 and len(shared) > len(self.value):
                self._candidates = ()
                self.put(shared)
                return
        at = max(self._at, 0) if step < 0 else self._at  # backwards one begins at the last
        self._at = (at + step) % len(self._candidates)
        self._put = self._candidates[self._at]
        if len(self._candidates) == 1:
            self._candidates = ()
        self.put(self._put)


class Hint(Panel):
    """One line beneath: `told` gives it, as an error or as what may come next."""

    def __init__(self, told: Callable[[int], Line], *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._told = told

    def draw(self, width: int, height: int) -> Sequence[Line]:
        return [self._told(width)]
