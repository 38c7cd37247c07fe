"""Worker ids: UUID version 7 (RFC 9562), so that ids sort by the time they were given."""

from random import Random
from uuid import UUID

from gateway.workers.model import WorkerId


def new_worker_id(wall: float, rng: Random) -> WorkerId:
    """An id from wall-clock seconds and 74 random bits."""
    value = (int(wall * 1000) & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | rng.getrandbits(12) << 64
    value |= 0b10 << 62 | rng.getrandbits(62)
    return WorkerId(str(UUID(int=value)))


def is_worker_id(text: str) -> bool:
    """Whether the text has the form of an id (any UUID), as opposed to a worker's name or URL."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True
