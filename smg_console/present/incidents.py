"""What is wrong just now: each incident with what it is, since when, and the key that shows it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from gateway.tokenizers.entry import Progress
from gateway.tokenizers.status import TokenizerStatus
from gateway.workers.model import WorkerId
from smg_console.plane import GatewayRow
from smg_console.present import numbers
from smg_console.present.feed import clock
from smg_console.present.overview import Group, Overview
from smg_console.present.runs import Line, Run, cut, printable

KEY = "!"
"""Shows the first incident, whatever it is about."""
LATE_MS = 100.0
LEAST_ERRORS_PER_S = 0.5
MOST_ERRORS = 0.05
"""Share of requests."""
NAMED = 4


@dataclass(frozen=True, slots=True)
class Incident:
    """`key` opens what shows it; `worker` is the one it is about, where there is one."""

    word: str
    text: str
    severe: bool
    since: float | None = None
    key: str = KEY
    worker: WorkerId | None = None


def incidents(
    overview: Overview, gateway: GatewayRow, tokenizers: Sequence[TokenizerStatus], others: Sequence[Incident] = ()
) -> list[Incident]:
    """All there are, the gravest first and of those the oldest. `others`: what discovery has to say."""
    found = [*others, *_models(overview), *_workers(overview), *_tokenizers(tokenizers), *_gateway(gateway)]
    return sorted(found, key=lambda one: (not one.severe, one.since if one.since is not None else gateway.now))


def _models(overview: Overview) -> list[Incident]:
    """Models whose requests nobody takes. While all their workers come up for the first time, that is no alarm."""
    found = []
    for model, served in overview.models.items():
        if served.routable or (not model and served.total < overview.total):
            continue  # what does not say its model matters only where nobody else does
        coming = served.registering == served.total
        name = printable(model) or "the fleet"
        said = f"{served.registering} coming up" if coming else f"none of its {served.total} takes requests"
        word = f"◌ {name} has no worker yet" if coming else f"✗ {name} has no worker"
        found.append(Incident(word, said, not coming, served.changed_at, KEY, served.first))
    return found


def _workers(overview: Overview) -> list[Incident]:
    found = []
    for group, word in ((overview.down, "unhealthy or failed"), (overview.cut_off, "cut off by breaker or ejection")):
        if group.total:
            noun = "worker" if group.total == 1 else "workers"
            found.append(
                Incident(f"◆ {group.total} {noun} {word}", _names(group), False, group.since, KEY, group.first)
            )
    return found


def _names(group: Group) -> str:
    more = f" and {group.total - NAMED} more" if group.total > NAMED else ""
    return ", ".join(group.names[:NAMED]) + more


def _tokenizers(tokenizers: Sequence[TokenizerStatus]) -> list[Incident]:
    return [
        Incident(f"✗ the tokenizer of {printable(told.name)} is missing", told.message, True, told.since, "z")
        for told in tokenizers
        if told.state is Progress.FAILED and told.users
    ]


def _gateway(gateway: GatewayRow) -> list[Incident]:
    found = []
    if gateway.loop_late_ms > LATE_MS:
        found.append(Incident("! the loop is late", f"by {gateway.loop_late_ms:.0f} ms in the last second", False))
    errors = gateway.errors_per_s
    if errors >= LEAST_ERRORS_PER_S and errors > MOST_ERRORS * gateway.requests_per_s:
        share = numbers.percent(min(1.0, errors / gateway.requests_per_s)) if gateway.requests_per_s else "all"
        found.append(Incident("! requests fail", f"{numbers.rate(errors)} a second, {share} of them", True, None, "e"))
    return found


def strip(found: Sequence[Incident], width: int) -> Line | None:
    """The first of them in a line, how many more there are, and the key; None while all is well."""
    if not found:
        return None
    first = found[0]
    more = f" +{len(found) - 1} more " if len(found) > 1 else ""
    right: list[Run] = [(more, "warning"), (f" {first.key}", "bold accent"), (" shows it ", "muted")]
    room = width - sum(cell_len(text) for text, _ in right)
    since = f"since {clock(first.since)} " if first.since is not None else ""
    left = ((f" {first.word} ", f"bold {'error' if first.severe else 'warning'}"), (since + printable(first.text), ""))
    return (*cut(left, room), *(run for run in right if run[0]))
