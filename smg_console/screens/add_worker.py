"""The form for a new worker; what is wrong is said at the field, and nothing typed is lost."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label

from gateway.errors import BadRequest
from gateway.operations import Add, checked_spec
from gateway.workers.model import ModelCard, Secret, Source, WorkerSpec

FIELDS = (
    ("url", "URL", "http://host:8000"),
    ("model", "Model", "empty: ask the worker"),
    ("api_key", "API key", "for probes, and for requests that carry none"),
    ("labels", "Labels", "rack=b7 tier=gold"),
    ("priority", "Priority", "0 to 100, 50 if empty"),
)


class AddWorker(ModalScreen[Add | None]):
    """Asks for a worker's spec; the answer is the command, or None."""

    BINDINGS: ClassVar = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("ctrl+s", "submit", "Add"),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label("Add a worker", classes="title")
            for name, title, hint in FIELDS:
                with Horizontal(classes="field"):
                    yield Label(title)
                    yield Input(placeholder=hint, id=name, password=name == "api_key", compact=True)
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
        """Give the command, or say what is wrong at its field."""
        for name, _, _ in FIELDS:
            self._problem(name, "")
        try:
            spec = self._spec()
        except BadRequest as error:
            at = error.field if error.field in {name for name, _, _ in FIELDS} else "url"
            self._problem(at or "url", error.message)
            self.query_one(f"#{at}", Input).focus()
        else:
            self.dismiss(Add(spec))

    def _problem(self, name: str, text: str) -> None:
        label = self.query_one(f"#problem-{name}", Label)
        label.update(text)
        label.set_class(bool(text), "-said")

    def _value(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _spec(self) -> WorkerSpec:
        priority = self._value("priority") or "50"
        if not priority.isascii() or not priority.isdigit():
            raise BadRequest(f"priority: given {priority!r}, expected a whole number from 0 to 100", field="priority")
        model, key = self._value("model"), self._value("api_key")
        spec = WorkerSpec(
            url=self._value("url"),
            models=(ModelCard(model),) if model else (),
            labels=labels_of(self._value("labels")),
            priority=int(priority),
            api_key=Secret(key) if key else None,
            source=Source.CONSOLE,
        )
        return checked_spec(spec)


def labels_of(text: str) -> dict[str, str]:
    """`rack=b7, tier=gold` as labels. Raises BadRequest."""
    labels: dict[str, str] = {}
    for word in text.replace(",", " ").split():
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise BadRequest(f"labels: given {word!r}, expected name=value", field="labels")
        labels[name] = value
    return labels
