"""A loaded tokenizer: its engine, its templates, its special tokens. Made in a thread, shared by all who use it."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from gateway.tokenizers.detokenize import Detokenizing
from gateway.tokenizers.engine import Engine, engine_of
from gateway.tokenizers.errors import TemplateUnusable
from gateway.tokenizers.pieces import Cutter
from gateway.tokenizers.sources import ModelFiles, tokenizer_name
from gateway.tokenizers.templates import ChatTemplates
from gateway.tokenizers.trial import cutting_objections

TRIAL_SEED = 20_240_229
"""The same trial for the same file, every time."""


@dataclass(frozen=True, slots=True)
class Model:
    """What one source gave. Immutable; caches belong to whoever encodes (`gateway.tokenizers.encode`)."""

    origin: str
    engine: Engine
    cutter: Cutter
    detokenizing: Detokenizing
    prefix_off: tuple[str, ...]
    """Why its texts may not be cut, and so why it has no prefix cache; empty when they may."""
    templates: ChatTemplates | None
    """None: it has no chat template."""
    template_error: str | None
    """Why its chat template is of no use, where it has one that is not: the tokenizer itself still serves."""
    special_tokens: Mapping[str, str]
    stop_ids: tuple[int, ...]
    max_length: int | None
    bytes: int
    """The size of its file; in memory it takes some eight times as much."""


def built(files: ModelFiles) -> Model:
    """The tokenizer these files make. Blocking, up to a second for the largest. Raises SourceUnusable."""
    engine = engine_of(files.tokenizer, tokenizer_name(files.origin), files.special_tokens.values())
    templates, wrong = None, None
    if files.templates:
        try:
            templates = ChatTemplates(files.templates, files.special_tokens)
        except TemplateUnusable as error:
            wrong = error.message
    return Model(
        origin=files.origin,
        engine=engine,
        cutter=Cutter(engine.anatomy.specials),
        detokenizing=Detokenizing(engine),
        prefix_off=tuple(cutting_objections(engine, Random(TRIAL_SEED))),
        templates=templates,
        template_error=wrong,
        special_tokens=files.special_tokens,
        stop_ids=files.stop_ids or _end(engine, files.special_tokens),
        max_length=files.max_length,
        bytes=len(files.tokenizer),
    )


def _end(engine: Engine, special_tokens: Mapping[str, str]) -> tuple[int, ...]:
    """The end-of-text token's id, for models without generation settings."""
    number = engine.tokenizer.token_to_id(special_tokens.get("eos_token", ""))
    return () if number is None else (number,)
