"""The event feed: the newest at the bottom, followed until the operator scrolls back to read."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding

from gateway.events import Event, Lagged
from gateway.workers.facts import Registered
from smg_console.present import feed
from smg_console.present.runs import BLANK, Line
from smg_console.widgets.panel import Panel

EVENTS_KEPT = 500


class Feed(Panel, can_focus=True):
    """What happened, a line each."""

    BINDINGS: ClassVar = [
        Binding("down,j", "back(-1)", "Newer", show=False),
        Binding("up,k", "back(1)", "Older", show=False),
        Binding("pagedown,ctrl+f", "page(-1)", "Page down", show=False),
        Binding("pageup,ctrl+b", "page(1)", "Page up", show=False),
        Binding("home,g", "back(100000)", "Oldest", show=False),
        Binding("end,G", "back(-100000)", "Newest, and follow", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="feed")
        self.events: list[Event] = []
        self._told: list[Event] = []
        self._seq = 0
        self._back = 0
        """Events below the last visible line; 0: following."""
        self._drawn_for: tuple[object, ...] = ()
        self._feed: list[Line] = []

    def fill(self) -> None:
        """Start with what the journal has."""
        self._take(self.face.plane.past_events(EVENTS_KEPT))

    def news(self) -> Sequence[Event]:
        """Take over what happened since the last look, and return it."""
        plane = self.face.plane
        if plane.seq() == self._seq:
            return ()
        found = plane.new_events(self._seq, EVENTS_KEPT)
        if isinstance(found, Lagged):
            found = plane.past_events(EVENTS_KEPT)
            self.events.clear()
        self._take(found)
        return found

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            self._seq = event.seq
            if isinstance(event.fact, Registered):
                self.face.seen.names[event.fact.worker] = event.fact.name
        self.events += events
        del self.events[:-EVENTS_KEPT]
        before = len(self._told)
        self._told = feed.told(self.events)
        if self._back:  # what is being read stays where it is
            self._back += max(0, len(self._told) - before)

    def draw(self, width: int, height: int) -> Sequence[Line]:
        self._back = max(0, min(self._back, len(self._told) - height))
        wanted = (self._seq, self._back, width, height)
        if wanted != self._drawn_for:
            self._drawn_for, self._feed = wanted, self._drawn(width, height)
        return self._feed

    def _drawn(self, width: int, height: int) -> list[Line]:
        self.set_titles("Events", f"{self._back} newer below, G follows" if self._back else "")
        end = len(self._told) - self._back
        names = self.face.seen.names
        lines = [feed.event_line(event, names, width) for event in self._told[max(0, end - height) : end]]
        return [*lines, *[BLANK] * (height - len(lines))]

    def action_back(self, events: int) -> None:
        """Scroll towards older events (or newer ones, when negative)."""
        self._back = max(0, self._back + events)
        self.tick()

    def action_page(self, pages: int) -> None:
        self.action_back(pages * max(1, self.size.height - 1))

    def on_mouse_scroll_down(self) -> None:
        self.action_back(-1)

    def on_mouse_scroll_up(self) -> None:
        self.action_back(1)
