"""Routing as lines: which policy serves which model, how its traffic is shared, and where a request would go. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.proxy.explain import RouteStatus
from gateway.workers.model import Role, WorkerId
from smg_console.plane import Explained, WorkerRow
from smg_console.present import numbers
from smg_console.present.runs import BLANK, Line, Run, cut, cut_middle, fit, printable
from smg_console.present.states import host_of

ANY = "(any model)"
NUMBERS = (("TAKING", 9), ("REQ/S", 7), ("IN FL", 7), ("HIT", 6))
LEAST_NAME, MOST_NAME = 14, 48
POLICY = 20
ROLE = 8
NAME = 6
BAR = 24
WORKERS_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the workers of one route do together. `hit_rate`: of their prefix caches, weighed by their requests."""

    requests_per_s: float
    in_flight: int
    hit_rate: float | None


def traffic(rows: Iterable[WorkerRow]) -> Traffic:
    """Summed over workers. Of cache hits only those count that say so."""
    per_s, flying, hits, weight = 0.0, 0, 0.0, 0.0
    for row in rows:
        rate = row.sample.requests_per_s
        per_s, flying = per_s + rate, flying + row.in_flight
        if row.load is not None and row.load.cache_hit_rate is not None:
            share = max(rate, 1e-9)  # an idle fleet's hits count alike
            hits, weight = hits + share * row.load.cache_hit_rate, weight + share
    return Traffic(per_s, flying, hits / weight if weight else None)


def members(route: RouteStatus, rows: Mapping[WorkerId, WorkerRow]) -> list[WorkerRow]:
    """The workers that are chosen from."""
    return [row for worker in route.candidates if (row := rows.get(worker)) is not None]


def name_of(route: RouteStatus) -> str:
    """What the model is called on the screen."""
    return printable(route.model) if route.model is not None else ANY


def _name_width(width: int) -> int:
    room = width - 3 - ROLE - POLICY - sum(cells for _, cells in NUMBERS)
    return max(LEAST_NAME, min(MOST_NAME, room))


def header(width: int) -> Line:
    """The columns' names."""
    right = "".join(fit(title, cells, right=True) for title, cells in NUMBERS)
    return cut(
        ((f" {'MODEL':<{_name_width(width)}} {'ROLE':<{ROLE}}{'POLICY':<{POLICY}}{right}", "bold muted"),), width
    )


def row_line(route: RouteStatus, rows: Mapping[WorkerId, WorkerRow], width: int) -> Line:
    """A route in a line. A policy that a label set has a mark."""
    seen = traffic(members(route, rows))
    taking, total = len(route.candidates), len(route.candidates) + len(route.left_out)
    alarm = "error" if not taking else "warning" if taking < total else ""
    left: list[Run] = [
        (f" {cut_middle(name_of(route), _name_width(width))} ", "bold"),
        (f"{route.role.value:<{ROLE}}", "muted"),
        (fit(f"{route.policy}{' *' if route.by_label else ''}", POLICY), "accent"),
        (fit(f"{taking} of {total}", NUMBERS[0][1], right=True), alarm),
    ]
    values = (numbers.rate(seen.requests_per_s), numbers.count(seen.in_flight), numbers.percent(seen.hit_rate))
    left += [(fit(value, cells, right=True), "") for value, (_, cells) in zip(values, NUMBERS[1:], strict=True)]
    return cut(left, width)


def share_lines(route: RouteStatus | None, rows: Mapping[WorkerId, WorkerRow], width: int) -> list[Line]:
    """How the route's requests are shared among its workers, the busiest first; then those left out and why."""
    if route is None:
        return []
    taking = members(route, rows)
    whole = math.fsum(row.sample.requests_per_s for row in taking)
    ordered = sorted(taking, key=lambda row: (-row.sample.requests_per_s, -row.in_flight, row.worker.name))
    lines = [_share(row, whole, width) for row in ordered[:WORKERS_SHOWN]]
    for worker, because in route.left_out[:WORKERS_SHOWN]:
        found = rows.get(worker)
        name = found.worker.name if found is not None else "?"
        lines.append(cut(((f" {fit(name, NAME)} ", "bold"), (f"takes none: {printable(because)}", "warning")), width))
    hidden = len(taking) + len(route.left_out) - len(lines)
    if hidden > 0:
        lines.append(((f"   and {hidden} more", "muted"),))
    return lines or [((" no worker is listed for it", "muted"),)]


def _share(row: WorkerRow, whole: float, width: int) -> Line:
    share = row.sample.requests_per_s / whole if whole else 0.0
    cells = max(8, min(BAR, width // 4))
    filled = round(share * cells)
    hit = row.load.cache_hit_rate if row.load is not None else None
    runs: list[Run] = [
        (f" {fit(row.worker.name, NAME)} ", "bold"),
        ("█" * filled, "accent"),
        ("·" * (cells - filled), "muted"),
        (fit(numbers.percent(share if whole else None), 6, right=True), "bold"),
        (fit(numbers.rate(row.sample.requests_per_s), 7, right=True), ""),
        ("/s", "muted"),
        (fit(numbers.count(row.in_flight), 6, right=True), ""),
        (" in flight", "muted"),
    ]
    if width >= 70:
        runs += [("  cache hit ", "muted"), (fit(numbers.percent(hit), 5), "")]
    if width >= 100:
        runs.append((f"  {host_of(row.worker.url)}", "muted"))
    return cut(runs, width)


def explained_lines(found: Sequence[Explained], names: Mapping[WorkerId, str], width: int) -> list[Line]:
    """Which worker each policy would take, those that decide first."""
    lines: list[Line] = []
    split = any(one.role is not Role.REGULAR for one in found)
    for one in sorted(found, key=lambda each: not each.in_use):
        role = f"{one.role.value} " if one.role is not Role.REGULAR else ""
        mark, style = ("▶", "bold accent") if one.in_use else (" ", "")
        runs: list[Run] = [
            (f" {mark} {fit(role + one.policy, POLICY + (6 if width >= 100 or split else 0))}", style),
            (f" {fit(names.get(one.worker, '?'), NAME)}", "bold"),
            (f" {printable(one.why)}", "" if one.in_use else "muted"),
        ]
        lines.append(cut(runs, width))
    return lines or [BLANK, ((" no worker would be chosen from", "warning"),)]
