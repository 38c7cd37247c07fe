"""The base of every live widget: a block of lines that redraws exactly the lines that changed.

A stock table refreshed in the gateway's loop costs the traffic tens of milliseconds at a time; comparing tuples
and keeping rendered strips costs next to nothing. A hidden panel is not asked for anything.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from smg_console.present.runs import BLANK, Line, changed_cells, printable

if TYPE_CHECKING:
    from smg_console.app import ConsoleApp


class Panel(Widget):
    """Shows the lines that `draw` gives for its size."""

    DEFAULT_CSS = """
    Panel { width: 1fr; height: 1fr; background: $background; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._lines: list[Line] = []
        self._selected = -1
        self._strips: dict[int, Strip] = {}
        self._titles = ("", "")
        self.drawn = 0
        """Lines rendered so far: a test that nothing changed looks here."""

    @property
    def face(self) -> "ConsoleApp":
        """The app, typed."""
        return cast("ConsoleApp", self.app)

    async def prepare(self) -> float:
        """What must be done in slices before the panel can draw; the longest in seconds that it held the loop."""
        return 0.0

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """The lines to show; fewer than `height` leave the rest empty."""
        raise NotImplementedError

    def selected_line(self) -> int:
        """The line that is marked, -1 for none."""
        return -1

    def set_titles(self, above: str, below: str = "") -> None:
        """The border's texts, taken as they stand: a `[` in a worker's name is no markup."""
        above, below = printable(above), printable(below)
        if (above, below) != self._titles:
            self._titles = (above, below)
            self.border_title = Content(above) if above else ""
            self.border_subtitle = Content(below) if below else ""

    def tick(self) -> None:
        """Look at the data once more and redraw what changed."""
        if self.is_on_screen:
            self._compare()

    def _compare(self) -> None:
        width, height = self.size
        if not width or not height:
            return
        lines = [*self.draw(width, height)][:height]
        lines += [BLANK] * (height - len(lines))
        selected = self.selected_line()
        old, moved = self._lines, selected != self._selected
        changed = [
            y
            for y in range(height)
            if y >= len(old)
            or (lines[y] is not old[y] and lines[y] != old[y])
            or (moved and y in (selected, self._selected))
        ]
        regions: list[Region] = []
        for y in changed:
            self._strips.pop(y, None)
            whole = y >= len(old) or (moved and y in (selected, self._selected))
            first, end = (0, width) if whole else changed_cells(old[y], lines[y], width)
            if end > first:
                regions.append(Region(first, y, end - first, 1))
        self._lines, self._selected = lines, selected
        if regions:
            self.refresh(*regions)

    def renew(self) -> None:
        """Forget what was rendered: the size or the colours changed."""
        self._lines, self._strips = [], {}
        self._compare()

    def on_resize(self) -> None:
        self.renew()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        strip = self._strips.get(y)
        if strip is None or strip.cell_length != width:
            strip = self._strips[y] = self._rendered(y, width)
        return strip

    def _rendered(self, y: int, width: int) -> Strip:
        self.drawn += 1
        selected = y == self._selected
        line = self._lines[y] if y < len(self._lines) else BLANK
        style = self.face.palette.style
        styled = [(printable(text), style(name, selected=selected)) for text, name in line]
        return Strip(_joined(styled)).adjust_cell_length(width, style("", selected=selected))


def _joined(parts: Sequence[tuple[str, Style]]) -> list[Segment]:
    """Segments, with gaps taken to the text before them: every change of style is forty bytes on the wire."""
    segments: list[Segment] = []
    last: Style | None = None
    for text, style in parts:
        gap = last is not None and text.isspace() and not style.reverse and not last.reverse
        if last is not None and (gap or style == last):
            segments[-1] = Segment(segments[-1].text + text, last)
        elif text:
            segments.append(Segment(text, style))
            last = style
    return segments
