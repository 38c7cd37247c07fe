"""From what a gRPC engine tells of itself to capabilities and loads. Pure; the messages come as plain values.

Names are those of the HTTP routes and of SMG's labels, so a worker shows the same whichever way it is asked.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gateway.engines.capabilities import Replies, capabilities_of
from gateway.engines.loads import ranks_load
from gateway.workers.meters import EngineLoad
from gateway.workers.model import Capabilities, Connection, Engine

SAMPLING_DEFAULTS = "default_sampling_params_json"
_RENAMED = {
    "tensor_parallel_size": "tp_size",
    "pipeline_parallel_size": "pp_size",
    "context_parallel_size": "cp_size",
    "data_parallel_size": "dp_size",
}
_LABELS = (
    "vocab_size",
    "eos_token_ids",
    "max_context_length",
    "max_req_input_len",
    "supports_vision",
    "kv_connector",
    "kv_role",
    "kv_engine_id",
    "pairing_protocol",
    SAMPLING_DEFAULTS,
)
"""Beside those an HTTP worker shows."""
_LOAD = (
    "num_running_reqs",
    "num_waiting_reqs",
    "num_used_tokens",
    "max_total_num_tokens",
    "token_usage",
    "gen_throughput",
    "cache_hit_rate",
)
_TOKENS = frozenset(("num_used_tokens", "max_total_num_tokens"))
"""Told by engines that tell the size of their pool; zeros from the others."""


def capabilities_from(told: Mapping[str, object], engine: Engine, version: str, missing: Iterable[str]) -> Capabilities:
    """Capabilities of a flat record; `version` where the record has none."""
    flat = {_RENAMED.get(name, name): value for name, value in told.items()}
    if not flat.get("version") and version:
        flat["version"] = version
    found = capabilities_of(Replies(server_info=flat, missing=tuple(missing)), engine)
    labels = {name: text for name in _LABELS if (text := _label(flat.get(name)))}
    return replace(found, connection=Connection.GRPC, labels={**found.labels, **labels})


def sampling_defaults(told: Mapping[str, object]) -> Mapping[str, object]:
    """The model's own sampling parameters; none where they are not a JSON object of numbers."""
    text = told.get(SAMPLING_DEFAULTS)
    if not isinstance(text, str) or not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, int | float) and value is not True}


def plain_numbers(record: Mapping[str, object]) -> dict[str, object]:
    """A protobuf Struct has no whole numbers: those that are whole become so again."""
    return {
        name: int(value) if isinstance(value, float) and math.isfinite(value) and value.is_integer() else value
        for name, value in record.items()
    }


def load_from(ranks: Iterable[Any], now: float) -> EngineLoad | None:
    """The load in the ranks of a GetLoads answer."""
    rows = []
    for rank in ranks:
        names = [name for name in _LOAD if rank.max_total_num_tokens or name not in _TOKENS]
        rows.append({name: getattr(rank, name) for name in names})
    return ranks_load(rows, now)


def _label(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
        return "[" + ",".join(map(str, value[:100])) + "]"
    return str(value)[:2048] if isinstance(value, str | int | float) and value not in ("", 0) else ""
