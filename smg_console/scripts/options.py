"""The words of each command: which flags and arguments it takes, and what its `--help` says. Runs nothing."""

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.settings.flags import UsageError, new_parser
from smg_console.scripts.choose import STATES, Filter

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_S = 7 * 86400.0
WAIT_FOR = ("ready", "healthy", "routable", "drained", "gone")
ROLES = ("regular", "prefill", "decode")
SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True)
class Spelled:
    """One command: its words, one line about it, and how its flags are added."""

    words: tuple[str, ...]
    about: str
    add: Callable[[argparse.ArgumentParser], None]


def duration(text: str, flag: str) -> float:
    """Seconds of `90`, `90s`, `5m`, `1h30m`. Raises UsageError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?[smhd]?)+", text)
    seconds = sum(
        float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", text) if found
    )
    if not found or seconds > LONGEST_S:
        raise UsageError(f"{flag}: given {text!r}, expected a time such as 90s, 5m or 1h30m, at most 7d")
    return seconds


def whole(text: str, flag: str, least: int, most: int) -> int:
    """A number. Raises UsageError."""
    if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most):
        raise UsageError(f"{flag}: given {text!r}, expected a whole number from {least} to {most}")
    return int(text)


def one_of(text: str | None, flag: str, accepted: Sequence[str]) -> str | None:
    """One of these words. Raises UsageError."""
    if text is not None and text not in accepted:
        raise UsageError(f"{flag}: given {text!r}, expected one of {', '.join(accepted)}")
    return text


def labels(texts: Sequence[str]) -> dict[str, str]:
    """`--label name=value` ones. Raises UsageError."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--label: given {text!r}, expected name=value")
        found[name] = value
    return found


def filter_of(options: Any) -> Filter:
    """The filter flags of a command. Raises UsageError."""
    return Filter(
        model=options.model,
        state=one_of(options.state, "--state", STATES),
        role=one_of(options.role, "--role", ROLES),
        labels=tuple(labels(options.label or ()).items()),
        everything=getattr(options, "all", False),
    )


# --- groups of flags ---


def _filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Which workers")
    group.add_argument("--model", metavar="MODEL", help="Only those that serve this model.")
    group.add_argument("--state", metavar="STATE", help=f"Only those in this state: {', '.join(STATES)}.")
    group.add_argument("--role", metavar="ROLE", help=f"Only those of this role: {', '.join(ROLES)}.")
    group.add_argument("--label", metavar="NAME=VALUE", action="append", help="Only those with this label.")


def _several(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("worker", nargs="*", metavar="WORKER", help="Name, id, URL, or a beginning that is enough.")
    _filters(parser)
    parser.add_argument("--all", action="store_true", help="All workers, or all that fit.")


def _reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", metavar="TEXT", default="", help="What the journal says of it.")


def _wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="Come back when it is done, with progress on stderr.")
    parser.add_argument("--timeout", metavar="TIME", help="How long to wait, such as 5m; it goes on afterwards.")


def _list(parser: argparse.ArgumentParser) -> None:
    _filters(parser)
    parser.add_argument("--wide", action="store_true", help="More columns.")


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("worker", metavar="WORKER", help="Name, id, URL, or a beginning that is enough.")


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="http://host:8000, grpc://host:port, …")
    parser.add_argument("--model", metavar="MODEL", help="What it serves; the worker is asked otherwise.")
    parser.add_argument("--role", metavar="ROLE", help=f"One of {', '.join(ROLES)}.")
    parser.add_argument("--label", metavar="NAME=VALUE", action="append", help="A label; may be given several times.")
    parser.add_argument("--priority", metavar="N", help="0 to 100 [50]")
    _wait(parser)


def _drain(parser: argparse.ArgumentParser) -> None:
    _several(parser)
    _reason(parser)
    parser.add_argument("--deadline", metavar="TIME", help="How long requests in flight may go on [the gateway's].")
    parser.add_argument("--max", metavar="N", help="Rolling: at most so many drain at once; waits for all.")
    parser.add_argument("--floor", metavar="N", help="Rolling: so many ready ones of each model and role stay [1].")
    _wait(parser)


def _remove(parser: argparse.ArgumentParser) -> None:
    _several(parser)
    parser.add_argument("--now", action="store_true", help="Without a drain: it leaves the list at once.")
    parser.add_argument("--deadline", metavar="TIME", help="How long requests in flight may go on [the gateway's].")
    _wait(parser)


def _cordon(parser: argparse.ArgumentParser) -> None:
    _several(parser)
    _reason(parser)


def _wait_for(parser: argparse.ArgumentParser) -> None:
    _several(parser)
    parser.add_argument("--for", dest="wanted", metavar="WHAT", default="ready", help=f"{', '.join(WAIT_FOR)} [ready]")
    parser.add_argument("--timeout", metavar="TIME", help="How long to wait, such as 5m.")


