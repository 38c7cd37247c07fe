"""The journal: every event still kept, followed as they come, filtered, each one in full."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from gateway.events import JOURNAL_SIZE, Event, Lagged
from gateway.workers.facts import Registered
from smg_console.present import events, feed
from smg_console.present.runs import Line
from smg_console.screens.listing import Filtered, Listing
from smg_console.widgets.panels import Keys

if TYPE_CHECKING:
    from smg_console.app import ConsoleApp

SLICE = 250
"""Events taken over without a yield: about a millisecond."""


class JournalKeys(Keys):
    KEYS = (
        ("Esc", "back"),
        ("Enter", "the worker"),
        ("/", "filter"),
        ("G", "follow"),
        ("j k", "move"),
        ("?", "help"),
        ("q", "quit"),
    )
    DROPPED: ClassVar[tuple[str, ...]] = ("q", "j k")


class JournalTable(Filtered[events.Told]):
    """The events, the newest last."""

    def __init__(self) -> None:
        super().__init__(follows=True)
        self._all: list[events.Told] = []
        self._seq = 0
        self._filling = True
        self._fit: list[events.Told] = []
        self._fit_for: tuple[str, ...] = ()

    async def fill(self) -> None:
        """Take over what the journal has, in slices."""
        self._all, self._fit, self._filling = [], [], True
        found = self.face.plane.past_events(JOURNAL_SIZE)
        for start in range(0, len(found), SLICE):
            self._add(found[start : start + SLICE])
            await asyncio.sleep(0)
        self._filling = False
        self.tick()

    def _add(self, found: Sequence[Event]) -> None:
        names = self.face.seen.names
        new = []
        for event in found:
            self._seq = event.seq
            if isinstance(event.fact, Registered):
                names[event.fact.worker] = event.fact.name
            new.append(events.told(event, names))
        self._all = [*self._all, *new][-JOURNAL_SIZE:]
        self._fit = [*self._fit, *(row for row in new if events.matches(row, self._fit_for))][-JOURNAL_SIZE:]

    def rows(self) -> Sequence[events.Told]:
        plane = self.face.plane
        if not self._filling and plane.seq() != self._seq:
            found = plane.new_events(self._seq, SLICE)
            if isinstance(found, Lagged):
                self.run_worker(self.fill(), exclusive=True)
            else:
                self._add(found)
        if self.words != self._fit_for:
            self._fit_for = self.words
            self._fit = [row for row in self._all if events.matches(row, self.words)]
        return self._fit

    def judge(self, words: Sequence[str]) -> str:
        return events.problem(words)

    def key(self, row: events.Told) -> int:
        return row.event.seq

    def line(self, row: events.Told, width: int, *, selected: bool) -> Line:
        return feed.event_line(row.event, self.face.seen.names, width)

    def empty(self, width: int) -> Sequence[Line]:
        why = "No event fits the filter; Esc clears it." if self.words else "Nothing has happened yet."
        return [(("", ""),), ((f"  {why}", "muted"),)]

    def titled(self, first: int, last: int, count: int) -> None:
        below = count - last
        self.set_titles(self.told("Events", count, len(self._all)), f"{below} newer below, G follows" if below else "")


class JournalScreen(Listing[events.Told]):
    """See the module."""

    KEYS = JournalKeys
    HINT = "words in the event, worker:w3 kind:drain by:api, -word for what must not be"

    def make_table(self) -> JournalTable:
        return JournalTable()

    def on_mount(self) -> None:
        super().on_mount()
        self.run_worker(cast("JournalTable", self.table).fill(), exclusive=True)

    def full(self, width: int) -> Sequence[Line]:
        row = self.table.current
        return events.detail_lines(row.event, cast("ConsoleApp", self.app).seen.names, width) if row is not None else []

    def on_rows_opened(self) -> None:
        """To the worker that the event is about."""
        row, face = self.table.current, cast("ConsoleApp", self.app)
        if row is None:
            return
        if row.event.fact.worker is None:
            face.say("this event is about the gateway itself", "warning")
        elif not face.open_worker(row.event.fact.worker):
            face.say(f"{row.worker or 'the worker'} has left the fleet", "warning")
