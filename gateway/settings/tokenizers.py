"""What can be set about tokenizers: which is loaded at start, its chat template, and the caches.

SMG's names. One default differs: the prefix cache is on, because here it is tried on each tokenizer when that is
loaded, and gives the same ids or is off.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.errors import BadRequest
from gateway.settings.fields import setting
from gateway.tokenizers.places import place_of, template_path

GROUP = "Tokenizers"


def _source(value: str) -> str:
    try:
        return place_of(value).text
    except BadRequest:
        raise ValueError("expected a directory, a tokenizer.json, or a HuggingFace id") from None


def _template(value: str) -> str:
    try:
        return str(template_path(value))
    except BadRequest:
        raise ValueError("expected a file that ends with .jinja, .jinja2, .j2 or .json") from None


Source = Annotated[str, AfterValidator(_source)]
Bytes = Annotated[int, Field(ge=1024, le=1 << 40)]


class TokenizerSettings(BaseModel):
    """Workers that take token ids bring their tokenizer with them, and need none of this."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_path: Source | None = setting(
        None, GROUP, "Model whose tokenizer is loaded at start: a directory or a HuggingFace id.", "SOURCE"
    )
    tokenizer_path: Source | None = setting(
        None, GROUP, "Tokenizer to load instead: a directory, a tokenizer.json or a HuggingFace id.", "SOURCE"
    )
    chat_template: Annotated[str, AfterValidator(_template)] | None = setting(
        None, GROUP, "Chat template that replaces the model's own: a .jinja or .json file.", "FILE"
    )
    disable_tokenizer_autoload: bool = setting(
        False, GROUP, "Load only tokenizers that are added through the API: none at start, none for workers."
    )
    tokenizer_cache_enable_l0: bool = setting(False, GROUP, "Keep the ids of whole texts, for texts that come again.")
    tokenizer_cache_l0_max_entries: Annotated[int, Field(ge=1, le=100_000_000)] = setting(
        10_000, GROUP, "Texts kept, for each tokenizer.", "N"
    )
    tokenizer_cache_l0_max_memory: Bytes = setting(
        256 * 1024 * 1024, GROUP, "Memory for them, for each tokenizer.", "BYTES"
    )
    tokenizer_cache_enable_l1: bool = setting(
        True,
        GROUP,
        "Keep the ids of what is between special tokens, so that of a chat only what is new is tokenized "
        "(off: --no-tokenizer-cache-enable-l1).",
    )
    tokenizer_cache_l1_max_memory: Bytes = setting(
        50 * 1024 * 1024, GROUP, "Memory for it, for each tokenizer.", "BYTES"
    )
