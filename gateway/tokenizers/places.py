"""Where a tokenizer may come from: a directory or file, a HuggingFace id, a worker. Values; `loading` goes there."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import BadRequest

LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Named:
    """A path here if there is one, else the id of a HuggingFace repository (`name`, `owner/name`, `…@revision`)."""

    text: str
    template: Path | None = None
    """A chat template that replaces the model's own."""

    def __str__(self) -> str:
        return self.text

    @property
    def is_path(self) -> bool:
        """Whether it can be nothing but a path."""
        return self.text.startswith(("/", ".", "~"))


@dataclass(frozen=True, slots=True)
class FromWorker:
    """What a worker sends of itself: a zip of the model's files, in pieces."""

    worker: str
    """Its URL or name."""
    archive: Callable[[], AsyncGenerator[bytes, None]] = field(compare=False)
    """Raises GatewayError where the worker fails; what came is used only once it has ended well."""
    sha256: str | None = None
    """None: whoever gives the pieces has checked them."""
    template: Path | None = None

    def __str__(self) -> str:
        return self.worker


Place = Named | FromWorker


def place_of(text: str, template: str | Path | None = None) -> Named:
    """The place a user named. Raises BadRequest."""
    if not text.strip() or len(text) > LONGEST or not text.isprintable():
        raise BadRequest(
            f"source: given {text[:80]!r}, expected a directory, a tokenizer.json, or a HuggingFace id", field="source"
        )
    return Named(text, template_path(template) if template else None)


def template_path(template: str | Path) -> Path:
    """The path of a chat template. Raises BadRequest: a template's text reaches whoever asks for a prompt, so no
    other files are taken for one."""
    path = Path(template)
    if path.suffix not in (".jinja", ".jinja2", ".j2", ".json") or not str(template).isprintable():
        raise BadRequest(
            f"chat_template_path: given {str(template)[:200]!r}, expected a file that ends with .jinja, .jinja2, .j2 "
            "or .json",
            field="chat_template_path",
        )
    return path
