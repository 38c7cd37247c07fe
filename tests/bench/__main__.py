"""`python -m tests.bench`: smg-console beside its peers, on the same workers, in interleaved rounds.

Needs two cores and wrk (a Debian package); peers are installed on first use. Prints a table with the goals and
writes everything that was measured with `--json FILE`. Loopback only.
"""

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.bench import console
from tests.bench.cases import CASES, Case
from tests.bench.gateways import KINDS, OURS, PEERS
from tests.bench.processes import wrk_program
from tests.bench.results import Sample, Verdict, table, verdicts
from tests.bench.rounds import measure_all

CONSOLE = "console"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m tests.bench", description=__doc__)
    add = made.add_argument
    add("--case", action="append", choices=[*CASES, CONSOLE], help="one case; may be repeated (default: all)")
    add("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="whom to run beside (default: all)")
    add("--rounds", type=int, default=5, help="interleaved rounds [5]")
    add("--seconds", type=float, default=4.0, help="of each run, whole ones [4]")
    add("--quick", action="store_true", help="two rounds of a second: whether it works, not how fast it is")
    add("--json", type=Path, metavar="FILE", help="write all samples and verdicts here")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tell. Exit code 1 if a goal was missed, 130 if it was interrupted."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        print(wrk_program())
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    if len(os.sched_getaffinity(0)) < 2:
        print("only one core: gateways and load share it, and the numbers are worth little", file=sys.stderr)
    rounds, seconds = (2, 1.0) if options.quick else (options.rounds, options.seconds)
    chosen = [CASES[name] for name in options.case or CASES if name in CASES]
    names = [OURS, *options.peers]
    measured, interrupted = Measured(), False
    try:
        _measure(measured, chosen, names, rounds, seconds)
        if not options.case or CONSOLE in options.case:
            for sample in console.measure(rounds, seconds, _say):
                measured.drawn.append(sample)
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted; what was measured so far:")
    found = verdicts(measured.samples, chosen, options.peers)
    shown = table(measured.samples, chosen, names) if measured.samples else []
    lines = ["", *shown, "", *(verdict.text() for verdict in found)]
    for text in (*lines, *console.summary(measured.drawn)):
        print(text)
    if options.json is not None:
        options.json.write_text(json.dumps(_report(measured, found), indent=1))
    return 130 if interrupted else int(any(verdict.met is False for verdict in found))


@dataclass(slots=True)
class Measured:
    """All samples so far; an interrupted run keeps them."""

    samples: list[Sample] = field(default_factory=list)
    drawn: list[console.ConsoleSample] = field(default_factory=list)


def _measure(measured: Measured, cases: Sequence[Case], names: Sequence[str], rounds: int, seconds: float) -> None:
    for sample in measure_all(cases, names, rounds, seconds, _say):
        measured.samples.append(sample)


def _say(text: str) -> None:
    print(text, flush=True)


def _report(measured: Measured, found: Sequence[Verdict]) -> dict[str, object]:
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    requirements = {name: kind.requirement or "this checkout" for name, kind in KINDS.items()}
    return {
        "machine": machine,
        "gateways": requirements,
        "samples": [asdict(sample) for sample in measured.samples],
        "console": [asdict(sample) for sample in measured.drawn],
        "verdicts": [{**asdict(verdict), "met": verdict.met} for verdict in found],
    }


if __name__ == "__main__":
    sys.exit(main())
