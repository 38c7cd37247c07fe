"""Dialogs that ask before something happens to traffic. What they say of the effect stays true while they are open."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask. `typed` must be typed before yes counts; `extra` is a second, harder way to say yes.

    `careful`: the cursor stands on Cancel, so that a stray Enter does nothing.
    """

    title: str
    lines: tuple[str, ...]
    yes: str
    typed: str = ""
    extra: str = ""
    careful: bool = False


class Confirm(ModalScreen[str | None]):
    """Asks; the answer is `yes`, `extra`, or None. `again` makes the question anew, as things stand by then."""

    BINDINGS: ClassVar = [
        Binding("escape,n", "dismiss(None)", "No"),
        Binding("y", "say('yes')", "Yes"),
        Binding("exclamation_mark", "say('extra')", "Now"),
        Binding("left,h", "app.focus_previous", show=False),
        Binding("right,l", "app.focus_next", show=False),
    ]

    def __init__(self, question: Question, again: Callable[[], Question | None] = lambda: None) -> None:
        super().__init__()
        self.question = question
        self._again = again

    def compose(self) -> ComposeResult:
        question = self.question
        with Vertical(id="dialog"):
            yield Label(question.title, classes="title", markup=False)
            yield Label("\n".join(question.lines), id="effect", markup=False)
            if question.typed:
                yield Label(f"Type {question.typed} to go on:", classes="warning", markup=False)
                yield Input(id="typed", compact=True)
            yield Label("", id="problem", classes="problem", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(f"{question.yes} (y)", variant="error", id="yes", compact=True)
                if question.extra:
                    yield Button(f"{question.extra} (!)", variant="error", id="extra", compact=True)
                yield Button("Cancel (Esc)", id="no", compact=True)

    def on_mount(self) -> None:
        self._choose()

    def _choose(self) -> None:
        question = self.question
        self.query_one("#typed" if question.typed else "#no" if question.careful else "#yes").focus()

    async def look_again(self) -> None:
        """Tell what the act would mean now, if that changed."""
        asked, now = self.question, self._again()
        if now is None or now == asked:
            return
        self.question = now
        if now.typed == asked.typed:
            self.query_one("#effect", Label).update("\n".join(now.lines))
        else:  # it has become the last one, or is no longer
            await self.recompose()
            self._choose()

    def on_input_submitted(self) -> None:
        self.action_say("yes")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "no":
            self.dismiss(None)
        else:
            self.action_say(event.button.id or "yes")

    def action_say(self, answer: str) -> None:
        """Answer, unless something must be typed first."""
        wanted = self.question.typed
        if answer == "extra" and not self.question.extra:
            return
        if wanted and self.query_one("#typed", Input).value.strip() != wanted:
            self.query_one("#problem", Label).update(f"type {wanted} first: there is nobody else for its requests")
            self.query_one("#typed").focus()
            return
        self.dismiss(answer)
