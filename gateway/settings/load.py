"""Where settings come from: flags over environment over file over defaults, and which it was for each.

Every refusal is a `UsageError` whose one line names the flag, variable or file that gave the value, what was
given (secrets hidden) and what is accepted.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.settings.flags import UsageError
from gateway.settings.model import Settings, environment_name, flag

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
SECRETS = frozenset(("worker_api_key",))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each field where its value came from: `--port`, `SMG_CONSOLE_PORT`, a file, `default`."""

    settings: Settings
    origins: Mapping[str, str]


def load(flags: Mapping[str, Any], environment: Mapping[str, str], file: str | None) -> Loaded:
    """Merge and judge. `flags` holds only what was given. Raises UsageError."""
    merged: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    file = file or environment.get("SMG_CONSOLE_CONFIG") or None
    for name, value in (_from_file(file) if file else {}).items():
        merged[name], origins[name] = value, f"{file}: {name}"
    for name in Settings.model_fields:
        variable = environment_name(name)
        if text := environment.get(variable, ""):
            merged[name], origins[name] = _from_text(name, text, variable), variable
    _refuse_unknown_variables(environment)
    for name, value in flags.items():
        merged[name], origins[name] = value, flag(name)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise UsageError(_sentence(error, origins)) from None
    problem = settings.conflict(frozenset(merged))
    if problem is not None:
        raise UsageError(problem)
    return Loaded(settings, origins)


def _from_file(path: str) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as opened:
            values = tomllib.load(opened)
    except OSError as error:
        raise UsageError(f"--config: cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config: {path} is not valid TOML: {error}") from None
    known = Settings.model_fields
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; settings are named as the flags are"
            raise UsageError(f"{path}: {key}: unknown setting{hint}")
        found[name] = value
    return found


def _from_text(name: str, text: str, variable: str) -> Any:
    field = Settings.model_fields[name]
    if isinstance(field.default, tuple):
        return text.replace(",", " ").split()
    if field.annotation is bool:
        if text.lower() in TRUE + FALSE:
            return text.lower() in TRUE
        raise UsageError(f"{variable}: given {text!r}, expected one of {', '.join(TRUE + FALSE)}")
    return text


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {environment_name(name) for name in (*Settings.model_fields, "config")}
    for variable in environment:
        if variable.startswith("SMG_CONSOLE_") and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; variables are named as the flags are"
            raise UsageError(f"{variable}: unknown setting{hint}")


def _sentence(error: ValidationError, origins: Mapping[str, str]) -> str:
    """One line for the first thing that is wrong."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    given = first["input"]
    if isinstance(given, list | tuple):
        given = " ".join(map(str, given))
    shown = "(hidden)" if name in SECRETS else repr(str(given))
    if name == "worker_urls":
        shown = repr(" ".join(_without_credentials(word) for word in str(given).split()))
    return f"{origins.get(name, flag(name))}: given {shown}, {_expected(name, first['msg'])}"


def _without_credentials(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://(hidden)@{rest.rpartition('@')[2]}" if "@" in rest else url


def _expected(name: str, message: str) -> str:
    message = message.removeprefix("Value error, ")
    limits = _limits(name)
    kind = Settings.model_json_schema()["properties"][name].get("type", "")
    if kind in ("integer", "number"):
        return f"expected {'a whole number' if kind == 'integer' else 'a number'}{limits}"
    if kind == "boolean":
        return "expected true or false"
    if message.startswith("Input should be '"):
        return message.replace("Input should be", "expected one of").replace(" or ", ", ").replace("'", "")
    return message.replace("Input should be", "expected")


def _limits(name: str) -> str:
    schema = Settings.model_json_schema()["properties"][name]
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    word = " above" if "exclusiveMinimum" in schema else " from"
    return f"{word} {low:g} to {schema['maximum']:.12g}" if low is not None else ""
