"""What may go wrong between an API server and one who watches it, chosen by the test and drawn from its dice."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from random import Random


@dataclass(slots=True)
class Faults:
    """Chances from 0 to 1 for each event of a watch, switches for all of them, and answers to give instead."""

    rng: Random = field(default_factory=lambda: Random(1))
    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    """Kept back, and sent after later ones: delayed and out of order."""
    delay_s: float = 0.02
    silent: bool = False
    """Watches are accepted, then nothing comes: no events, no bookmarks, no end."""
    dropped: int = 0
    """How many events were."""
    instead: deque[tuple[str, int, dict[str, str], str]] = field(default_factory=deque)
    """The next requests of a verb get this HTTP code, with these headers and this message."""

    def refuse_next(
        self,
        verb: str,
        code: int,
        times: int = 1,
        headers: dict[str, str] | None = None,
        message: str = "as the test asked",
    ) -> None:
        self.instead.extend([(verb, code, headers or {}, message)] * times)

    def refusal(self, verb: str) -> tuple[int, dict[str, str], str] | None:
        for at, (refused, *answer) in enumerate(self.instead):
            if refused == verb:
                del self.instead[at]
                code, headers, message = answer
                return code, headers, message
        return None


class Unruly:
    """One watch's events on their way, each sent as the faults have it."""

    __slots__ = ("_faults", "_held")

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: list[tuple[float, bytes]] = []

    def passed(self, line: bytes) -> list[bytes]:
        """What to send now for this event, perhaps nothing, perhaps twice."""
        faults, dice = self._faults, self._faults.rng
        if dice.random() < faults.drop:
            faults.dropped += 1
            return []
        copies = 2 if dice.random() < faults.duplicate else 1
        if dice.random() < faults.delay:
            self._held.append((asyncio.get_running_loop().time() + dice.random() * faults.delay_s, line))
            copies -= 1
        return [line] * copies

    def due(self) -> list[bytes]:
        """Those kept back whose time has come, in no order."""
        now = asyncio.get_running_loop().time()
        out = [line for at, line in self._held if at <= now]
        self._held = [(at, line) for at, line in self._held if at > now]
        self._faults.rng.shuffle(out)
        return out

    @property
    def holds(self) -> bool:
        return bool(self._held)
