"""The journal as rows one can filter, and one event in full. Pure."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.events import Event
from gateway.workers.model import WorkerId
from smg_console.present import feed
from smg_console.present.runs import Line, printable

FIELDS = {"worker": "w3", "kind": "drain", "by": "api"}
"""What a word of the filter may name, with an example each."""
LABEL = 10


@dataclass(frozen=True, slots=True)
class Told:
    """An event with what a filter looks at, in small letters."""

    event: Event
    worker: str
    kind: str
    by: str
    text: str


def told(event: Event, names: Mapping[WorkerId, str]) -> Told:
    """The event with its words."""
    fact = event.fact
    worker = names.get(fact.worker, "") if fact.worker is not None else ""
    _, what, why, _ = feed.described(event)
    by = event.cause.actor.lower()
    text = " ".join((feed.clock(event.at), worker, what, why, by)).lower()
    return Told(event, worker.lower(), fact.kind.lower(), by, text)


def problem(words: Sequence[str]) -> str:
    """What is wrong with a filter; empty where nothing is."""
    for word in words:
        name, colon, value = word.removeprefix("-").lower().partition(":")
        if colon and name.isalpha() and name not in FIELDS:
            return f"{name}: is no field; there are {', '.join(f'{known}:' for known in FIELDS)} and plain words"
        if colon and name in FIELDS and not value:
            return f"{name}: of what? Such as {name}:{FIELDS[name]}"
    return ""


def matches(row: Told, words: Sequence[str]) -> bool:
    """Whether all words fit; one that begins with `-` must not."""
    return all(word == "-" or _fits(row, word.removeprefix("-")) != word.startswith("-") for word in words)


def _fits(row: Told, word: str) -> bool:
    word = word.lower()
    name, colon, value = word.partition(":")
    if colon and name in FIELDS:
        if name == "worker":
            return row.worker == value
        return value in (row.kind if name == "kind" else row.by)
    return word in row.text


def detail_lines(event: Event, names: Mapping[WorkerId, str], width: int) -> list[Line]:
    """One event, nothing cut off."""
    mark, what, why, style = feed.described(event)
    fact = event.fact
    when = datetime.fromtimestamp(event.at).astimezone()
    lines: list[Line] = [
        (
            (f" {mark} {what or fact.kind}", f"bold {style}".strip()),
            (f"  {when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03} {when:%Z}", ""),
            (f"  event {event.seq}, {fact.kind}", "muted"),
        )
    ]
    if fact.worker is not None:
        lines.append(_pair("worker", f"{names.get(fact.worker, '?')}  {fact.worker}"))
    asked = f", request {event.cause.correlation}" if event.cause.correlation else ""
    lines.append(_pair("by", f"{event.cause.actor}{asked}"))
    for n, part in enumerate(textwrap.wrap(printable(why), max(20, width - LABEL - 3)) if why else []):
        lines.append(_pair("why" if not n else "", part))
    return lines


def _pair(name: str, value: str) -> Line:
    return ((f" {name:<{LABEL}}", "muted"), (printable(value), ""))
