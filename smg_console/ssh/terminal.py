"""What a client's terminal can do, from what its SSH client says of it: TERM, its environment, its size. Pure.

The client says little and may say anything; what it does not say is taken as today's usual terminal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

USUAL = (80, 24)
LEAST, MOST = (1, 1), (500, 250)
"""A terminal larger than any screen would only cost memory and time."""
_PLAIN = ("vt100", "vt102", "vt220", "ansi", "linux", "dumb", "unknown", "")
"""Terminals without a mouse, and that write what they do not know onto the screen."""
_ASCII = ("vt100", "vt102", "vt220", "ansi")
_TOLD = ("TERM", "COLORTERM", "NO_COLOR")


@dataclass(frozen=True, slots=True)
class Terminal:
    """A client's terminal. `size` is columns and rows; `environment` is what tells Rich of its colours."""

    term: str
    size: tuple[int, int]
    environment: Mapping[str, str] = field(default_factory=dict)
    ascii_only: bool = False
    theme: str | None = None

    @property
    def mouse(self) -> bool:
        return self.term not in _PLAIN

    @property
    def modern(self) -> bool:
        """Whether it may be asked what it can, and told what it may not know."""
        return self.term not in _PLAIN and not self.term.startswith("screen")

    @property
    def no_color(self) -> bool:
        return "NO_COLOR" in self.environment

    def __str__(self) -> str:
        return f"{self.term or 'terminal'} {self.size[0]}x{self.size[1]}"


def of_client(term: str, size: tuple[int, int], environment: Mapping[str, str]) -> Terminal:
    """The terminal of a client that sent these."""
    term = "".join(c for c in term if c.isalnum() or c in "-+._")[:40]
    told = {name: environment[name] for name in _TOLD if environment.get(name)}
    return Terminal(
        term,
        bounded(size),
        {**told, "TERM": term},
        ascii_only=term in _ASCII
        or _not_utf8(environment)
        or environment.get("SMG_CONSOLE_ASCII", "") in ("1", "true"),
        theme=environment.get("SMG_CONSOLE_THEME") or None,
    )


def bounded(size: tuple[int, int]) -> tuple[int, int]:
    """A size one can draw on; a client that knows none says 0 by 0."""
    width, height = (given or usual for given, usual in zip(size, USUAL, strict=True))
    return min(max(width, LEAST[0]), MOST[0]), min(max(height, LEAST[1]), MOST[1])


def _not_utf8(environment: Mapping[str, str]) -> bool:
    """Whether the client says that its locale is another one. The first variable that is set counts, as in libc."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        if locale := environment.get(name):
            return "utf-8" not in locale.lower() and "utf8" not in locale.lower()
    return False
