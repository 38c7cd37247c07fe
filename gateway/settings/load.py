"""Where settings come from: flags over environment over file over defaults, and which it was for each.

Every refusal is a `UsageError` whose one line names the flag, variable or file that gave the value, what was
given (secrets hidden) and what is accepted.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.settings.conflicts import DEFAULT, conflict
from gateway.settings.discovery import SELECTORS
from gateway.settings.flags import UsageError, without_credentials
from gateway.settings.model import SECRETS, Settings, environment_name, flag
from gateway.workers.address import ACCEPTED, worker_url

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_KINDS = {
    "string_type": "expected a string",
    "string_sub_type": "expected a string",
    "path_type": "expected a path",
    "tuple_type": "expected a list of strings",
}
_LINK_NAME = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_OF_CLIENTS = frozenset(("SMG_CONSOLE_API_KEY", "SMG_CONSOLE_GATEWAY"))
"""Variables for those who reach a gateway from outside, which may be set where one is started too."""
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://.*")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each field where its value came from: `--port`, `SMG_CONSOLE_PORT`, a file, `default`."""

    settings: Settings
    origins: Mapping[str, str]


def load(flags: Mapping[str, Any], environment: Mapping[str, str], file: str | None) -> Loaded:
    """Merge and judge. `flags` holds only what was given. Raises UsageError."""
    merged: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, DEFAULT)
    environment = _ours(environment)
    path, asked_by = (file, "--config") if file else (environment.get("SMG_CONSOLE_CONFIG"), "SMG_CONSOLE_CONFIG")
    for name, value in (_from_file(path, asked_by) if path else {}).items():
        merged[name], origins[name] = value, f"{path}: {name}"
    for name in Settings.model_fields:
        variable = environment_name(name)
        if name not in flags and (text := environment.get(variable, "")):
            merged[name], origins[name] = _from_text(name, text, variable), variable
    for name, value in flags.items():
        merged[name], origins[name] = value, flag(name)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise UsageError(_sentence(error, origins)) from None
    problem = conflict(settings, origins)
    if problem is not None:
        raise UsageError(problem)
    return Loaded(settings, origins)


def without_terminal(loaded: Loaded) -> Loaded:
    """The same settings, headless: what is for the console alone counts for nothing, unless SSH clients get it."""
    changed: dict[str, Any] = {"no_ui": True}
    if loaded.settings.ssh_port is None:
        changed |= {"theme": None, "ascii": False, "read_only": False}
    origins = {**loaded.origins, **dict.fromkeys(changed, "no terminal")}
    return Loaded(loaded.settings.model_copy(update=changed), origins)


def _from_file(path: str, asked_by: str) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as opened:
            values = tomllib.load(opened)
    except (OSError, ValueError) as error:
        if isinstance(error, tomllib.TOMLDecodeError | UnicodeDecodeError):
            raise UsageError(f"{asked_by}: {path} is not valid TOML: {error}") from None
        why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{asked_by}: cannot read {path}: {why}") from None
    known = Settings.model_fields
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; settings are named as the flags are"
            raise UsageError(f"{path}: {key}: unknown setting{hint}")
        if name in found:
            raise UsageError(f"{path}: {key}: given twice, as {name} and as {name.replace('_', '-')}")
        found[name] = value
    return found


def _from_text(name: str, text: str, variable: str) -> Any:
    field = Settings.model_fields[name]
    if name in SELECTORS:
        return [text]  # commas and blanks are part of their syntax
    if isinstance(field.default, tuple):
        return text.replace(",", " ").split()
    if field.annotation is bool:
        if text.lower() in TRUE + FALSE:
            return text.lower() in TRUE
        raise UsageError(f"{variable}: given {text!r}, expected one of {', '.join(TRUE + FALSE)}")
    return text


def _ours(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are settings. One that is named like a setting and is none is refused.

    Kubernetes tells every pod of the Services around it, in variables named after them. A Service called
    smg-console gives SMG_CONSOLE_PORT=tcp://10.0.0.1:80 and others: those are not meant for us.
    """
    known = {environment_name(name) for name in (*Settings.model_fields, "config")}
    found: dict[str, str] = {}
    for variable, text in environment.items():
        if not variable.startswith("SMG_CONSOLE_") or _LINK_VALUE.fullmatch(text) or variable in _OF_CLIENTS:
            continue
        if variable in known:
            found[variable] = text
        elif not _LINK_NAME.fullmatch(variable):
            near = difflib.get_close_matches(variable, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; variables are named as the flags are"
            raise UsageError(f"{variable}: unknown setting{hint}")
    return found


def _sentence(error: ValidationError, origins: Mapping[str, str]) -> str:
    """One line for the first thing that is wrong."""
    first = error.errors()[0]
    name, given = str(first["loc"][0]), first["input"]
    expected = _expected(name, first["type"], first["msg"])
    if name in ("worker_urls", "decode") and isinstance(given, list | tuple):
        given = next((value for value in given if not _is_url(value)), " ".join(map(str, given)))
        if "@" in str(given):
            # Why exactly it is no URL may quote a part of the password.
            expected = f"credentials do not belong in a worker's URL, use its api key; expected {ACCEPTED}"
    elif isinstance(given, list | tuple):
        given = " ".join(map(str, given))
    shown = "(hidden)" if name in SECRETS else repr(without_credentials(str(given)))
    return f"{origins[name]}: given {shown}, {expected}"


def _is_url(value: object) -> bool:
    try:
        return bool(worker_url(str(value)))
    except ValueError:
        return False


def _expected(name: str, kind_of_error: str, message: str) -> str:
    schema = Settings.model_json_schema()["properties"][name]
    schema = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    kind = schema.get("type", "")
    if kind in ("integer", "number"):
        return f"expected {'a whole number' if kind == 'integer' else 'a number'}{_limits(schema)}"
    if kind == "boolean":
        return "expected true or false"
    if kind_of_error == "literal_error":
        return f"expected one of {', '.join(schema['enum'])}"
    return _KINDS.get(kind_of_error, message.removeprefix("Value error, "))


def _limits(schema: Mapping[str, Any]) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    word = " above" if "exclusiveMinimum" in schema else " from"
    return f"{word} {low:g} to {schema['maximum']:.15g}" if low is not None else ""
