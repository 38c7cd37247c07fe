"""The opposite of an act, where there is one: what `u` would do, and what it says of it first. Pure."""

from gateway.operations import Add, Command, Cordon, Remove, Resume, StartDrain, Uncordon
from gateway.workers.model import Intent, State, Worker


class NoWayBack(Exception):
    """The act has no exact opposite; the message says why, and what one can do instead."""


def can_be_undone(command: Command) -> bool:
    """Whether an act is of a kind that `u` looks at: probing and the like leave nothing to undo."""
    return isinstance(command, Add | Cordon | Uncordon | StartDrain | Resume | Remove)


def opposite(command: Command, before: Worker | None, now: Worker | None, at: float) -> Command:
    """The command that takes another back. `before` is the worker as it was then, `now` as it is; `at` is
    wall-clock seconds. Raises NoWayBack."""
    if now is None:
        name, url = (before.name, before.url) if before is not None else ("it", "URL")
        raise NoWayBack(f"{name} has left the list; :add {url} brings it back as a new worker")
    match command:
        case Cordon():
            return Uncordon(now.id)
        case Uncordon():
            return Cordon(now.id, before.cordon_reason if before is not None else "")
        case StartDrain() | Remove():
            if before is not None and before.state is State.DRAINING:
                raise NoWayBack(f"{now.name} was draining before that; r calls the whole drain off")
            return Resume(now.id)
        case Resume():
            return _drained_again(before, now, at)
        case Add():
            return Remove(now.id)
    raise NoWayBack(f"{command.verb} cannot be undone")


def _drained_again(before: Worker | None, now: Worker, at: float) -> Command:
    drain = before.drain if before is not None else None
    left = max(0.0, drain.deadline - at) if drain is not None and drain.deadline is not None else None
    if drain is not None and drain.intent is Intent.REMOVE:
        return Remove(now.id, timeout_s=left)
    return StartDrain(now.id, left)


def takes_capacity(command: Command) -> bool:
    """Whether a command keeps requests away from a worker."""
    return isinstance(command, Cordon | StartDrain | Remove)


def says(command: Command, name: str) -> str:
    """What will happen, in a sentence."""
    match command:
        case Uncordon():
            return f"{name} is uncordoned: it takes new requests again."
        case Cordon():
            return f"{name} is cordoned again: it takes no new requests."
        case Resume():
            return f"{name} is resumed: its drain is called off."
        case StartDrain():
            return f"{name} is drained again, with the time that was left."
        case Remove():
            return f"{name} is drained, then leaves the list."
    return f"{name}: {command.verb}"
