"""What acting on several workers at once would mean, in sentences; and rolling drains in a line each. Pure."""

from collections.abc import Sequence

from gateway.workers.impact import JointEffect, Toll
from gateway.workers.model import Role
from gateway.workers.rolling import ENDS, Phase
from gateway.workers.rolling_jobs import RollingStatus
from smg_console.present import numbers
from smg_console.present.runs import Line, Run, cut, printable

NAMES, TOLLS = 12, 5
"""How many are told one by one."""
ENDED_SHOWN_S = 30.0
_SIGNS = {
    Phase.RUNNING: ("◐", "draining"),
    Phase.PAUSED: ("◌", "warning"),
    Phase.STOPPING: ("◐", "warning"),
    Phase.DONE: ("✓", "ready"),
    Phase.STOPPED: ("✗", "error"),
    Phase.CANCELLED: ("·", "muted"),
}


def joint_lines(effect: JointEffect, names: Sequence[str]) -> tuple[str, ...]:
    """Who would go, what is in flight there, and what each model and role would have left."""
    who = " ".join(names[:NAMES]) + (f" and {len(names) - NAMES} more" if len(names) > NAMES else "")
    flying = f"{effect.in_flight} request{'' if effect.in_flight == 1 else 's'} in flight, which may finish."
    if not effect.tolls:
        return (who, flying, "None of them takes requests at present.")
    lines = [_toll_line(toll) for toll in effect.tolls[:TOLLS]]
    if len(effect.tolls) > TOLLS:
        lines.append(f"and {len(effect.tolls) - TOLLS} more models, each with some left")
    return (who, flying, *lines)


def _toll_line(toll: Toll) -> str:
    if toll.last:
        many = "its LAST ready worker goes" if toll.taken == 1 else f"ALL {toll.taken} ready workers go"
        return f"{whom(toll)}: {many}: its requests will fail."
    share = 100 * toll.left // (toll.left + toll.taken)
    return f"{whom(toll)}: {toll.taken} of {toll.left + toll.taken} ready go, {share} % of its capacity remains."


def whom(toll: Toll) -> str:
    """The model and, where there are several, the role."""
    model = printable(toll.model or "any model")
    return model if toll.role is Role.REGULAR else f"{model} ({toll.role.value})"


def name_to_type(effect: JointEffect) -> str:
    """What must be typed before it counts; empty where everybody has somebody left."""
    return printable(effect.last[0].model or "all") if effect.last else ""


def in_sight(jobs: Sequence[RollingStatus], now: float) -> list[RollingStatus]:
    """The jobs to show: those under way, and the last that ended a moment ago."""
    ended = [job for job in jobs if job.ended_at is not None and now - job.ended_at < ENDED_SHOWN_S]
    return [job for job in jobs if job.phase not in ENDS] or ended[-1:]


def job_line(job: RollingStatus, now: float, width: int) -> Line:
    """A rolling drain: how far, who drains with how much time left, and what one can do."""
    sign, style = _SIGNS[job.phase]
    what = "removal" if job.remove else "drain"
    left: list[Run] = [
        (f" {sign} ", f"bold {style}"),
        (f"rolling {what} {job.id} ", "bold"),
        (f"{job.phase.value}: ", style),
        (f"{len(job.done)} of {job.total} {'removed' if job.remove else 'drained'}", "bold"),
    ]
    if job.why:
        left.append((f", {printable(job.why)}", style))
    for one in job.under_way:
        time = f" {numbers.age(one.left_s)} left" if one.left_s is not None else ""
        left.append((f"  {one.name} {one.in_flight} in flight{time}", "draining"))
    if job.phase not in ENDS:
        keys = ":continue :cancel" if job.phase is Phase.PAUSED else ":pause :cancel"
        left.append((f"  {keys}", "muted"))
    return cut(left, width)


def job_lines(jobs: Sequence[RollingStatus], now: float) -> list[Line]:
    """All of them in full, the newest first."""
    if not jobs:
        return [(("  No rolling drains. :drain FILTER max=2 begins one.", "muted"),)]
    lines: list[Line] = []
    for job in reversed(jobs):
        lines.append(job_line(job, now, 400))
        asked = f"{job.what}  " if job.what else ""
        lines.append(((f"   asked by {job.actor}: {asked}at most {job.most} at a time, floor {job.floor}", "muted"),))
        groups = (("drained", job.done), ("failed", job.failed), ("waiting", job.waiting))
        lines += [((f"   {name:<8} ", "muted"), (" ".join(of), "")) for name, of in groups if of]
        lines.append((("", ""),))
    return lines
