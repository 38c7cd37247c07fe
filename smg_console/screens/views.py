"""One worker on a screen of its own, and full screens of text: its JSON, what discovery sees, the help."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import Screen

from gateway.kubernetes.status import DiscoveryStatus
from gateway.workers.model import WorkerId
from smg_console.plane import WorkerRow
from smg_console.present import discovery, people, worker
from smg_console.present.runs import Line
from smg_console.widgets.panel import Panel
from smg_console.widgets.panels import Header, Keys, Lines
from smg_console.widgets.worker import (
    Facts,
    Failures,
    Flights,
    Head,
    Load,
    Moves,
    Part,
    Scrolled,
    Tabs,
    Watched,
    WorkerKeys,
)

Source = Callable[[int], Sequence[Line]]


class Text(Lines):
    """Lines from a function of the width."""

    def __init__(self, lines: Source) -> None:
        super().__init__(id="text")
        self._lines_of = lines

    def source(self, width: int) -> Sequence[Line]:
        return self._lines_of(width)


class BackKeys(Keys):
    KEYS = (("Esc", "back"), ("j k", "scroll"), ("g G", "top, end"), ("?", "help"), ("q", "quit"))


class HelpKeys(Keys):
    KEYS = (("Esc ?", "back"), ("j k", "scroll"), ("g G", "top, end"), ("q", "quit"))


class View(Screen[None]):
    """A text with the header above; Esc goes back."""

    BINDINGS: ClassVar = [Binding("escape,backspace", "back", "Back")]
    KEYS: ClassVar[type[Keys]] = BackKeys

    def __init__(self, title: str, lines: Source) -> None:
        super().__init__()
        self._title = title
        self._source = lines

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        yield Text(self._source)
        yield self.KEYS(id="keys")

    def on_mount(self) -> None:
        text = self.query_one(Text)
        text.set_titles(self._title)
        text.focus()

    def action_back(self) -> None:
        self.dismiss()


class HelpView(View):
    """The keys of where one is."""

    KEYS = HelpKeys


PAGES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "-large": (("All", ("place", "probes", "facts", "load", "flights", "failures", "moves")),),
    "-medium": (
        ("Now", ("place", "probes", "under-way", "load")),
        ("Past and facts", ("facts", "moves", "failures")),
    ),
    "-small": (
        ("State", ("place", "probes")),
        ("Load", ("load",)),
        ("Requests", ("flights",)),
        ("History", ("moves",)),
        ("Errors", ("failures",)),
        ("Facts", ("facts",)),
    ),
}
"""What is seen together, by the terminal's size."""


class WorkerView(Screen[None]):
    """One worker, live: all of it at once, or in pages where there is less room. The acting keys work here too."""

    BINDINGS: ClassVar = [
        Binding("escape,backspace", "back", "Back"),
        Binding("tab", "part(1)", "Next part"),
        Binding("shift+tab", "part(-1)", "Previous part"),
        Binding("right", "page(1)", "Next page"),
        Binding("left", "page(-1)", "Previous page"),
        *(Binding(str(n), f"to_page({n})", f"Page {n}") for n in range(1, 7)),
    ]

    def __init__(self, row: WorkerRow) -> None:
        super().__init__()
        self._watched = Watched(row)
        self._page = 0
        self._size_class = ""
        self._pages = PAGES["-large"]

    @property
    def worker_id(self) -> WorkerId:
        return self._watched.id

    def compose(self) -> ComposeResult:
        seen = self._watched
        yield Header(id="header")
        yield Head(seen)
        yield Tabs()
        with Horizontal(id="parts"):
            with Vertical(id="standing"):
                yield Part("place", seen, worker.place_lines)
                yield Part("probes", seen, worker.probe_lines)
                yield Flights("under-way", "Requests in flight", seen)
                yield Facts("facts", "Facts", seen)
            with Vertical(id="doing"):
                yield Load(seen)
                yield Flights("flights", "Requests in flight", seen)
                yield Moves("moves", "History", seen)
                yield Failures("failures", "Failed requests", seen)
        yield WorkerKeys(id="keys")

    def on_mount(self) -> None:
        self.query_one("#place", Panel).set_titles("Time in each state")
        self.query_one("#probes", Panel).set_titles("Probes")
        self._arrange(self.app.size.width, self.app.size.height)

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size.width, event.size.height)

    def _arrange(self, width: int, height: int) -> None:
        size = "-large" if width >= 170 and height >= 44 else "-medium" if width >= 110 and height >= 34 else "-small"
        if size == self._size_class:  # each change of a class has all styles looked up anew
            return
        self.remove_class(*PAGES, update=False)
        self.add_class(size, update=False)
        self._size_class, self._pages = size, PAGES[size]
        self._show(min(self._page, len(self._pages) - 1))

    def _show(self, page: int) -> None:
        """Show a page, with the keys on its first part that scrolls."""
        self._page = page
        seen = self._pages[page][1]
        for part in self.query(".part"):
            part.display = part.id in seen
        self.set_class("place" not in seen, "-past", update=False)
        for side in self.query("#standing, #doing"):
            side.display = any(part.display for part in side.query(".part"))
        tabs = self.query_one(Tabs)
        tabs.names, tabs.at = [name for name, _ in self._pages], page
        tabs.display = len(self._pages) > 1
        tabs.tick()
        self.app.update_styles(self)
        parts = self._scrolling()
        if parts and self.focused not in parts:
            parts[0].focus()

    def _scrolling(self) -> list[Scrolled]:
        """The parts in sight that scroll."""
        return [part for part in self.query(Scrolled) if part.display]

    def action_part(self, step: int) -> None:
        """To the next part that scrolls, and from the last one to the next page."""
        parts = self._scrolling()
        at = parts.index(self.focused) if isinstance(self.focused, Scrolled) and self.focused in parts else -1
        if 0 <= at + step < len(parts):
            parts[at + step].focus()
        else:
            self.action_page(step)
            parts = self._scrolling()
            if parts:
                parts[0 if step > 0 else -1].focus()

    def action_page(self, step: int) -> None:
        self._show((self._page + step) % len(self._pages))

    def action_to_page(self, number: int) -> None:
        if number <= len(self._pages):
            self._show(number - 1)

    def action_back(self) -> None:
        self.dismiss()


class DiscoveryView(View):
    """What is seen of a Kubernetes cluster, live. The pods' lines are made once a pass."""

    def __init__(self) -> None:
        super().__init__("Service discovery", self._discovery)
        self._made_of: tuple[object, object, int] | None = None
        self._pods: list[Line] = []

    def _discovery(self, width: int) -> Sequence[Line]:
        seen = self.query_one(Text).face.seen
        status = seen.discovery
        pods = self._pods_of(status, width) if status is not None else None
        return discovery.discovery_lines(status, seen.gateway.now, width, pods)

    def _pods_of(self, status: DiscoveryStatus, width: int) -> list[Line]:
        old = self._made_of
        if old is None or old[0] is not status.skipped or old[1] is not status.notes or old[2] != width:
            self._made_of = (status.skipped, status.notes, width)
            self._pods = discovery.pod_lines(status, width)
        return self._pods


class PeopleView(View):
    """Whose consoles are open, live."""

    def __init__(self) -> None:
        super().__init__("Who is connected", self._people)

    def _people(self, width: int) -> Sequence[Line]:
        face = self.query_one(Text).face
        return people.people_lines(face.plane.people(), face.seen.gateway.now, width)
