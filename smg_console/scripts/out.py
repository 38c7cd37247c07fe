"""Where a command writes: results for whoever reads them, and beside them notes for a person who waits."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

COLOURS = {"good": "32", "warning": "33", "bad": "31", "muted": "2", "bold": "1"}


@dataclass(frozen=True, slots=True)
class Out:
    """`width` is the terminal's, None where the results go to a file or a pipe: then nothing is cut or coloured."""

    write: Callable[[str], object]
    note: Callable[[str], object]
    width: int | None = None
    colours: bool = False

    def lines(self, lines: list[str]) -> None:
        """Results, a line each."""
        if lines:
            self.write("\n".join(lines) + "\n")

    def json(self, value: Any) -> None:
        """A result for programs: one JSON document in a line."""
        import msgspec

        self.write(msgspec.json.encode(value).decode() + "\n")

    def coloured(self, text: str, colour: str) -> str:
        """The text in a colour, where there are colours; what it says must not depend on it."""
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.colours else text


def of_process() -> Out:
    """The process's own output; NO_COLOR and a dumb terminal are honoured."""
    tty = sys.stdout.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def note(text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - what a person who waits reads

    return Out(write, note, shutil.get_terminal_size().columns if tty else None, tty and not plain)
