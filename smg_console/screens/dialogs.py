"""Dialogs: adding a worker, and asking before something happens to traffic."""

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label

from gateway.errors import GatewayError
from gateway.operations import Add, checked_spec
from gateway.workers.model import ModelCard, Secret, Source, WorkerSpec


class AddWorker(ModalScreen[Add | None]):
    """A form for a new worker; what is wrong is said at the field, and nothing typed is lost."""

    BINDINGS: ClassVar = [Binding("escape", "cancel", "Cancel"), Binding("ctrl+s", "submit", "Add")]
    FIELDS = (
        ("url", "URL", "http://host:8000"),
        ("model", "Model", "leave empty to ask the worker"),
        ("api_key", "API key", "sent with probes, and with requests that carry none"),
        ("labels", "Labels", "rack=b7 tier=gold"),
        ("priority", "Priority", "0 to 100, 50 if empty"),
    )

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label("Add a worker", classes="title")
            for name, title, hint in self.FIELDS:
                with Horizontal(classes="field"):
                    yield Label(title)
                    yield Input(placeholder=hint, id=name, password=name == "api_key", compact=True)
            yield Label("", id="problem")
            with Horizontal(classes="buttons"):
                yield Button("Add", variant="primary", id="yes", compact=True)
                yield Button("Cancel", id="no", compact=True)

    def on_input_submitted(self) -> None:
        self.action_submit()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_submit()
        else:
            self.action_cancel()

    def action_cancel(self) -> None:
        self.dismiss(None)

    def action_submit(self) -> None:
        try:
            spec = self._spec()
        except GatewayError as error:
            self._complain(error.field or "url", error.message)
        except _FieldError as error:
            self._complain(error.field, str(error))
        else:
            self.dismiss(Add(spec))

    def _complain(self, field: str, text: str) -> None:
        self.query_one("#problem", Label).update(text)
        if field in {name for name, _, _ in self.FIELDS}:
            self.query_one(f"#{field}", Input).focus()

    def _value(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _spec(self) -> WorkerSpec:
        priority = self._value("priority") or "50"
        if not priority.isascii() or not priority.isdigit():
            raise _FieldError("priority", f"priority: given {priority!r}, expected a whole number from 0 to 100")
        model, key = self._value("model"), self._value("api_key")
        spec = WorkerSpec(
            url=self._value("url"),
            models=(ModelCard(model),) if model else (),
            labels=self._labels(),
            priority=int(priority),
            api_key=Secret(key) if key else None,
            source=Source.CONSOLE,
        )
        return checked_spec(spec)

    def _labels(self) -> dict[str, str]:
        labels: dict[str, str] = {}
        for word in self._value("labels").replace(",", " ").split():
            name, equals, value = word.partition("=")
            if not equals or not name:
                raise _FieldError("labels", f"labels: given {word!r}, expected name=value")
            labels[name] = value
        return labels


class _FieldError(Exception):
    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask. `typed` must be typed before yes counts; `extra` is a second, harder way to say yes."""

    title: str
    lines: tuple[str, ...]
    yes: str
    typed: str = ""
    extra: str = ""


class Confirm(ModalScreen[str | None]):
    """Asks; the answer is `yes`, `extra`, or None."""

    BINDINGS: ClassVar = [
        Binding("escape,n", "answer(None)", "No"),
        Binding("y", "say('yes')", "Yes"),
        Binding("left,h", "app.focus_previous", show=False),
        Binding("right,l", "app.focus_next", show=False),
    ]

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        question = self.question
        with Vertical(id="dialog"):
            yield Label(question.title, classes="title", markup=False)
            for line in question.lines:
                yield Label(line, markup=False)
            if question.typed:
                yield Label(f"Type {question.typed} to go on:", classes="warning", markup=False)
                yield Input(id="typed", compact=True)
            yield Label("", id="problem")
            with Horizontal(classes="buttons"):
                yield Button(question.yes, variant="error", id="yes", compact=True)
                if question.extra:
                    yield Button(question.extra, variant="error", id="extra", compact=True)
                yield Button("Cancel", id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one("#typed" if self.question.typed else "#yes").focus()

    def on_input_submitted(self) -> None:
        self.action_say("yes")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "no":
            self.dismiss(None)
        else:
            self.action_say(event.button.id or "yes")

    def action_answer(self, _answer: str | None) -> None:
        self.dismiss(None)

    def action_say(self, answer: str) -> None:
        wanted = self.question.typed
        if wanted and self.query_one("#typed", Input).value.strip() != wanted:
            self.query_one("#problem", Label).update(f"type {wanted} first: there is nobody else for its requests")
            self.query_one("#typed").focus()
            return
        self.dismiss(answer)
