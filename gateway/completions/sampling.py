"""From what a client asks of the sampling to what an engine is told: ranges, stops, constraints. Pure.

What is out of range is refused here in OpenAI's way, naming the field, before any worker is asked; engines have
rules of their own beyond that.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.completions.bodies import NativeSampling, OpenAi, Sampled
from gateway.engines.generation import Constraint, ConstraintKind, Sampling
from gateway.errors import BadRequest

MOST_CHOICES = 128
MOST_STOPS = 64
LONGEST_STOP = 10_000
MOST_ID = (1 << 31) - 1
_RANGES = {
    "temperature": (0.0, math.inf),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
    "repetition_penalty": (0.0, math.inf),
}
"""What no engine takes; some take less, and say so themselves."""


def wrong(field: str, given: object, accepted: str) -> BadRequest:
    """A member of the wrong value."""
    shown = repr(given)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return BadRequest(f"{field}: given {shown}, expected {accepted}", field=field)


def whole(field: str, value: int | None, least: int, most: int | None = None) -> int | None:
    """An optional whole number in its range. Raises BadRequest."""
    if value is not None and (value < least or (most is not None and value > most)):
        accepted = f"at least {least}" if most is None else f"a whole number from {least} to {most}"
        raise wrong(field, value, accepted)
    return value


def openai_sampling(body: OpenAi, limit: int | None) -> Sampling:
    """The sampling of one of OpenAI's completions, for at most `limit` new tokens."""
    least = whole("min_tokens", body.min_tokens, 0)
    return _sampling(body, "", limit, least, openai_constraint(body))


def native_sampling(params: NativeSampling, limit: int | None) -> Sampling:
    """SGLang's own `sampling_params`."""
    least = whole("sampling_params.min_new_tokens", params.min_new_tokens, 0)
    return _sampling(params, "sampling_params.", limit, least, _only(_plain_constraints(params, "sampling_params.")))


def _sampling(body: Sampled, at: str, limit: int | None, least: int | None, constraint: Constraint | None) -> Sampling:
    if least and limit is not None and least > limit:
        raise wrong(f"{at}min_tokens", least, f"at most the {limit} tokens of the limit")
    for name, (low, high) in _RANGES.items():
        value = getattr(body, name)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            accepted = "a number of at least 0" if high == math.inf else f"a number from {low:g} to {high:g}"
            raise wrong(at + name, value, accepted)
    return Sampling(
        max_new_tokens=limit,
        min_new_tokens=least,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=whole(f"{at}top_k", body.top_k, -1, MOST_ID),
        min_p=body.min_p,
        frequency_penalty=body.frequency_penalty,
        presence_penalty=body.presence_penalty,
        repetition_penalty=body.repetition_penalty,
        stop=_stops(f"{at}stop", body.stop),
        stop_token_ids=tuple(ids(f"{at}stop_token_ids", body.stop_token_ids or [])),
        ignore_eos=bool(body.ignore_eos),
        skip_special_tokens=body.skip_special_tokens is not False,
        spaces_between_special_tokens=body.spaces_between_special_tokens is not False,
        no_stop_trim=bool(body.no_stop_trim or body.include_stop_str_in_output),
        n=whole(f"{at}n", body.n, 1, MOST_CHOICES) or 1,
        seed=whole(f"{at}seed", body.seed, -(1 << 63), (1 << 63) - 1),
        logit_bias=_biases(f"{at}logit_bias", body.logit_bias or {}),
        constraint=constraint,
    )


def ids(field: str, given: list[int]) -> list[int]:
    """Token ids. Raises BadRequest for numbers that cannot be any."""
    if given and not (min(given) >= 0 and max(given) <= MOST_ID):
        odd = next(each for each in given if not 0 <= each <= MOST_ID)
        raise wrong(field, odd, f"token ids from 0 to {MOST_ID}")
    return given


def _stops(field: str, given: str | list[str] | None) -> tuple[str, ...]:
    stops = (given,) if isinstance(given, str) else tuple(given or ())
    if len(stops) > MOST_STOPS:
        raise wrong(field, len(stops), f"at most {MOST_STOPS} strings")
    for stop in stops:
        if not stop or len(stop) > LONGEST_STOP:
            raise wrong(field, stop, f"strings of 1 to {LONGEST_STOP} characters")
    return stops


def _biases(field: str, given: Mapping[str, float]) -> dict[int, float]:
    found: dict[int, float] = {}
    for key, bias in given.items():
        if not key.isascii() or not key.isdigit() or int(key) > MOST_ID:
            raise wrong(field, key, "token ids as keys")
        if not -100 <= bias <= 100:
            raise wrong(f"{field}.{key}", bias, "a number from -100 to 100")
        found[int(key)] = bias
    return found


