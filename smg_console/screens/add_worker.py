"""The form for a new worker."""

from gateway.errors import BadRequest
from gateway.operations import Add, checked_spec
from gateway.workers.model import ModelCard, Secret, Source, WorkerSpec
from smg_console.screens.form import Field, Form


class AddWorker(Form[Add]):
    """Asks for a worker's spec."""

    HEADING = "Add a worker"
    FIELDS = (
        Field("url", "URL", "http://host:8000"),
        Field("model", "Model", "empty: ask the worker"),
        Field("api_key", "API key", "for probes, and for requests that carry none", secret=True),
        Field("labels", "Labels", "rack=b7 tier=gold"),
        Field("priority", "Priority", "0 to 100, 50 if empty"),
    )
    MAIN = "url"

    def made(self) -> Add:
        priority = self.value("priority") or "50"
        if not priority.isascii() or not priority.isdigit():
            raise BadRequest(f"priority: given {priority!r}, expected a whole number from 0 to 100", field="priority")
        model, key = self.value("model"), self.value("api_key")
        spec = WorkerSpec(
            url=self.value("url"),
            models=(ModelCard(model),) if model else (),
            labels=labels_of(self.value("labels")),
            priority=int(priority),
            api_key=Secret(key) if key else None,
            source=Source.CONSOLE,
        )
        return Add(checked_spec(spec))


def labels_of(text: str) -> dict[str, str]:
    """`rack=b7, tier=gold` as labels. Raises BadRequest."""
    labels: dict[str, str] = {}
    for word in text.replace(",", " ").split():
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise BadRequest(f"labels: given {word!r}, expected name=value", field="labels")
        labels[name] = value
    return labels
