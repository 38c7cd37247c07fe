"""What the console costs the traffic: the gateway with its face drawn into a terminal of 160x50, and without.

Each round starts one and then the other, for two of them would share the core. The terminal is read as fast as it
is written; how much was written tells that something was drawn.
"""

import fcntl
import json
import os
import pty
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import Self

from tests.bench.cases import CASES
from tests.bench.gateways import KINDS, OURS, WITH_CONSOLE, Gateway, Kind
from tests.bench.load import run_wrk
from tests.bench.processes import LOAD_CORE, Process, Workers, cpu_s, rss_mb

COLUMNS, ROWS = 160, 50
FLEET = 100
RATE = 500.0
KEPT = 1 << 20
SETTLE_S = 3.0
"""Until the console has drawn its first screens."""


@dataclass(frozen=True, slots=True)
class ConsoleSample:
    """One run. Shares of a core at the paced rate; times in milliseconds; `c1`: one connection at full speed."""

    round: int
    gateway: str
    cpu_share: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    c1_p99_ms: float
    drawn_kb_s: float
    rss_mb: float


class Screen:
    """A pseudo-terminal whose other end is read at once; what was written is kept only if that is asked for."""

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._kept = b""
        self._news = threading.Condition()
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.drawn = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 65536):
                self.drawn += len(data)
                if self._keep:
                    with self._news:
                        self._kept = (self._kept + data)[-KEPT:]
                        self._news.notify()
        except OSError:
            return  # the last one who could write has gone

    def press(self, keys: bytes) -> None:
        """What a terminal sends."""
        os.write(self._ours, keys)

    def forget(self) -> None:
        """What was written until now."""
        with self._news:
            self._kept = b""

    def until(self, texts: Sequence[bytes], patience_s: float) -> float:
        """When all of these had been written, in monotonic seconds. Raises TimeoutError."""
        with self._news:
            if not self._news.wait_for(lambda: all(text in self._kept for text in texts), patience_s):
                raise TimeoutError(f"{texts!r} did not come within {patience_s:g} s")
            return time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.theirs)
        self._reader.join(2)
        os.close(self._ours)


def measure(rounds: int, seconds: float, say: Callable[[str], None]) -> Iterator[ConsoleSample]:
    """Alternating rounds."""
    with Workers(FLEET) as workers:
        for number in range(rounds):
            kinds = (KINDS[OURS], WITH_CONSOLE)
            for kind in kinds if number % 2 else reversed(kinds):
                with Screen() as screen:
                    found = _run(kind, workers, screen, number, seconds)
                say(f"round {number + 1}  console  {_text(found)}")
                yield found


def _run(kind: Kind, workers: Workers, screen: Screen, number: int, seconds: float) -> ConsoleSample:
    terminal = screen.theirs if kind is WITH_CONSOLE else None
    with Gateway(kind, workers.urls, "round_robin", terminal=terminal) as gateway:
        gateway.ready(workers, 60)
        time.sleep(SETTLE_S)
        drawn, before, began = screen.drawn, cpu_s(gateway.pid), time.monotonic()
        told = paced(gateway.url, seconds)
        took = time.monotonic() - began
        share, drawn_kb_s = (cpu_s(gateway.pid) - before) / took, (screen.drawn - drawn) / took / 1024
        alone = run_wrk(gateway.url, CASES["json-c1"].exchange, 1, seconds)
        memory = rss_mb(gateway.pid)
    times = (told["p50"], told["p99"], told["p999"])
    return ConsoleSample(number, kind.name, share, *times, alone.p99_us / 1000, drawn_kb_s, memory)


def paced(url: str, seconds: float) -> dict[str, float]:
    """Times of answers at the paced rate, in milliseconds."""
    flags = ["--url", url, "--rate", str(RATE), "--seconds", str(seconds)]
    with Process("paced", [sys.executable, "-m", "tests.bench.paced", *flags], LOAD_CORE, pipe=True) as process:
        line = process.line()
        if not line:
            raise RuntimeError(f"the paced load failed: {process.output()}")
        told: dict[str, float] = json.loads(line)
        return told


def _text(found: ConsoleSample) -> str:
    times = f"p50 {found.p50_ms:.2f} p99 {found.p99_ms:.2f} p99.9 {found.p999_ms:.2f} ms"
    ends = f"full speed p99 {found.c1_p99_ms:.2f} ms  drawn {found.drawn_kb_s:.0f} KB/s  {found.rss_mb:.0f} MB"
    return f"{found.gateway:14} {found.cpu_share:6.1%} of a core  {times}  {ends}"


def summary(samples: Sequence[ConsoleSample]) -> list[str]:
    """Medians of both, what the console adds, and ratios within rounds. Pure."""
    bare = {sample.round: sample for sample in samples if sample.gateway == OURS}
    drawn = {sample.round: sample for sample in samples if sample.gateway != OURS}
    pairs = [(bare[number], drawn[number]) for number in sorted(bare.keys() & drawn.keys())]
    if not pairs:
        return []
    added = median(b.cpu_share - a.cpu_share for a, b in pairs)
    paced = median(b.p99_ms / a.p99_ms for a, b in pairs if a.p99_ms)
    full = median(b.c1_p99_ms / a.c1_p99_ms for a, b in pairs if a.c1_p99_ms)
    late = median(b.p99_ms for _, b in pairs), median(b.p999_ms for _, b in pairs)
    return [
        f"console: {FLEET} workers, {COLUMNS}x{ROWS}, {RATE:.0f} requests/s: adds {added:.1%} of a core",
        f"console: p99 / headless, paced, one connection  {paced:6.2f}  ({late[0]:.2f} ms, p99.9 {late[1]:.2f} ms)",
        f"console: p99 / headless, one connection at full speed  {full:6.2f}",
    ]
