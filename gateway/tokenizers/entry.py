"""A registered tokenizer: its name, where it comes from, how far it is. Values; the registry alone changes them."""

import asyncio
from collections.abc import Callable
from enum import StrEnum

from gateway.tokenizers.places import Place
from gateway.tokenizers.tokenizer import Tokenizer


class Progress(StrEnum):
    """SMG's words."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class Entry:
    """One name in the registry."""

    __slots__ = (
        "aliases",
        "automatic",
        "created_at",
        "error",
        "id",
        "listed",
        "moved",
        "name",
        "place",
        "places",
        "said",
        "since",
        "state",
        "task",
        "temporary",
        "tokenizer",
    )

    def __init__(self, id: str, name: str, places: tuple[Place, ...], *, automatic: bool, now: float) -> None:  # noqa: A002
        """`automatic`: a worker or the settings want it, so a failure for the moment is tried again."""
        self.id = id
        self.name = name
        self.places = places
        self.place: Place | None = None
        """The one of `places` that gave it."""
        self.automatic = automatic
        self.created_at = now
        self.since = now
        """Since when it is in its state, in wall-clock seconds."""
        self.state = Progress.PENDING
        self.said: Callable[[], str] = str
        """What its load does just now."""
        self.error: str | None = None
        self.temporary = False
        """Whether a failed one is tried again by itself."""
        self.tokenizer: Tokenizer | None = None
        self.aliases: set[str] = set()
        """Further names: models that use it."""
        self.listed = True
        self.task: asyncio.Task[None] | None = None
        self.moved = asyncio.Event()
        """Set at each change of state, and replaced by a new one."""

    def __repr__(self) -> str:
        return f"<Entry {self.name} {self.state} from {self.source}>"

    @property
    def source(self) -> str:
        """Where it comes from, or the first place it is looked for."""
        return str(self.place or self.places[0])

    @property
    def progress(self) -> str:
        """What happens with it, for people."""
        match self.state:
            case Progress.PENDING:
                return f"waits to be loaded from {self.source}"
            case Progress.PROCESSING:
                return f"is loading: {self.said() or self.source}"
            case Progress.COMPLETED:
                return "is loaded and ready"
            case Progress.FAILED:
                return f"could not be loaded: {self.error}"

    def move(self, state: Progress, now: float) -> None:
        self.state, self.since = state, now
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()
