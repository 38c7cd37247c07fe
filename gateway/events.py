"""The journal: numbered events, kept in a ring, read by cursors.

Contract. One writer appends, without awaiting, so a fact and its number are one step on the loop. Readers hold
nothing but a position: a reader that stops reading costs nothing, slows nobody, and learns on its next read
that it missed events (`Lagged`), upon which it takes a new snapshot. Events of one process are in order and
without gaps; numbers start at 1 in each process.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway.workers.facts import Cause, Event, Fact

JOURNAL_SIZE = 10_000

__all__ = ["JOURNAL_SIZE", "Cause", "Event", "Fact", "Journal", "Lagged", "Reader"]


@dataclass(frozen=True, slots=True)
class Lagged:
    """The reader's place was overwritten; `missed` events are gone for it, and it should take a snapshot."""

    missed: int


class Journal:
    """A ring of the last events. `append` is the registry's alone."""

    def __init__(self, wall: Callable[[], float], mono: Callable[[], float], size: int = JOURNAL_SIZE) -> None:
        self._wall = wall
        self._mono = mono
        self._size = size
        self._ring: list[Event | None] = [None] * size
        self.seq = 0
        """Number of the last event; 0 before the first."""
        self._grew = asyncio.Event()

    def append(self, fact: Fact, cause: Cause) -> Event:
        """Number a fact and keep it; wakes the readers."""
        self.seq += 1
        event = Event(self.seq, self._wall(), self._mono(), cause, fact)
        self._ring[self.seq % self._size] = event
        self._grew.set()
        self._grew.clear()
        return event

    @property
    def oldest(self) -> int:
        """Number of the oldest event still kept; `seq + 1` while there is none."""
        return max(1, self.seq - self._size + 1)

    def after(self, seq: int, most: int) -> list[Event]:
        """Up to `most` events that follow number `seq`, oldest first; those no longer kept are left out."""
        first = max(seq + 1, self.oldest)
        last = min(self.seq, first + most - 1)
        return [event for n in range(first, last + 1) if (event := self._ring[n % self._size]) is not None]

    def reader(self, seq: int | None = None) -> "Reader":
        """A reader that starts after number `seq` (None: after the present end)."""
        return Reader(self, self.seq if seq is None else seq)

    async def grown_beyond(self, seq: int) -> None:
        """Wait until there is an event after number `seq`."""
        while self.seq <= seq:
            await self._grew.wait()


class Reader:
    """A cursor into the journal."""

    __slots__ = ("_journal", "seq")

    def __init__(self, journal: Journal, seq: int) -> None:
        self._journal = journal
        self.seq = seq
        """Number of the last event that was read."""

    def ready(self, most: int = 500) -> list[Event] | Lagged:
        """What there is to read now, possibly nothing. After `Lagged` the cursor stands at the present end."""
        missed = self._journal.oldest - 1 - self.seq
        if missed > 0:
            self.seq = self._journal.seq
            return Lagged(missed)
        events = self._journal.after(self.seq, most)
        if events:
            self.seq = events[-1].seq
        return events

    async def next(self, most: int = 500) -> list[Event] | Lagged:
        """The next events, at least one; or that some were missed."""
        await self._journal.grown_beyond(self.seq)
        return self.ready(most)
