"""Sampling parameters that both engines' protos call the same. Pure.

Their numbers are plain proto3 ones, whose zero is not "unset" but greedy, no token, or an infinite penalty; so
every one is written: what was asked for, else the model's own default, else what switches it off.
"""

from collections.abc import Mapping
from typing import Any

from gateway.engines.generation import Sampling

NEUTRAL: Mapping[str, float] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "repetition_penalty": 1.0,
}


def common_sampling(given: Sampling, defaults: Mapping[str, object]) -> dict[str, Any]:
    """The fields of a SamplingParams message; `defaults` are the model's."""
    fields: dict[str, Any] = {}
    for name, neutral in NEUTRAL.items():
        asked = getattr(given, name)
        own = defaults.get(name)
        fields[name] = asked if asked is not None else own if isinstance(own, int | float) else neutral
    return fields | {
        "stop": given.stop,
        "stop_token_ids": given.stop_token_ids,
        "ignore_eos": given.ignore_eos,
        "skip_special_tokens": given.skip_special_tokens,
        "spaces_between_special_tokens": given.spaces_between_special_tokens,
        "n": given.n,
    }


def whole_or(asked: int | None, own: object) -> int:
    """A whole number that was asked for, else the model's own, else 0."""
    if asked is not None:
        return asked
    return int(own) if isinstance(own, int | float) else 0
