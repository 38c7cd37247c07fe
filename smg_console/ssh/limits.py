"""How many may come in at once, and how long somebody who failed waits. Pure: times are passed in."""

from collections import OrderedDict
from dataclasses import dataclass

MOST_ADDRESSES = 1024
FORGET_S = 600.0
FIRST_S, LONGEST_S = 0.25, 4.0
MOST_TRIES = 6
"""Keys or names one connection may try, as OpenSSH has it."""


@dataclass(frozen=True, slots=True)
class SshLimits:
    """Counts at once, and times in seconds."""

    sessions: int = 32
    unauthenticated: int = 32
    login_timeout_s: float = 20.0
    keepalive_s: float = 15.0
    """0: clients are never asked for a sign."""


class Failures:
    """Who failed to log in, by address: each further try waits longer. Remembers the last `MOST_ADDRESSES` only."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def failed(self, address: str, now: float) -> float:
        """Somebody failed from there. Returns the seconds his answer should take."""
        count, at = self._known.pop(address, (0, now))
        count = count + 1 if now - at < FORGET_S else 1
        self._known[address] = (count, now)
        if len(self._known) > MOST_ADDRESSES:
            self._known.popitem(last=False)
        return min(LONGEST_S, FIRST_S * float(1 << min(count - 1, 10)))

    def succeeded(self, address: str) -> None:
        """Somebody logged in from there: his mistakes are forgotten."""
        self._known.pop(address, None)
