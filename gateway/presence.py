"""Who looks at this gateway now: the people whose consoles are open, whichever way they came in.

Plain facts that whoever lets somebody in reports here, and that consoles show. Nothing is decided by them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.access import AccessRole


@dataclass(frozen=True, slots=True)
class Person:
    """One open console. `since` is wall-clock seconds."""

    actor: str
    """As the journal names him: `console`, `ssh:ops@laptop`."""
    role: AccessRole
    address: str
    """Where he comes from; empty for the terminal the gateway runs in."""
    since: float
    doing: str = "console"
    terminal: str = ""
    """`xterm-256color 120x40`."""


class Presence:
    """Those who are here, in the order they came."""

    def __init__(self) -> None:
        self._here: dict[int, Person] = {}
        self._last = 0

    def enter(self, person: Person) -> int:
        """Somebody came. Returns the number by which he changes and leaves."""
        self._last += 1
        self._here[self._last] = person
        return self._last

    def change(self, number: int, person: Person) -> None:
        """Something about him changed. Of somebody who left there is nothing to change."""
        if number in self._here:
            self._here[number] = person

    def leave(self, number: int) -> None:
        """He left. Harmless when he had already."""
        self._here.pop(number, None)

    def people(self) -> Sequence[Person]:
        return tuple(self._here.values())
