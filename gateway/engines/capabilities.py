"""From what a server tells of itself to `Capabilities`. Pure, and forgiving: any JSON gives an answer.

Field and label names are those SMG uses (its worker metadata), the replies those of SGLang's
`/get_server_info` and `/get_model_info`, vLLM's `/v1/models` and `/version`, and OpenAI's `/v1/models`.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields, replace
from typing import Any

from gateway.workers.model import Capabilities, Engine

MODELS = "/v1/models"
VERSION = "/version"
SERVER_INFO = ("/server_info", "/get_server_info")
MODEL_INFO = ("/model_info", "/get_model_info")
"""Newer name first; older SGLang knows only the second."""

_LABELS = (
    "model_id",
    "model_path",
    "served_model_name",
    "tp_size",
    "dp_size",
    "pp_size",
    "load_balance_method",
    "disaggregation_mode",
    "version",
    "is_embedding",
    "context_length",
    "max_total_tokens",
    "max_running_requests",
    "max_model_len",
    "weight_version",
    "tokenizer_path",
    "is_generation",
    "has_image_understanding",
    "has_audio_understanding",
    "model_type",
    "architectures",
)
_CONTEXT = ("context_length", "max_context_length", "max_model_len", "max_total_tokens", "max_seq_len")
_MODEL_ID = ("served_model_name", "model_id", "model", "model_path")

_OWNERS = {"sglang": Engine.SGLANG, "nvidia": Engine.SGLANG, "vllm": Engine.VLLM}


@dataclass(frozen=True, slots=True)
class Replies:
    """Decoded JSON of what was asked; None for what did not answer usefully, with the reason in `missing`."""

    models: object = None
    version: object = None
    server_info: object = None
    model_info: object = None
    missing: tuple[str, ...] = field(default=())
    silent: frozenset[str] = frozenset()
    """Of the missing, those that may answer another time (no answer, or a 5xx), by the first path of each."""


def engine_of(replies: Replies, declared: Engine = Engine.UNSPECIFIED) -> Engine:
    """Which engine answered: what the operator declared, else who owns the models, else which names it knows."""
    if declared is not Engine.UNSPECIFIED:
        return declared
    for card in _cards(replies.models):
        if (owner := _OWNERS.get(str(card.get("owned_by", "")).lower())) is not None:
            return owner
    if _mapping(replies.version).get("version"):
        return Engine.VLLM
    if _mapping(replies.server_info) or _mapping(replies.model_info):
        return Engine.SGLANG
    return Engine.GENERIC


def capabilities_of(replies: Replies, declared: Engine = Engine.UNSPECIFIED) -> Capabilities:
    """Everything the replies tell."""
    cards = _cards(replies.models)
    first = cards[0] if cards else {}
    told: dict[str, Any] = {}
    for source in (
        {
            "served_model_name": first.get("id"),
            "model_path": first.get("root"),
            "max_model_len": first.get("max_model_len"),
        },
        _mapping(replies.version),
        _mapping(replies.model_info),
        _mapping(replies.server_info),
    ):
        told.update({name: value for name, value in source.items() if value not in (None, "")})
    served = tuple(dict.fromkeys(_text(card.get("id")) for card in cards if _text(card.get("id"))))
    model_id = next((text for name in _MODEL_ID if (text := _text(told.get(name)))), None)
    if served and model_id not in served:
        model_id = served[0]
    return Capabilities(
        engine=engine_of(replies, declared),
        version=_text(told.get("version")) or None,
        model_id=model_id,
        models=tuple(dict.fromkeys((model_id, *served))) if model_id else (),
        model_path=_text(told.get("model_path")) or None,
        context_length=next((n for name in _CONTEXT if (n := _count(told.get(name))) is not None), None),
        tokenizer_path=_text(told.get("tokenizer_path")) or None,
        tp_size=_count(told.get("tp_size", told.get("tensor_parallel_size"))),
        dp_size=_count(told.get("dp_size", told.get("data_parallel_size"))),
        pp_size=_count(told.get("pp_size", told.get("pipeline_parallel_size"))),
        max_running_requests=_count(told.get("max_running_requests")),
        max_total_tokens=_count(told.get("max_total_tokens", told.get("max_total_num_tokens"))),
        is_generation=told["is_generation"] if isinstance(told.get("is_generation"), bool) else None,
        labels={name: text for name in _LABELS if (text := _label(told.get(name)))},
        missing=replies.missing,
    )


def refreshed(known: Capabilities, found: Capabilities, silent: Set[str]) -> Capabilities:
    """What holds after a worker was asked again: `found`, and of `known` what only a silence left out.

    A server that names another model than before is another server, of which nothing old holds.
    """
    if known.model_id is None:
        return found
    if found.model_id is None:
        return known
    if not silent:
        return found
    if MODELS in silent:  # the other endpoints know its path, but not by which name it is asked for
        found = replace(found, model_id=known.model_id, models=known.models)
    elif found.model_id != known.model_id:
        return found
    left_out = {f.name: getattr(known, f.name) for f in fields(found) if getattr(found, f.name) in (None, ())}
    engine = known.engine if found.engine is Engine.GENERIC else found.engine
    told = replace(found, **left_out, engine=engine, labels={**known.labels, **found.labels})
    return known if replace(told, missing=known.missing) == known else told


def _mapping(reply: object) -> Mapping[str, Any]:
    return reply if isinstance(reply, dict) else {}


def _cards(models: object) -> list[Mapping[str, Any]]:
    data = _mapping(models).get("data")
    return [card for card in data if isinstance(card, dict)] if isinstance(data, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    """A whole positive number, however it was written."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 53 else None


def _label(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)[:256]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "[" + ",".join(f'"{item}"' for item in value)[:256] + "]" if value else ""
    return ""
