"""ASCII only: replaces every other character on its way to the screen, whichever widget drew it."""

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from smg_console.present.runs import ascii_only


class AsciiFilter(LineFilter):
    """Keeps the width of every text, so that nothing moves."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.control or segment.text.isascii() else Segment(ascii_only(segment.text), segment.style)
            for segment in segments
        ]
