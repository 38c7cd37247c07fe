"""The form for a new tokenizer; what is wrong is said at the field, and nothing typed is lost."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label

from gateway.errors import BadRequest
from gateway.tokenizers.commands import AddTokenizer
from gateway.tokenizers.places import place_of

FIELDS = (
    ("name", "Name", "what requests call the model"),
    ("source", "Source", "a directory, a tokenizer.json, or owner/name at HuggingFace"),
    ("chat_template", "Template", "a .jinja file instead of the model's own; may be empty"),
)


class AddTokenizerForm(ModalScreen[AddTokenizer | None]):
    """Asks for a tokenizer; what is wrong is said at the field."""

    BINDINGS: ClassVar = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("ctrl+s", "submit", "Add"),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label("Add a tokenizer", classes="title")
            for name, title, hint in FIELDS:
                with Horizontal(classes="field"):
                    yield Label(title)
                    yield Input(placeholder=hint, id=name, compact=True)
                yield Label("", id=f"problem-{name}", classes="problem", markup=False)
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
        """Give the command, or say what is wrong at its field. What only the gateway can tell comes after."""
        for name, _, _ in FIELDS:
            self._problem(name, "")
        command = AddTokenizer(*(self.query_one(f"#{name}", Input).value.strip() for name, _, _ in FIELDS))
        try:
            if not command.name:
                raise BadRequest("name: missing; expected what requests call the model", field="name")
            place_of(command.source, command.chat_template or None)
        except BadRequest as error:
            at = {"chat_template_path": "chat_template"}.get(error.field or "", error.field or "source")
            self._problem(at, error.message)
            self.query_one(f"#{at}", Input).focus()
        else:
            self.dismiss(command)

    def _problem(self, name: str, text: str) -> None:
        label = self.query_one(f"#problem-{name}", Label)
        label.update(text)
        label.set_class(bool(text), "-said")
