"""Who may come in now, who waits, and who is sent away: a limit on requests at once, a rate, and a fair queue.

First come, first served. A request holds its permit until its answer has ended. Knows no sockets: those who
wait are told by a call, and whoever gives up waiting says so. The queue for a worker with room (all that could
take a request have as many as they may) is of the same kind, one for each model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from gateway.errors import GatewayError

ONE = 1.0 - 1e-6
"""A token, less what rounding takes from it: the timer must not fire again and again just before."""


class Waiter(Protocol):
    """A request that waits for its turn."""

    def proceed(self) -> bool:
        """It is your turn. False (for a worker with room only): there was none for you, you wait on."""
        ...


class Timer(Protocol):
    """A call that is to come and can be called off."""

    def cancel(self) -> object: ...


Later = Callable[[float, Callable[[], None]], Timer]


class QueueFull(GatewayError):
    code = "rate_limit_exceeded"
    status = 429


class QueueTimeout(GatewayError):
    code = "queue_timeout"
    status = 408


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """Limits of the gateway as a whole; None: no limit. Times in seconds."""

    max_concurrent: int | None = None
    queue_size: int = 100
    queue_timeout_s: float = 60.0
    per_second: float | None = None
    """Requests let in per second, over time."""
    burst: int | None = None
    """Requests that may come in at once after a pause; None: as many as may be under way, or one second's worth."""


class Admission:
    """The door. `mono` is a clock in seconds, `later` calls back after a delay."""

    def __init__(self, settings: AdmissionSettings, mono: Callable[[], float], later: Later) -> None:
        self.settings = settings
        self._mono = mono
        self._later = later
        self.inside = 0
        self._most = settings.max_concurrent
        self._rate = settings.per_second
        self._burst = float(settings.burst or settings.max_concurrent or max(1, ceil(settings.per_second or 1)))
        self._tokens = self._burst
        self._filled_at = mono()
        self._queue: dict[Waiter, None] = {}
        self._rooms: dict[object, dict[Waiter, None]] = {}
        self._timer: Timer | None = None
        self._pumping = False
        self.open = self._most is None and self._rate is None
        """Nothing is limited: nobody need ask."""

    # --- the door ---

    @property
    def queued(self) -> int:
        """How many wait, here and for a worker with room."""
        return len(self._queue) + sum(map(len, self._rooms.values()))

    def enter(self, who: Waiter) -> bool:
        """True: come in. False: wait for the call. Raises QueueFull."""
        if not self._queue and self._grab():
            return True
        self._join(self._queue, who)
        self._wait_for_tokens()
        return False

    def leave(self) -> None:
        """Somebody's answer has ended: the next may come in."""
        self.inside -= 1
        if self._queue:
            self._pump()

    def give_up(self, who: Waiter) -> None:
        """Somebody waits no longer."""
        self._queue.pop(who, None)
        for key, waiting in list(self._rooms.items()):
            waiting.pop(who, None)
            if not waiting:
                del self._rooms[key]

    def _join(self, queue: dict[Waiter, None], who: Waiter) -> None:
        if self.queued >= self.settings.queue_size:
            raise QueueFull(f"too many requests: {self.inside} are under way and {self.queued} wait")
        queue[who] = None

    def _grab(self) -> bool:
        if self._most is not None and self.inside >= self._most:
            return False
        if self._rate is not None:
            self._refill(self._rate)
            if self._tokens < ONE:
                return False
            self._tokens = max(0.0, self._tokens - 1.0)
        self.inside += 1
        return True

    def _refill(self, rate: float) -> None:
        now = self._mono()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now

    def _pump(self) -> None:
        if self._pumping:  # one that came in left at once, and says so from within its call
            return
        self._pumping = True
        while self._queue and self._grab():
            who = next(iter(self._queue))
            del self._queue[who]
            who.proceed()
        self._pumping = False
        self._wait_for_tokens()

    def _wait_for_tokens(self) -> None:
        """Where it is the rate that holds the first one up, nobody's leaving will call it in."""
        if self._rate is None or not self._queue or self._timer is not None:
            return
        if self._most is not None and self.inside >= self._most:
            return
        self._timer = self._later(max(0.0, 1.0 - self._tokens) / self._rate, self._token_due)

    def _token_due(self) -> None:
        self._timer = None
        self._pump()

    def retry_after_s(self) -> int:
        """What to tell somebody who is sent away: whole seconds, at least one."""
        if self._rate is not None:
            return max(1, ceil((len(self._queue) + 1) / self._rate))
        return 1

    # --- room at the workers ---

    def wait_for_room(self, key: object, who: Waiter) -> None:
        """All workers for this (model and role) are full. Raises QueueFull."""
        self._join(self._rooms.setdefault(key, {}), who)

    @property
    def anybody_waits_for_room(self) -> bool:
        return bool(self._rooms)

    def room_freed(self) -> None:
        """A worker may have room again: the first of each queue that can use it goes."""
        for key in list(self._rooms):
            waiting = self._rooms[key]
            while waiting:
                who = next(iter(waiting))
                if not who.proceed():
                    break
                waiting.pop(who, None)
            if not waiting:
                self._rooms.pop(key, None)

    def close(self) -> None:
        """No more calls."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
