"""A hash ring: every worker owns points on a circle, and a key belongs to the next point clockwise. Pure.

A worker's points are pieces of 8 bytes of blake2b over `url#0`, `url#1`, …; so gateways that know the same URLs
agree, however their workers came. 150,000 points are too many to sort whenever a worker comes or goes: the ring
is kept in 256 sorted pieces, a worker's points are put in one by one (less than 0.1 ms for 150), and a worker that
cannot take requests keeps its points and is passed over.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from struct import unpack_from
from typing import Final

from gateway.routing.policy import Candidate
from gateway.routing.weights import weight
from gateway.workers.model import Worker, WorkerId, WorkerSpec

POINTS = 150
"""Points of a worker of weight 1; others have as many more or fewer."""
MOST_POINTS = 1500
PIECE_BITS: Final = 8
OWNER_BITS: Final = 24
"""A point is one number: its place on the circle, then its owner's number."""
OWNER_MASK = (1 << OWNER_BITS) - 1
JOINED_AT_ONCE = 10
"""Workers put in by one choice: under a millisecond. The others follow with the next ones."""
POINTS_PER_HASH = 8


def place_of(key: bytes) -> int:
    """A key's place on the circle, 0 to 2**64 - 1."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")


def points_of(worker: Worker) -> int:
    """How many points a worker gets, by weight."""
    return min(max(round(POINTS * weight(worker)), 1), MOST_POINTS)


class Ring:
    """Owners are numbers, given anew to each worker that is put in."""

    def __init__(self) -> None:
        self._pieces: list[list[int]] = [[] for _ in range(1 << PIECE_BITS)]
        self._owners: dict[WorkerId, tuple[int, WorkerSpec, int]] = {}
        """Number, spec and count of points."""
        self._free: list[int] = []
        self.points = 0

    def __len__(self) -> int:
        """Workers on the ring."""
        return len(self._owners)

    def number(self, worker: Worker) -> int | None:
        """The number of a worker that is on the ring as it should be; None where it has to be put in (anew)."""
        known = self._owners.get(worker.id)
        if known is None:
            return None
        number, spec, count = known
        same = spec is worker.spec or (spec.url == worker.spec.url and count == points_of(worker))
        return number if same else None

    def put(self, worker: Worker) -> int:
        """Put a worker on the ring, in place of its former points if it has any; returns its number."""
        self.take(worker.id)
        number = self._free.pop() if self._free else len(self._owners)
        count = points_of(worker)
        self._owners[worker.id] = (number, worker.spec, count)
        for place in _places(worker.url, count):
            insort(self._pieces[place >> (64 - PIECE_BITS)], place << OWNER_BITS | number)
        self.points += count
        return number

    def take(self, worker_id: WorkerId) -> None:
        """Take a worker off the ring, if it is there."""
        known = self._owners.pop(worker_id, None)
        if known is None:
            return
        number, spec, count = known
        for place in _places(spec.url, count):
            piece, point = self._pieces[place >> (64 - PIECE_BITS)], place << OWNER_BITS | number
            del piece[bisect_left(piece, point)]
        self.points -= count
        self._free.append(number)

    def clockwise(self, place: int) -> Iterator[int]:
        """Owners of the points from that place on, once round; the same owner comes many times."""
        pieces = self._pieces
        first = place >> (64 - PIECE_BITS)
        begin = bisect_left(pieces[first], place << OWNER_BITS)
        for point in pieces[first][begin:]:
            yield point & OWNER_MASK
        for offset in range(1, len(pieces)):
            for point in pieces[(first + offset) % len(pieces)]:
                yield point & OWNER_MASK
        for point in pieces[first][:begin]:
            yield point & OWNER_MASK

    def next_owner(self, place: int) -> int | None:
        """The owner of the first point from that place on; None on an empty ring, or where the piece ends first."""
        piece = self._pieces[place >> (64 - PIECE_BITS)]
        at = bisect_left(piece, place << OWNER_BITS)
        return piece[at] & OWNER_MASK if at < len(piece) else None


class Seats:
    """A ring with the candidates of one tuple on it. Workers that join are put in a few at a time."""

    __slots__ = ("_joining", "_ring", "_seats", "candidates")

    def __init__(self) -> None:
        self._ring = Ring()
        self._seats: dict[int, int] = {}
        """Place in the tuple by owner's number."""
        self._joining: list[int] = []
        """Places in the tuple that are not on the ring yet, the next one last."""
        self.candidates: Sequence[Candidate] = ()

    @property
    def complete(self) -> bool:
        """Whether all candidates are on the ring."""
        return not self._joining

    @property
    def so_far(self) -> str:
        """What to add to an explanation while they are not; empty once they are."""
        count = len(self.candidates)
        return f" (of {count:,} workers {count - len(self._joining):,} are on the ring yet)" if self._joining else ""

    def adopt(self, candidates: Sequence[Candidate]) -> None:
        """From now on these are the candidates."""
        ring = self._ring
        self.candidates = candidates
        self._seats.clear()
        self._joining.clear()
        for place, candidate in enumerate(candidates):
            if (owner := ring.number(candidate.worker)) is not None:
                self._seats[owner] = place
            else:
                self._joining.append(place)
        self._joining.reverse()
        self.go_on()

    def go_on(self) -> None:
        """Put the next few workers on the ring."""
        for _ in range(min(JOINED_AT_ONCE, len(self._joining))):
            place = self._joining.pop()
            self._seats[self._ring.put(self.candidates[place].worker)] = place

    def forget(self, worker_id: WorkerId) -> None:
        """Take a worker off the ring. Candidates have to be adopted again before the next use."""
        self._ring.take(worker_id)
        self.candidates = ()
        self._seats.clear()
        self._joining.clear()

    def find(self, place: int, avoided: set[int]) -> int:
        """The place in the tuple of the next candidate clockwise that is not avoided (places in the tuple too)."""
        owner = self._ring.next_owner(place)
        if owner is not None and not avoided and (seat := self._seats.get(owner)) is not None:
            return seat
        for owner in self._ring.clockwise(place):
            seat = self._seats.get(owner)
            if seat is not None and seat not in avoided:
                return seat
        return next(seat for seat in range(len(self.candidates)) if seat not in avoided)  # none of them joined yet


def _places(url: str, count: int) -> list[int]:
    hashed = b"".join(blake2b(f"{url}#{n}".encode()).digest() for n in range(-(-count // POINTS_PER_HASH)))
    return [*unpack_from(f"<{count}Q", hashed)]
