"""Faults to switch on over HTTP, so that tests and demos can watch a worker misbehave.

`POST /_sim/faults` sets the members it names, `{"reset": true}` clears all; an unknown member or a wrong type
is refused with what is accepted.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class Faults:
    """What is wrong at the moment; the defaults mean nothing is."""

    unhealthy: bool = False
    """/health answers 503."""
    hang_health: bool = False
    """/health never answers."""
    hang: bool = False
    """Requests are accepted and never answered."""
    slow: float = 1.0
    """Multiplies every step's time."""
    refuse_s: float = 0.0
    """Stop listening for so many seconds."""
    drop_after: int = 0
    """Break the connection after so many chunks of a stream; 0: never."""
    status: int = 0
    """Answer requests with this status (429, 500, 503); 0: do not."""
    fraction: float = 1.0
    """Share of requests that `status` hits."""
    garbage: bool = False
    """Answer with bytes that are not HTTP."""
    models_error: bool = False
    """/v1/models answers 500."""
    close_idle: bool = False
    """Close the connection right after each answer, without saying so."""

    def change(self, given: Any) -> str | None:
        """Apply a request's JSON; returns why it cannot be, or None."""
        if not isinstance(given, dict):
            return "expected a JSON object"
        fresh = asdict(Faults())
        known = {name: type(value) for name, value in fresh.items()}
        if given.get("reset") is True:
            for name, value in fresh.items():
                setattr(self, name, value)
            given = {name: value for name, value in given.items() if name != "reset"}
        for name, value in given.items():
            if name not in known:
                return f"{name}: unknown fault; accepted: reset, {', '.join(known)}"
            kind = known[name]
            if isinstance(value, bool) is not (kind is bool) or not isinstance(value, int | float):
                return f"{name}: given {value!r}, expected {kind.__name__}"
        for name, value in given.items():
            setattr(self, name, known[name](value))
        return None