# --- constraints ---


def openai_constraint(body: OpenAi) -> Constraint | None:
    """What `response_format` and the engines' own members ask the answer to look like. Raises BadRequest."""
    found = _plain_constraints(body, "")
    if (made := _response_format(body.response_format)) is not None:
        found["response_format"] = made
    if body.guided_json is not None:
        found["guided_json"] = Constraint(ConstraintKind.JSON_SCHEMA, _json_text("guided_json", body.guided_json))
    if body.guided_regex is not None:
        found["guided_regex"] = Constraint(ConstraintKind.REGEX, body.guided_regex)
    if body.guided_choice is not None:
        found["guided_choice"] = _choice("guided_choice", body.guided_choice)
    if body.guided_grammar is not None:
        found["guided_grammar"] = Constraint(ConstraintKind.EBNF, body.guided_grammar)
    if body.structured_outputs is not None:
        found |= _structured(body.structured_outputs)
    return _only(found)


def _plain_constraints(body: Sampled, at: str) -> dict[str, Constraint]:
    """Those under SGLang's own names."""
    found: dict[str, Constraint] = {}
    if body.regex is not None:
        found[f"{at}regex"] = Constraint(ConstraintKind.REGEX, body.regex)
    if body.ebnf is not None:
        found[f"{at}ebnf"] = Constraint(ConstraintKind.EBNF, body.ebnf)
    if body.json_schema is not None:
        text = _json_text(f"{at}json_schema", body.json_schema)
        found[f"{at}json_schema"] = Constraint(ConstraintKind.JSON_SCHEMA, text)
    if body.structural_tag is not None:
        text = _json_text(f"{at}structural_tag", body.structural_tag)
        found[f"{at}structural_tag"] = Constraint(ConstraintKind.STRUCTURAL_TAG, text)
    return found


def _only(found: Mapping[str, Constraint]) -> Constraint | None:
    if len(found) > 1:
        names = " and ".join(found)
        raise BadRequest(f"{names}: expected one of them, an answer has one form", field=next(iter(found)))
    return next(iter(found.values()), None)


def _response_format(given: Mapping[str, Any] | None) -> Constraint | None:
    kind = None if given is None else given.get("type")
    match kind:
        case _ if given is None:
            return None
        case "text":
            return None
        case "json_object":
            return Constraint(ConstraintKind.JSON_OBJECT)
        case "json_schema":
            wrapper = given.get("json_schema")
            schema = wrapper.get("schema") if isinstance(wrapper, dict) else None
            if not isinstance(schema, dict):
                raise wrong("response_format.json_schema.schema", schema, "a JSON schema")
            return Constraint(ConstraintKind.JSON_SCHEMA, _json_text("response_format", schema))
        case "structural_tag":
            return Constraint(ConstraintKind.STRUCTURAL_TAG, _json_text("response_format", dict(given)))
        case "regex":
            expression = given.get("regex", given.get("pattern"))
            if not isinstance(expression, str):
                raise wrong("response_format.regex", expression, "a regular expression")
            return Constraint(ConstraintKind.REGEX, expression)
        case _:
            accepted = "text, json_object, json_schema, regex or structural_tag"
            raise wrong("response_format.type", kind, accepted)


def _structured(given: Mapping[str, Any]) -> dict[str, Constraint]:
    """vLLM's `structured_outputs`."""
    found: dict[str, Constraint] = {}
    for name, value in given.items():
        field = f"structured_outputs.{name}"
        if value is None or value is False:
            continue
        match name:
            case "json":
                found[field] = Constraint(ConstraintKind.JSON_SCHEMA, _json_text(field, value))
            case "json_object":
                found[field] = Constraint(ConstraintKind.JSON_OBJECT)
            case "choice":
                found[field] = _choice(field, value)
            case "regex" | "grammar" | "structural_tag":
                if not isinstance(value, str):
                    raise wrong(field, value, "a string")
                kinds = {"regex": ConstraintKind.REGEX, "grammar": ConstraintKind.EBNF}
                found[field] = Constraint(kinds.get(name, ConstraintKind.STRUCTURAL_TAG), value)
    return found


def _choice(field: str, given: object) -> Constraint:
    if not isinstance(given, list) or not given or not all(isinstance(each, str) for each in given):
        raise wrong(field, given, "a list of strings, at least one")
    return Constraint(ConstraintKind.CHOICE, choices=tuple(given))


def _json_text(field: str, given: object) -> str:
    """A schema as its JSON text, whether it came as one or as JSON."""
    if isinstance(given, str):
        try:
            msgspec.json.decode(given)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise BadRequest(f"{field}: not valid JSON: {error}", field=field) from None
        return given
    return msgspec.json.encode(given).decode()
