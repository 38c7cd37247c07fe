"""Who looks at this gateway now, as lines. Pure."""

from collections.abc import Sequence

from gateway.presence import Person
from smg_console.present import numbers
from smg_console.present.feed import clock
from smg_console.present.runs import BLANK, Line, cut_end, fit, printable

HERE = "this terminal"


def people_lines(people: Sequence[Person], now: float, width: int) -> list[Line]:
    """A line for each open console, in the order they came. A narrow screen leaves out what they look with."""
    roomy = width >= 100
    sizes = {"Who": 34 if roomy else 28, "Role": 10, "From": 40 if width >= 160 else 18, "Since": 16}
    rest = "What      Terminal" if roomy else ""
    lines: list[Line] = [((" " + "".join(fit(title, size) for title, size in sizes.items()) + rest, "muted"),)]
    for person in people:
        since = f"{clock(person.since)}  {numbers.age(now - person.since)}"
        with_what = f"{person.doing:<10}{printable(person.terminal)}" if roomy else ""
        lines.append(
            (
                (" ", ""),
                (fit(printable(person.actor), sizes["Who"] - 1) + " ", "bold"),
                (fit(person.role.value, sizes["Role"]), "warning" if person.role.value == "admin" else ""),
                (fit(printable(person.address) or HERE, sizes["From"] - 1) + " ", ""),
                (fit(since, sizes["Since"]), "muted"),
                (cut_end(with_what, width - sum(sizes.values()) - 1), "muted"),
            )
        )
    if not people:
        lines.append(((" nobody but those who use the API", "muted"),))
    return [*lines, BLANK, ((" Everybody here sees what the others do, and the journal names them.", "muted"),)]
