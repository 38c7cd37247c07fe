"""The parts of the Worker screen as lines: its place among the states, probes, requests under way, failures. Pure.

What it is and what it told of itself is `detail`'s, its graphs are `charts`'.
"""

from collections.abc import Sequence

from gateway.proxy.flights import Flight, Stage
from gateway.workers.entry import Probe
from gateway.workers.meters import Failure
from gateway.workers.model import LISTED_STATES, State, Worker
from smg_console.plane import WorkerRow
from smg_console.present import detail, diagram, numbers, scales
from smg_console.present.feed import clock
from smg_console.present.runs import BLANK, Line, Run, cut, cut_middle, fit, printable, width_of
from smg_console.present.states import GLYPHS

AXIS = 8
TALLEST = 5
_BLOCKS = " ▁▂▃▄▅▆▇█"
_STAGES = {
    Stage.QUEUED: "warning",
    Stage.PREPARING: "registering",
    Stage.CONNECTING: "registering",
    Stage.WAITING: "registering",
    Stage.ANSWERING: "ready",
    Stage.RETRYING: "warning",
}


# --- its place ---


def spent(worker: Worker, now: float) -> dict[State, float]:
    """Seconds in each state, as far back as its moves are kept."""
    moves = worker.transitions
    ends = [*(move.at for move in moves[1:]), now]
    found: dict[State, float] = {}
    for move, end in zip(moves, ends, strict=True):
        found[move.new] = found.get(move.new, 0.0) + max(0.0, end - move.at)
    return found


def place_lines(row: WorkerRow, now: float, width: int, height: int) -> list[Line]:
    """Where the worker stands in the diagram, and how long it was in each state; the way it came is lit."""
    worker = row.worker
    times = {state: numbers.age(seconds) for state, seconds in spent(worker, now).items()}
    if width < diagram.WIDTH or height < diagram.HEIGHT:
        return [_place_line(worker, times, width)]
    here = {worker.state: f"▲ {times.get(worker.state, '')}"}
    came = {diagram.arrow_of((worker.transitions[-1].old, worker.transitions[-1].new))} if worker.transitions else set()
    indent: Run = (" " * ((width - diagram.WIDTH) // 2), "")
    above = [BLANK] * ((height - diagram.HEIGHT) // 2)
    drawn = diagram.large({worker.state: 1}, came, {**times, **here})
    return [*above, *((indent, *line) for line in drawn)]


def _place_line(worker: Worker, times: dict[State, str], width: int) -> Line:
    runs: list[Run] = []
    for state in LISTED_STATES:
        if state in times:
            here = state is worker.state
            style = f"bold reverse {state.value}" if here else state.value
            runs += [(f" {GLYPHS[state]} {state} {times[state]} ", style), (" ", "")]
    return cut(runs, width)


# --- probes ---


def probe_lines(row: WorkerRow, now: float, width: int, height: int) -> list[Line]:
    """What the probes say, and the last of them as a strip."""
    probes = list(row.health.recent)
    lines = detail.health(row, now)
    if not probes:
        return lines
    told = lines[: max(1, height - 2)]
    bad = sum(not probe.ok for probe in probes)
    over = numbers.age(probes[-1].at - probes[0].at)
    words: list[Run] = [(f"  {len(probes)} in {over}: ", "muted"), (f"{len(probes) - bad} good", "ready")]
    words += [(", ", "muted"), (f"{bad} bad", "failed" if bad else "muted"), ("; newest at the right", "muted")]
    rows = max(1, min(TALLEST, height - len(told) - 1))
    return [*told, cut(words, width), *strip(probes, width, rows)]


def strip(probes: Sequence[Probe], width: int, rows: int) -> list[Line]:
    """Probes as columns, the newest at the right: as high as they took; bad ones crossed."""
    shown = probes[-max(1, width - AXIS) :]
    slowest = max((probe.latency_s for probe in shown if probe.ok), default=0.0)
    top = scales.round_top(slowest, 0.001)
    scale = scales.Scale(top, scales.seconds(top))
    steps = rows * 8
    levels = [max(1, round(probe.latency_s / top * steps)) for probe in shown]
    lines: list[Line] = []
    for base in range((rows - 1) * 8, -1, -8):
        label = scale.mark(1.0) if base == (rows - 1) * 8 else "0" if not base else ""
        runs: list[Run] = [(fit(label, AXIS - 1, right=True) + ("┤" if label else "│"), "muted")]
        for probe, level in zip(shown, levels, strict=True):
            char = _BLOCKS[max(0, min(8, level - base))] if probe.ok else "╎" if base else "✗"
            style = "ready" if probe.ok else "failed"
            if runs[-1][1] == style:
                runs[-1] = (runs[-1][0] + char, style)
            else:
                runs.append((char, style))
        lines.append(tuple(runs))
    return lines


# --- requests under way ---


def flight_lines(flights: Sequence[Flight], width: int) -> list[Line]:
    """A header and a line for each request, the oldest first."""
    if not flights:
        return [((" No request is at this worker now.", "muted"),)]
    model, route = (24, 22) if width >= 110 else (18, 0) if width >= 60 else (0, 0)
    head = f" {'AGE':>6} {'STAGE':<10} {'TOKENS':>7} {'RATE':>7} {'TRY':>3}  "
    head += (f"{'MODEL':<{model}} " if model else "") + (f"{'ROUTE':<{route}} " if route else "") + "REQUEST"
    lines: list[Line] = [((head, "bold muted"),)]
    for flight in flights:
        rate = flight.tokens / flight.attempt_s if flight.attempt_s and flight.tokens else None
        runs: list[Run] = [
            (f" {numbers.age(flight.age_s):>6} ", "bold"),
            (f"{flight.stage.value:<10} ", _STAGES[flight.stage]),
            (f"{numbers.count(flight.tokens) if flight.streams else numbers.NONE:>7} ", ""),
            (f"{numbers.rate(rate):>5}/s " if rate is not None else f"{numbers.NONE:>7} ", ""),
            (f"{flight.attempts:>3}  ", "warning" if flight.attempts > 1 else "muted"),
        ]
        if model:
            runs.append((f"{cut_middle(printable(flight.model or 'any'), model)} ", ""))
        if route:
            runs.append((f"{cut_middle(flight.route, route)} ", "muted"))
        prefill = "prefill: " if flight.prefill is not None and flight.worker != flight.prefill else ""
        room = max(8, width - width_of(runs))
        runs.append((cut_middle(printable(f"{prefill}{flight.request_id}"), room), "muted"))
        lines.append(tuple(runs))
    return lines


# --- failures ---


def failure_lines(failures: Sequence[Failure], now: float, width: int) -> list[Line]:
    """How requests failed lately, the newest first."""
    if not failures:
        return [((" No request has failed here.", "muted"),)]
    return [
        (
            (f" {clock(failure.at)} ", "muted"),
            (f"{numbers.age(now - failure.at) + ' ago':>10}  " if width >= 56 else "", ""),
            (f"{failure.count:>4}x ", "bold" if failure.count > 1 else "muted"),
            (f"{printable(failure.why)}", "error"),
        )
        for failure in reversed(failures)
    ]
