"""Faults to switch on over HTTP, so that tests and demos can watch a worker misbehave.

A change is checked whole before any of it holds. `{"reset": true}` clears all, before what else is named.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong at the moment; the defaults mean nothing is. Engines over gRPC have the same faults, but for
    `garbage` and `close_idle`; a health path is their health services, a status the code that says the same."""

    unhealthy: bool = False
    """The health path answers 503."""
    hang_health: bool = False
    """The health path never answers."""
    hang: bool = False
    """Requests (POST) are accepted and never answered."""
    slow: float = 1.0
    """Multiplies the time of every step."""
    refuse_s: float = 0.0
    """Stop listening for so many seconds, and close idle connections. Acts once and reads 0 again."""
    drop_after: int = 0
    """Reset the connection after so many events of a stream; 0: never."""
    status: int = 0
    """Answer requests (POST) with this status and an OpenAI error; 0: do not."""
    fraction: float = 1.0
    """Share of requests that `status` hits."""
    garbage: bool = False
    """Answer everything with bytes that are not HTTP."""
    models_error: bool = False
    """/v1/models answers 500."""
    no_loads: bool = False
    """Over gRPC: GetLoads is UNIMPLEMENTED, as in older servers."""
    no_health: bool = False
    """Over gRPC: the engine's own HealthCheck is UNIMPLEMENTED, grpc.health.v1 answers."""
    damaged_tokenizer: bool = False
    """Over gRPC: GetTokenizer tells a wrong checksum."""
    close_idle: bool = False
    """Close the connection right after each answer, without having said so."""


DEFAULTS = asdict(Faults())
_BOOLEANS = frozenset(name for name, value in DEFAULTS.items() if isinstance(value, bool))
_WHOLE = frozenset(("drop_after", "status"))
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "slow": (lambda value: 0 < value <= 1000, "a number above 0, up to 1000"),
    "refuse_s": (lambda value: 0 <= value <= 600, "seconds from 0 to 600"),
    "drop_after": (lambda value: value >= 0, "a whole number of events, 0 for never"),
    "status": (lambda value: value == 0 or 400 <= value <= 599, "a status from 400 to 599, or 0"),
    "fraction": (lambda value: 0 <= value <= 1, "a number from 0 to 1"),
}


def changed(faults: Faults, given: object) -> Faults:
    """The faults after a request's JSON. Raises ValueError naming the field, what was given and what is accepted."""
    if not isinstance(given, dict):
        raise ValueError("expected a JSON object")
    reset = given.get("reset", False)
    if not isinstance(reset, bool):
        raise ValueError(f"reset: given {reset!r}, expected true or false")
    change = {name: value for name, value in given.items() if name != "reset"}
    for name, value in change.items():
        if (accepted := _refused(name, value)) is not None:
            raise ValueError(f"{name}: {accepted}")
    return replace(Faults() if reset else faults, **change)


def _refused(name: str, value: Any) -> str | None:
    """Why this cannot be, or None."""
    if name not in DEFAULTS:
        return f"unknown fault; accepted: reset, {', '.join(field.name for field in fields(Faults))}"
    if name in _BOOLEANS:
        return None if isinstance(value, bool) else f"given {value!r}, expected true or false"
    holds, accepted = _RANGES[name]
    kinds = int if name in _WHOLE else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not holds(value):
        return f"given {value!r}, expected {accepted}"
    return None
