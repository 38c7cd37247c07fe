"""Full screens of text: one worker's details, its JSON, what discovery sees, the log, and the help."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen

from gateway.kubernetes.discovery import DiscoveryStatus
from gateway.workers.model import WorkerId
from smg_console.plane import WorkerRow
from smg_console.present import detail, discovery, people
from smg_console.present.runs import BLANK, Line
from smg_console.widgets.panels import Header, Keys, Lines

Source = Callable[[int], Sequence[Line]]


class Text(Lines):
    """Lines from a function of the width."""

    def __init__(self, lines: Source, *, at_end: bool = False) -> None:
        super().__init__(id="text", at_end=at_end)
        self._lines_of = lines

    def source(self, width: int) -> Sequence[Line]:
        return self._lines_of(width)


class BackKeys(Keys):
    KEYS = (("Esc", "back"), ("j k", "scroll"), ("g G", "top, end"), ("?", "help"), ("q", "quit"))


class WorkerKeys(Keys):
    KEYS = (
        ("Esc", "back"),
        ("c", "cordon"),
        ("d", "drain"),
        ("r", "resume"),
        ("x", "remove"),
        ("p", "probe"),
        ("R", "retry"),
        ("b", "breaker"),
        ("y", "JSON"),
        ("j k", "scroll"),
        ("?", "help"),
    )


class View(Screen[None]):
    """A text with the header above; Esc goes back."""

    BINDINGS: ClassVar = [Binding("escape,backspace", "back", "Back")]
    KEYS: ClassVar[type[Keys]] = BackKeys

    def __init__(self, title: str, lines: Source, *, at_end: bool = False) -> None:
        super().__init__()
        self._title = title
        self._source = lines
        self._at_end = at_end

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        yield Text(self._source, at_end=self._at_end)
        yield self.KEYS(id="keys")

    def on_mount(self) -> None:
        text = self.query_one(Text)
        text.set_titles(self._title)
        text.focus()

    def action_back(self) -> None:
        self.dismiss()


class WorkerView(View):
    """One worker, live. The acting keys work here as in the table."""

    KEYS = WorkerKeys

    def __init__(self, row: WorkerRow) -> None:
        super().__init__(f"Worker {row.worker.name}", self._detail)
        self._last = row

    @property
    def worker_id(self) -> WorkerId:
        return self._last.worker.id

    def _detail(self, width: int) -> Sequence[Line]:
        face = self.query_one(Text).face
        plane, row = face.plane, face.plane.row(self.worker_id)
        self._last = row or self._last
        lines = detail.detail_lines(
            self._last,
            face.seen.gateway.now,
            width,
            lambda measure: plane.series(measure, self.worker_id),
            plane.series_taken(),
            ascii_only=face.ascii_only,
        )
        if row is not None:
            return lines
        gone: Line = (
            (" This worker has left the fleet; below is how it was last seen. Esc goes back.", "bold warning"),
        )
        return [gone, BLANK, *lines]


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
