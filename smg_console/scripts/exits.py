"""How a command ends: its exit code, and the error that carries one. A script may rely on the numbers."""

from enum import IntEnum


class Exit(IntEnum):
    """Documented in the README; never renumbered."""

    DONE = 0
    REFUSED = 1
    """The gateway refused it, or what was waited for cannot come any more."""
    USAGE = 2
    UNREACHABLE = 3
    """No gateway, or no answer from it."""
    NOT_FOUND = 4
    """No such worker."""
    TIMED_OUT = 5
    """Waited long enough; what was begun goes on."""
    INTERRUPTED = 130


class Ended(Exception):
    """The command cannot go on: what to say, and the exit code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code
