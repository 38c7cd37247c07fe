"""Events of the journal as lines: when, who it concerns, what, why, by whom. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from gateway.events import Event
from gateway.workers import facts
from gateway.workers.model import Circuit, Health, State, WorkerId
from smg_console.present.runs import Line, Run, cut, spread
from smg_console.present.states import GLYPHS, host_of

NAME = 5


@lru_cache(1024)
def _clock(second: int) -> str:
    return datetime.fromtimestamp(second).astimezone().strftime("%H:%M:%S")


def clock(wall: float) -> str:
    """Local time of day."""
    return _clock(int(wall))


def told(events: Sequence[Event]) -> list[Event]:
    """The events worth a line: a verdict or a drain that only announces the move right beside it is left out."""
    shown: list[Event] = []
    for n, event in enumerate(events):
        before = events[n - 1].fact if n else None
        after = events[n + 1].fact if n + 1 < len(events) else None
        if not _echoes(event.fact, before, after):
            shown.append(event)
    return shown


def _echoes(fact: facts.Fact, before: facts.Fact | None, after: facts.Fact | None) -> bool:
    match fact:
        case facts.HealthChanged():
            return isinstance(after, facts.StateChanged) and (after.worker, after.reason) == (fact.worker, fact.reason)
        case facts.DrainChanged(drain=None):
            return isinstance(before, facts.StateChanged) and before.worker == fact.worker
        case facts.DrainChanged():
            begins = isinstance(after, facts.StateChanged) and after.new is State.DRAINING
            return begins and after is not None and after.worker == fact.worker
    return False


def event_line(event: Event, names: Mapping[WorkerId, str], width: int) -> Line:
    """One event in `width` cells. Colour is on the sign and on what happened; the reason is plain text."""
    fact = event.fact
    mark, what, why, style = described(event)
    name = names.get(fact.worker, "") if fact.worker is not None else ""
    runs: list[Run] = [
        (f" {clock(event.at)} ", "muted"),
        (f"{name:<{NAME}}", "bold"),
        (f"{mark} {what}", f"bold {style}" if style in ("error", "failed") else style),
        (f": {why}" if what and why else why, ""),
    ]
    if fact.worker is None or width < 60:
        return cut(runs, width)
    return spread(runs, [(f" {event.cause.actor} ", "muted")], width)


_BREAKER = {
    Circuit.CLOSED: ("✓", "ready"),
    Circuit.OPEN: ("✗", "unhealthy"),
    Circuit.HALF_OPEN: ("◑", "warning"),
}


def described(event: Event) -> tuple[str, str, str, str]:
    """Glyph, what happened, why, and the style name of an event."""
    fact = event.fact
    match fact:
        case facts.Registered(spec=spec):
            return "+", "added", host_of(spec.url), "registering"
        case facts.StateChanged(old=old, new=State.GONE, reason=reason, forced=forced):
            lost = ", requests in flight left behind" if forced else ""
            return GLYPHS[State.GONE], f"{old} → gone", f"{reason}{lost}", "warning" if forced else "gone"
        case facts.StateChanged(old=old, new=new, reason=reason):
            return GLYPHS[new], f"{old} → {new}", reason, new.value
        case facts.HealthChanged(old=old_health, new=health, reason=reason):
            mark, style = ("✓", "ready") if health is Health.HEALTHY else ("✗", "unhealthy")
            return mark, f"health {old_health} → {health}", reason, style
        case facts.Cordoned(reason=reason):
            return "⊘", "cordoned", reason, "warning"
        case facts.Uncordoned():
            return "✓", "cordon lifted", "", "ready"
        case facts.BreakerChanged(breaker=breaker):
            mark, style = _BREAKER[breaker.state]
            return mark, f"breaker {breaker.state.value.replace('_', '-')}", breaker.reason, style
        case facts.Ejected(reason=reason):
            return "✗", "ejected", f"{reason}; a probe decides", "unhealthy"
        case facts.Readmitted():
            return "✓", "readmitted", "a probe passed", "ready"
        case facts.DrainChanged(drain=None):
            return "↻", "drain called off", "", "ready"
        case facts.DrainChanged(drain=drain):
            assert drain is not None
            until = f"until {clock(drain.deadline)}" if drain.deadline is not None else ""
            return "◐", f"drains to {drain.intent}", until, "draining"
        case facts.Drained():
            return "◐", "drained", "nothing in flight, safe to delete", "draining"
        case facts.Discovered(capabilities=found):
            served = found.model_id or "a model it does not name"
            return "·", "", f"{found.engine} {found.version or ''} serves {served}".replace("  ", " "), "muted"
        case facts.SpecPatched(fields=fields):
            return "·", "changed", ", ".join(fields), "muted"
        case facts.RegistrationRestarted(reason=reason):
            return "↻", "registers again", reason, "registering"
        case facts.Notice(topic=topic, text=text):
            return "·", topic, text, "accent"
