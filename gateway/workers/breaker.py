"""The circuit breaker of one worker: when failing requests take it out of routing, and how it comes back.

Closed, it counts failures over a sliding window; open, it waits; half-open, it lets a few trial requests
through at a time, of which one failure opens it again and enough successes close it. Pure; what is a failure is
the data plane's to say, and the registry writes the facts.

SMG opens on consecutive failures and keeps its window unused: there, one success among nine failures hides them
all. Here the window decides. So that a busy worker with one failure in a thousand is not taken out for the sheer
number of them, the failures must also be a share of what was answered meanwhile.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Defaults are SMG's where it has them. Times in seconds."""

    failure_threshold: int = 10
    """Failures within the window that open it."""
    success_threshold: int = 3
    """Trial requests that must succeed to close it."""
    open_s: float = 60.0
    window_s: float = 120.0
    failure_share: float = 0.5
    """Least share of failures among what ended since the first of them; 0: their number alone counts."""
    trials: int = 3
    """Trial requests under way at once while half-open."""
    disabled: bool = False


class FailureWindow:
    """The latest failures of a closed breaker. A success costs nothing: it shows in a counter that only grows."""

    __slots__ = ("_failures", "_settings")

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failures: deque[tuple[float, int]] = deque(maxlen=settings.failure_threshold)

    def failed(self, now: float, succeeded: int) -> str:
        """One more failure; why the breaker has to open, or nothing.

        `now` is monotonic seconds, `succeeded` how many requests have ever succeeded.
        """
        settings = self._settings
        self._failures.append((now, succeeded))
        count = len(self._failures)
        first, before = self._failures[0]
        if count < settings.failure_threshold or now - first > settings.window_s:
            return ""
        good = succeeded - before
        if count < settings.failure_share * (count + good):
            return ""
        return f"{count} of {count + good} requests failed within {now - first:.1f} s"

    def count(self, now: float) -> int:
        """Failures within the window, at most the threshold."""
        return sum(now - at <= self._settings.window_s for at, _ in self._failures)


class Trials:
    """The requests that a half-open breaker lets through."""

    __slots__ = ("limit", "passed", "under_way")

    def __init__(self, settings: BreakerSettings) -> None:
        self.limit = settings.trials
        self.under_way = 0
        self.passed = 0
