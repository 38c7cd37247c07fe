"""The settings in force: each with its value, where that came from, and what it would be otherwise. Secrets hidden."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.settings.conflicts import DEFAULT
from gateway.settings.flags import without_credentials
from gateway.settings.model import GROUPS, SECRETS, Settings, environment_name, flag

HIDDEN = "(hidden)"

Plain = str | int | float | bool | list[str] | None


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting. `value` and `default` are what JSON can say; of a secret only whether it is set."""

    name: str
    flag: str
    environment: str
    group: str
    description: str
    value: Plain
    default: Plain
    origin: str
    """`--port`, `SMG_CONSOLE_PORT`, `smg.toml: port`, or `default`."""

    @property
    def given(self) -> bool:
        """Whether somebody said so."""
        return self.origin != DEFAULT


def effective(settings: Settings, origins: Mapping[str, str]) -> list[Effective]:
    """All settings, group by group as in `--help`. What `origins` does not name is a default."""
    found = []
    for name, field in Settings.model_fields.items():
        about: Any = field.json_schema_extra
        found.append(
            Effective(
                name=name,
                flag=flag(name),
                environment=environment_name(name),
                group=str(about["group"]),
                description=field.description or "",
                value=_plain(name, getattr(settings, name)),
                default=_plain(name, field.default),
                origin=origins.get(name, DEFAULT),
            )
        )
    return sorted(found, key=lambda one: GROUPS.index(one.group))


def _plain(name: str, value: Any) -> Plain:
    if value is None or isinstance(value, bool | int | float):
        return value
    if name in SECRETS:
        return HIDDEN
    if isinstance(value, tuple):
        return [without_credentials(str(part)) for part in value]
    return without_credentials(str(value))
