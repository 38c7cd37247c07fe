"""How long to wait before trying again: doubling pauses with jitter, so that many gateways do not knock at once."""

from dataclasses import dataclass
from random import Random


@dataclass(slots=True)
class Backoff:
    """Pauses from `first_s`, doubling up to `most_s`, each shortened by up to half at random."""

    rng: Random
    first_s: float = 0.2
    most_s: float = 30.0
    failures: int = 0

    def failed(self) -> float:
        """One more failure: the seconds to wait before the next try."""
        pause = min(self.most_s, self.first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return pause * (0.5 + self.rng.random() / 2)

    def reset(self) -> None:
        self.failures = 0
