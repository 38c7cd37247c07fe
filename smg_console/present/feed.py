"""Events of the journal as lines: when, who it concerns, what, why, by whom. Pure."""

from collections.abc import Mapping
from datetime import datetime

from gateway.events import Event
from gateway.workers import facts
from gateway.workers.model import Health, State, WorkerId
from smg_console.present.runs import Line, Run, fit
from smg_console.present.states import GLYPHS, host_of


def clock(wall: float) -> str:
    """Local time of day."""
    return datetime.fromtimestamp(wall).astimezone().strftime("%H:%M:%S")


def event_line(event: Event, names: Mapping[WorkerId, str], width: int) -> Line:
    """One event, cut to the width."""
    fact = event.fact
    mark, text, style = described(event)
    name = names.get(fact.worker, "") if fact.worker is not None else ""
    runs: list[Run] = [(f"{clock(event.at)} ", "muted"), (fit(name, 5), "bold"), (f"{mark} ", style)]
    who = f" {event.cause.actor}"
    room = width - 8 - 1 - 5 - 2
    if len(text) + len(who) <= room and fact.worker is not None:
        return (*runs, (fit(text, room - len(who)), style), (who, "muted"))
    return (*runs, (fit(text, room), style))


def described(event: Event) -> tuple[str, str, str]:
    """Glyph, sentence and style name of an event."""
    fact = event.fact
    match fact:
        case facts.Registered(spec=spec):
            return "+", f"added {host_of(spec.url)}", "registering"
        case facts.StateChanged(old=old, new=State.GONE, reason=reason, forced=forced):
            cut = ", requests in flight left behind" if forced else ""
            return GLYPHS[State.GONE], f"{old} → gone: {reason}{cut}", "warning" if forced else "gone"
        case facts.StateChanged(old=old, new=new, reason=reason):
            return GLYPHS[new], f"{old} → {new}: {reason}", new.value
        case facts.HealthChanged(old=old_health, new=health, reason=reason):
            mark, style = ("✓", "ready") if health is Health.HEALTHY else ("✗", "unhealthy")
            return mark, f"health {old_health} → {health}: {reason}", style
        case facts.Cordoned(reason=reason):
            return "⊘", f"cordoned {reason}", "warning"
        case facts.Uncordoned():
            return "✓", "cordon lifted", "ready"
        case facts.DrainChanged(drain=None):
            return "↻", "drain called off", "ready"
        case facts.DrainChanged(drain=drain):
            assert drain is not None
            return "◐", f"drains to {drain.intent}", "draining"
        case facts.Drained():
            return "◐", "drained: nothing in flight, safe to delete", "draining"
        case facts.Discovered(capabilities=found):
            served = found.model_id or "a model it does not name"
            return "·", f"{found.engine} {found.version or ''} serves {served}".replace("  ", " "), "muted"
        case facts.SpecPatched(fields=fields):
            return "·", f"changed {', '.join(fields)}", "muted"
        case facts.RegistrationRestarted(reason=reason):
            return "↻", f"registers again: {reason}", "registering"
        case facts.Notice(topic=topic, text=text):
            return "·", f"{topic}: {text}", "accent"
