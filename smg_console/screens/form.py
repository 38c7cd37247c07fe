"""A dialog of fields that makes a command of them; what is wrong is said at the field, and nothing typed is lost."""

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label

from gateway.errors import BadRequest

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Field:
    """`name` is what errors call it."""

    name: str
    title: str
    hint: str
    secret: bool = False


class Form(ModalScreen[Made | None], Generic[Made]):
    """Asks for FIELDS, of which the last resort for complaints is the one called MAIN; the answer is what `made`
    makes of them, or None."""

    HEADING: ClassVar[str]
    FIELDS: ClassVar[tuple[Field, ...]]
    MAIN: ClassVar[str]
    BINDINGS: ClassVar = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("ctrl+s", "submit", "Add"),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def made(self) -> Made:
        """What the fields say. Raises BadRequest that names the field."""
        raise NotImplementedError

    def value(self, name: str) -> str:
        """What was typed in a field."""
        return self.query_one(f"#{name}", Input).value.strip()

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label(self.HEADING, classes="title")
            for field in self.FIELDS:
                with Horizontal(classes="field"):
                    yield Label(field.title)
                    yield Input(placeholder=field.hint, id=field.name, password=field.secret, compact=True)
                yield Label("", id=f"problem-{field.name}", classes="problem", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Add (Enter)", variant="primary", id="yes", compact=True)
                yield Button("Cancel (Esc)", id="no", compact=True)

    def on_input_submitted(self) -> None:
        self.action_submit()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_submit()
        else:
            self.dismiss(None)

    def action_submit(self) -> None:
        """Answer, or say what is wrong at its field."""
        names = [field.name for field in self.FIELDS]
        for name in names:
            self._problem(name, "")
        try:
            made = self.made()
        except BadRequest as error:
            at = error.field if error.field in names else self.MAIN
            self._problem(at, error.message)
            self.query_one(f"#{at}", Input).focus()
        else:
            self.dismiss(made)

    def _problem(self, name: str, text: str) -> None:
        label = self.query_one(f"#problem-{name}", Label)
        label.update(text)
        label.set_class(bool(text), "-said")
