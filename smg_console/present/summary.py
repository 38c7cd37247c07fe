"""The header line and the health counters. Pure."""

from gateway.workers.model import Health, State
from smg_console.plane import GatewayRow
from smg_console.present import numbers
from smg_console.present.feed import clock
from smg_console.present.overview import Overview
from smg_console.present.runs import Line, Run, fit, spread, width_of

LATE_MS = 20.0


def header_line(gateway: GatewayRow, width: int, *, read_only: bool) -> Line:
    """Who we are, and how it goes. With little room words get shorter, then the least urgent numbers leave."""
    left = _who(gateway, width, read_only=read_only)
    room = width - width_of(left) - 1
    parts = _how(gateway, narrow=False)
    if sum(map(width_of, parts)) > room:
        parts = _how(gateway, narrow=True)
    while len(parts) > 3 and sum(map(width_of, parts)) > room:
        parts.pop()
    return spread(left, [run for part in parts for run in part], width)


def _who(gateway: GatewayRow, width: int, *, read_only: bool) -> list[Run]:
    roomy = width >= 100
    left: list[Run] = [(" smg-console " if roomy else " smg ", "bold reverse accent"), (" ", "")]
    if gateway.stopping:
        left.append(("STOPPING ", "bold error"))
    if read_only:
        left.append(("READ-ONLY ", "bold warning"))
    left.append((gateway.address.removeprefix("http://"), "bold"))
    if roomy:
        left += [("  ", ""), (gateway.policy, "muted")]
    if gateway.people > 1:
        left += [("  ", ""), (f"{gateway.people} here" if roomy else f"{gateway.people}u", "accent")]
    return left


def _how(gateway: GatewayRow, *, narrow: bool) -> list[tuple[Run, ...]]:
    """Numbers before their units, in cells that do not move; the most urgent first."""
    late, errors = gateway.loop_late_ms, gateway.errors_per_s
    bad = "bold error" if errors else "bold"
    slow = "bold warning" if late > LATE_MS else ""
    lateness = fit(f"{'!' if late > LATE_MS else ''}{late:.0f}ms", 6 if narrow else 7, right=True)
    up = numbers.age(int(gateway.now) - int(gateway.started_at))  # turns with the clock beside it
    return [
        (
            (fit(numbers.rate(gateway.requests_per_s), 5, right=True), "bold"),
            (" r/s " if narrow else " req/s ", "muted"),
        ),
        ((fit(numbers.rate(errors), 4, right=True), bad), (" e/s " if narrow else " err/s ", "muted")),
        (
            (fit(numbers.count(gateway.in_flight), 5, right=True), "bold"),
            (" fl " if narrow else " in flight ", "muted"),
        ),
        ((lateness, slow), (" loop ", "muted")),
        ((" up ", "muted"), (fit(up, 7), "")),
        ((f"{clock(gateway.now)} ", ""),),
    ]


def counters(fleet: Overview, now: float) -> list[Line]:
    """Health at a glance, one count a line: verdicts, what draws no traffic, and the age of the oldest answer."""
    drains, waiting = fleet.states[State.DRAINING], fleet.draining_in_flight
    unwell, unknown = fleet.verdicts[Health.UNHEALTHY], fleet.verdicts[Health.UNKNOWN]
    none_left = fleet.total > 0 and not fleet.routable
    rows = (
        ("▸ routable", fleet.routable, "bold error" if none_left else "accent", f"of {fleet.total}"),
        ("✓ healthy", fleet.verdicts[Health.HEALTHY], "ready", ""),
        ("✗ unhealthy", unwell, "unhealthy" if unwell else "muted", ""),
        ("◌ unknown", unknown, "registering" if unknown else "muted", ""),
        ("⊘ cordoned", fleet.cordoned, "warning" if fleet.cordoned else "muted", ""),
        ("◐ draining", drains, "draining" if drains else "muted", f"{waiting} in flight" if waiting else ""),
        ("! failing", fleet.failing, "unhealthy" if fleet.failing else "muted", "last probe" if fleet.failing else ""),
    )
    lines: list[Line] = [
        ((" ", ""), (f"{name:<12}", style), (f"{count:>5} ", "bold" if count else "muted"), (more, "muted"))
        for name, count, style, more in rows
    ]
    oldest = numbers.age(now - fleet.oldest_check) if fleet.oldest_check is not None else numbers.NONE
    return [*lines, ((" ", ""), ("oldest check ", "muted"), (f"{oldest:>4}", ""))]


def counters_line(fleet: Overview, now: float, width: int) -> Line:
    """The same in one line; what is nought is left out beyond the verdicts, what does not fit at the end."""
    runs: list[Run] = [(" ", "")]
    for text, style in _in_words(fleet):
        if width_of(runs) + len(text) + 2 <= width:
            runs += [(text, style), ("  ", "")]
    oldest = numbers.age(now - fleet.oldest_check) if fleet.oldest_check is not None else numbers.NONE
    right: list[Run] = [("oldest check ", "muted"), (f"{oldest:>4} ", "")]
    return spread(runs, right if width_of(runs) + width_of(right) < width else [], width)


def _in_words(fleet: Overview) -> list[tuple[str, str]]:
    """Texts with their styles, the most telling first."""
    healthy, unwell, unknown = (
        fleet.verdicts[verdict] for verdict in (Health.HEALTHY, Health.UNHEALTHY, Health.UNKNOWN)
    )
    none_left = fleet.total > 0 and not fleet.routable
    drains, waiting = fleet.states[State.DRAINING], fleet.draining_in_flight
    parts = [
        (f"▸ {fleet.routable} of {fleet.total} routable", "bold error" if none_left else "bold accent"),
        (f"✓ {healthy} healthy", "ready" if healthy else "muted"),
        (f"✗ {unwell} unhealthy", "unhealthy" if unwell else "muted"),
        (f"◌ {unknown} unknown", "registering" if unknown else "muted"),
    ]
    if fleet.cordoned:
        parts.append((f"⊘ {fleet.cordoned} cordoned", "warning"))
    if fleet.cut_off.total:
        parts.append((f"ϟ {fleet.cut_off.total} broken off", "unhealthy"))
    if drains:
        parts.append((f"◐ {drains} draining{f' {waiting} fl' if waiting else ''}", "draining"))
    if fleet.failing:
        parts.append((f"! {fleet.failing} failing", "unhealthy"))
    return parts
