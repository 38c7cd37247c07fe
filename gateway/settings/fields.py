"""What fields of the settings are made of: kinds of values with their bounds, and how a field shows in `--help`."""

from ipaddress import IPv6Address
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from gateway.workers.address import worker_url


def _host(value: str) -> str:
    try:
        # A colon is an IPv6 address's, or the mistake of giving host:port.
        sound = value != "" and (":" not in value or IPv6Address(value) is not None)
    except ValueError:
        sound = False
    if not sound or any(not c.isprintable() or c in " /[]@" for c in value):
        raise ValueError("expected an address or host name without a port, such as 0.0.0.0, ::1 or gateway.local")
    return value


def _urls(values: tuple[str, ...]) -> tuple[str, ...]:
    found: list[str] = []
    for value in values:
        url = worker_url(value)
        if url in found:
            raise ValueError(f"{url} is given twice")
        found.append(url)
    return tuple(found)


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=604800)]
SecondsOrNone = Annotated[float, Field(ge=0, le=604800)]
"""Where 0 means something."""
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Host = Annotated[str, AfterValidator(_host)]
Urls = Annotated[tuple[str, ...], AfterValidator(_urls)]


def setting(default: Any, group: str, description: str, metavar: str | None = None) -> Any:
    """A field with its place in `--help`."""
    return Field(default=default, description=description, json_schema_extra={"group": group, "metavar": metavar})
