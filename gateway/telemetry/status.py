"""The gateway itself at one moment, for whoever shows it: consoles here and elsewhere, and `GET /gateway`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """Values of one moment."""

    version: str
    address: str
    """Where clients send requests: `http://host:port`."""
    metrics_address: str | None
    started_at: float
    now: float
    """Wall-clock seconds, as are `started_at` and all times in facts."""
    policy: str
    requests_per_s: float
    errors_per_s: float
    in_flight: int
    loop_late_ms: float
    """Worst lateness of the event loop over about the last second."""
    stopping: bool
    people: int = 1
    """Open consoles, the asking one included."""
