"""When a failed attempt is made again: on which statuses, after which pause, and how often in all. Pure.

Statuses, number of attempts and backoff are SMG's. The budget is not: where many workers fail at once, retries
by every client would multiply the load on those that are left, so retries may not be more than a share of what
clients asked for lately, beyond a floor that lets a quiet gateway retry freely (the idea is Finagle's).
"""

from dataclasses import dataclass

RETRY_STATUSES = frozenset((408, 429, 500, 502, 503, 504))
BUSY = frozenset((429, 503))
"""Statuses of a worker that may well take the same request a moment later."""
FAILURES = frozenset((408, 500, 502, 503, 504))
"""Statuses that count against a worker in its circuit breaker; 429 says that it is busy, not broken."""


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """Times in seconds."""

    attempts: int = 5
    """In all, the first one included; 1: none is repeated."""
    initial_backoff_s: float = 0.05
    max_backoff_s: float = 30.0
    multiplier: float = 1.5
    jitter: float = 0.2
    """Share of the pause by which it varies in both directions."""
    budget_share: float = 0.5
    """Retries within the budget's window per request within it, beyond the floor."""
    budget_floor: int = 100

    def backoff(self, failed: int, chance: float) -> float:
        """Seconds to wait after `failed` failed attempts. `chance` is uniform in 0..1."""
        pause = min(self.initial_backoff_s * self.multiplier ** (failed - 1), self.max_backoff_s)
        return pause * (1.0 + self.jitter * (2.0 * chance - 1.0))


class RetryBudget:
    """Counts requests and retries over the last `WINDOW_S` to twice that many seconds."""

    WINDOW_S = 10.0

    __slots__ = ("_began", "_requests", "_requests_before", "_retries", "_retries_before", "_settings")

    def __init__(self, settings: RetrySettings) -> None:
        self._settings = settings
        self._began = 0.0
        self._requests = self._retries = 0
        self._requests_before = self._retries_before = 0

    def take(self, requests: int, in_flight: int, now: float) -> bool:
        """Whether one more retry is within the budget, which it then counts.

        `requests`: how many have ever been asked for; `in_flight`: how many are under way; `now`: monotonic.
        """
        if now - self._began >= self.WINDOW_S:
            stale = now - self._began >= 2 * self.WINDOW_S
            self._requests_before = requests if stale else self._requests
            self._retries_before = 0 if stale else self._retries
            self._began, self._requests, self._retries = now, requests, 0
        asked = max(requests - self._requests_before, in_flight)
        allowed = self._settings.budget_floor + self._settings.budget_share * asked
        if self._retries + self._retries_before >= allowed:
            return False
        self._retries += 1
        return True
