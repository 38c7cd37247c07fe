"""Requests under way, as an operator wants to see them: since when, for which model, at which worker, how far.

Nothing is kept for this: whoever asks has the open connections looked through, and each exchange says where it
stands. What a request is about, its prompt and its caller, is not told.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from heapq import nsmallest
from typing import Protocol

from gateway.workers.model import WorkerId


class Stage(StrEnum):
    """What a request waits for, or does."""

    QUEUED = "queued"
    """Waits for its turn at the door, or for a worker with room."""
    PREPARING = "preparing"
    """Is being put into token ids."""
    CONNECTING = "connecting"
    WAITING = "waiting"
    """Sent to a worker; nothing of the answer came so far."""
    ANSWERING = "answering"
    RETRYING = "retrying"
    """Pauses between two attempts."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A request under way. Times in seconds."""

    request_id: str
    route: str
    model: str | None
    stage: Stage
    age_s: float
    """Since it came."""
    attempt_s: float | None
    """Since it was given to its worker; None: it is with none."""
    attempts: int
    worker: WorkerId | None
    prefill: WorkerId | None
    """The worker of the prefill half, while that is under way."""
    streams: bool
    tokens: int
    """Of a stream: events that came; over gRPC, tokens."""


class UnderWay(Protocol):
    @property
    def since(self) -> float:
        """Monotonic time at which it came."""
        ...

    def is_at(self, worker_id: WorkerId) -> bool: ...

    def flight(self, now: float) -> Flight: ...


class Connection(Protocol):
    @property
    def under_way(self) -> UnderWay | None: ...


def oldest(connections: Iterable[Connection], most: int, now: float, worker_id: WorkerId | None = None) -> list[Flight]:
    """The requests of these connections that have been under way for longest; of one worker, or of all."""
    flying = [found for connection in connections if (found := connection.under_way) is not None]
    if worker_id is not None:
        flying = [found for found in flying if found.is_at(worker_id)]
    return [found.flight(now) for found in nsmallest(most, flying, key=lambda found: found.since)]