def _events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", "-f", action="store_true", help="Go on with what happens from now on.")
    parser.add_argument("--since", metavar="TIME", help="Only of the last so long, such as 10m.")
    parser.add_argument("--worker", metavar="WORKER", help="Only of this worker.")
    parser.add_argument("--kind", metavar="TEXT", help="Only events whose kind has this in it, such as drain.")
    parser.add_argument("--most", metavar="N", default="100", help="Of those that were, the newest so many [100].")


def _top(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="Print one table and end.")
    parser.add_argument("--every", metavar="TIME", default="2s", help="How often [2s].")
    _filters(parser)


def _nothing(_parser: argparse.ArgumentParser) -> None:
    """No flags of its own."""


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", help=f"One of {', '.join(SHELLS)}.")


SPELLED = (
    Spelled(("workers", "list"), "The workers in a table.", _list),
    Spelled(("workers", "show"), "All there is to know of one worker.", _show),
    Spelled(("workers", "add"), "Add a worker.", _add),
    Spelled(("workers", "cordon"), "Send no new requests.", _cordon),
    Spelled(("workers", "uncordon"), "Send requests again.", _several),
    Spelled(("workers", "drain"), "Send no new requests, wait for those in flight, stay listed.", _drain),
    Spelled(("workers", "resume"), "Call a drain off.", _several),
    Spelled(("workers", "remove"), "Drain, then leave the list.", _remove),
    Spelled(("workers", "probe"), "Probe now.", _several),
    Spelled(("workers", "retry"), "Register an unhealthy or failed worker anew.", _several),
    Spelled(("workers", "reset-breaker"), "Close the circuit breaker, forget the failures it counted.", _several),
    Spelled(("workers", "wait"), "Wait until workers are as they should be.", _wait_for),
    Spelled(("events",), "What happened, and with -f what happens.", _events),
    Spelled(("loads",), "What the engines say of their load.", _nothing),
    Spelled(("top",), "A table of the fleet that renews itself.", _top),
    Spelled(("doctor",), "Look for what is wrong, and say what to do.", _nothing),
    Spelled(("completion",), "A script that completes these commands in a shell.", _completion),
)
FIRST_WORDS = tuple(dict.fromkeys(spelled.words[0] for spelled in SPELLED))


def parsed(words: Sequence[str]) -> tuple[Spelled, Any, str | None]:
    """The command, its options, and the text of `--help` where that was asked for. Raises UsageError."""
    spelled = _spelled(words)
    if spelled is None:
        return SPELLED[0], None, overview(words[0])
    parser = new_parser(f"smg-console {' '.join(spelled.words)}", spelled.about)
    general = parser.add_argument_group("General")
    general.add_argument("--help", "-h", action="store_true", help="Show this and exit.")
    if spelled.words != ("completion",):
        general.add_argument(
            "--gateway", "-g", metavar="GATEWAY", help="URL, socket or port; else the one that runs here."
        )
        general.add_argument("--api-key-file", metavar="FILE", help="Key of the gateway; or in SMG_CONSOLE_API_KEY.")
        general.add_argument("--json", action="store_true", help="For programs.")
    spelled.add(parser)
    rest = list(words[len(spelled.words) :])
    if "--help" in rest or "-h" in rest:
        return spelled, None, parser.format_help()
    return spelled, _with_defaults(parser, parser.parse_strictly(rest)), None


def _with_defaults(parser: argparse.ArgumentParser, given: argparse.Namespace) -> argparse.Namespace:
    """What was not given as its default: no, none, or nothing."""
    for action in parser._actions:
        if not hasattr(given, action.dest):
            empty: Any = False if action.nargs == 0 else [] if action.nargs == "*" else None
            setattr(given, action.dest, empty if action.default == argparse.SUPPRESS else action.default)
    return given


def _spelled(words: Sequence[str]) -> Spelled | None:
    """None: help of a group was asked for. Raises UsageError."""
    for spelled in SPELLED:
        if tuple(words[: len(spelled.words)]) == spelled.words:
            return spelled
    second = [spelled.words[1] for spelled in SPELLED if spelled.words[0] == words[0] and len(spelled.words) > 1]
    given = words[1] if len(words) > 1 else ""
    if given in ("", "--help", "-h"):
        return None
    raise UsageError(f"{words[0]}: unknown command {given!r}; expected one of {', '.join(second)}")


def overview(first: str) -> str:
    """The commands of a group, a line each."""
    lines = [f"usage: smg-console {first} COMMAND ... [--help]", ""]
    lines += [f"  {spelled.words[1]:<14} {spelled.about}" for spelled in SPELLED if spelled.words[0] == first]
    return "\n".join(lines) + "\n"
