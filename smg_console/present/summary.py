"""The header line and the health counters. Pure."""

from collections import Counter
from collections.abc import Sequence

from gateway.workers.availability import availability
from gateway.workers.model import Health, State
from smg_console.plane import GatewayRow, WorkerRow
from smg_console.present import numbers
from smg_console.present.runs import Line, Run, fit, spread

LATE_MS = 20.0


def header_line(gateway: GatewayRow, width: int, *, read_only: bool) -> Line:
    """Who we are, and how it goes; with little room the words get shorter, never the numbers fewer."""
    narrow = width < 100
    late = gateway.loop_late_ms
    flying, errors = gateway.in_flight, gateway.errors_per_s
    right: list[Run] = []
    for long, short, text, cells, style in (
        ("req/s", "r/s", numbers.rate(gateway.requests_per_s), 5, "bold"),
        ("err/s", "e/s", numbers.rate(errors), 4, "bold error" if errors else "bold"),
        ("in flight", "fl", numbers.count(flying), 4, "bold"),
        ("loop", "loop", f"{late:.0f}ms", 5, "bold warning" if late > LATE_MS else ""),
        ("up", "up", numbers.age(gateway.now - gateway.started_at), 6, ""),
    ):
        right += [(f" {short if narrow else long} ", "muted"), (fit(text, cells, right=True), style)]
    left: list[Run] = [(" smg " if narrow else " smg-console ", "bold reverse accent"), (" ", "")]
    if gateway.stopping:
        left.append(("STOPPING ", "bold error"))
    if read_only:
        left.append(("READ-ONLY ", "bold warning"))
    left.append((gateway.address.removeprefix("http://"), "bold"))
    if not narrow:
        left += [("  ", ""), (gateway.policy, "muted")]
    return spread(left, right, width)


def counters(rows: Sequence[WorkerRow], now: float, width: int) -> list[Line]:
    """Health at a glance: verdicts, what does not take traffic, and how old the oldest answer is."""
    verdicts = Counter(row.worker.health for row in rows)
    cordoned = sum(row.worker.cordoned for row in rows)
    routable = sum(availability(row.worker).routable for row in rows)
    failing = sum(row.health.counter.fail_run > 0 for row in rows)
    checked = [row.health.last_check for row in rows if row.health.last_check is not None]
    drains = [row for row in rows if row.worker.state is State.DRAINING]
    waiting = sum(row.in_flight for row in drains)
    oldest = numbers.age(now - min(checked)) if checked else numbers.NONE
    lines: list[list[Run]] = [
        [("✓ healthy   ", "ready"), (f"{verdicts[Health.HEALTHY]:>5}", "bold")],
        [
            ("✗ unhealthy ", "unhealthy" if verdicts[Health.UNHEALTHY] else "muted"),
            (f"{verdicts[Health.UNHEALTHY]:>5}", "bold"),
        ],
        [("◌ unknown   ", "muted"), (f"{verdicts[Health.UNKNOWN]:>5}", "bold")],
        [("▸ routable  ", "accent"), (f"{routable:>5}", "bold" if routable or not rows else "bold error")],
        [("⊘ cordoned  ", "warning" if cordoned else "muted"), (f"{cordoned:>5}", "bold")],
        [
            ("◐ draining  ", "draining" if drains else "muted"),
            (f"{len(drains):>5}", "bold"),
            (f" {waiting} in flight" if waiting else "", "muted"),
        ],
        [
            ("! failing   ", "unhealthy" if failing else "muted"),
            (f"{failing:>5}", "bold"),
            (" probes now" if failing else "", "muted"),
        ],
        [("  oldest check ", "muted"), (f"{oldest:>6}", "")],
    ]
    return [tuple(line) for line in lines]


def counters_line(rows: Sequence[WorkerRow]) -> Line:
    """The same in one line, for small terminals."""
    verdicts = Counter(row.worker.health for row in rows)
    routable = sum(availability(row.worker).routable for row in rows)
    cordoned = sum(row.worker.cordoned for row in rows)
    return (
        ("✓ ", "ready"),
        (f"{verdicts[Health.HEALTHY]} healthy  ", ""),
        ("✗ ", "unhealthy"),
        (f"{verdicts[Health.UNHEALTHY]} unhealthy  ", ""),
        ("◌ ", "muted"),
        (f"{verdicts[Health.UNKNOWN]} unknown  ", ""),
        ("▸ ", "accent"),
        (f"{routable} of {len(rows)} routable", "" if routable or not rows else "bold error"),
        (f"  ⊘ {cordoned} cordoned" if cordoned else "", "warning"),
    )
