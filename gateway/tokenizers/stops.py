"""Stop strings: where an answer's text ends, whatever tokens it came in. Pure.

A stop string is found as soon as its last character has come, and the text is cut before its first; text that may
still become one is held back. So the outcome depends on the text alone, never on how it was cut into parts. Of
several that end at the same character the longest counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fed:
    """What may be sent now, and the stop string that ended the text, if one did."""

    text: str
    stop: str | None = None


class StopStrings:
    """Watches one answer's text. After a stop string was found it takes nothing more."""

    __slots__ = ("_held", "_include", "_longest", "_stops", "found")

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        """`include`: the stop string itself is sent, too."""
        self._stops = sorted({stop for stop in stops if stop}, key=len, reverse=True)
        self._longest = max(map(len, self._stops), default=0)
        self._include = include
        self._held = ""
        self.found: str | None = None

    def feed(self, text: str) -> Fed:
        """Take the next part of the text."""
        if self.found is not None:
            return Fed("")
        if not self._stops:
            return Fed(text)
        text = self._held + text
        self._held = ""
        ends = [(at + len(stop), -len(stop), stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            end, _, stop = min(ends)
            self.found = stop
            return Fed(text[: end if self._include else end - len(stop)], stop)
        keep = self._may_become(text)
        self._held = text[len(text) - keep :]
        return Fed(text[: len(text) - keep])

    def finish(self) -> str:
        """The text held back, when no more comes."""
        held, self._held = self._held, ""
        return held

    def _may_become(self, text: str) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-length:]
            if any(len(stop) > length and stop.startswith(tail) for stop in self._stops):
                return length
        return 0
