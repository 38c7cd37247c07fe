"""An attached console's connection: what the header and the incident strip say of it. Pure."""

from smg_console.plane import Link
from smg_console.present import numbers
from smg_console.present.incidents import KEY, Incident
from smg_console.present.runs import Run, printable


def runs(link: Link | None, now: float) -> list[Run]:
    """For the header: that this is an attached console, and when its picture is not the present one, how old it is."""
    if link is None:
        return []
    if link.lost_at is None:
        return [("attached ", "muted")]
    return [(f"LOST {numbers.age(now - link.lost_at)} ", "bold error")]


def trouble(link: Link | None, now: float) -> Incident | None:
    """None while the picture is the present one."""
    if link is None or link.lost_at is None:
        return None
    next_try = "retrying" if link.next_try_at is None else f"next try in {max(0, round(link.next_try_at - now))} s"
    age = numbers.age(now - link.lost_at)
    text = f"this picture is {age} old, {next_try}: {printable(link.why)} ({printable(link.target)})"
    return Incident("✗ connection lost", text, True, link.lost_at, KEY)
