"""What each screen costs: `python -m tests.bench.screens [--workers 100]`, every screen in a real terminal under load.

The gateway with its console in a pseudo-terminal of 160x50 that is read at once, at 500 requests a second on one
connection, screen after screen; before and after it the gateway headless at the same load. For each: the share of a
core over headless, how late the loop was at worst within every second (the middle and the worst of these), and what
was written. Then how long a start takes to its first whole screen, and how long from a key to what it shows.
"""

import argparse
import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.console import COLUMNS, RATE, ROWS, SETTLE_S, Screen, paced
from tests.bench.gateways import KINDS, OURS, WITH_CONSOLE, Gateway
from tests.bench.processes import Workers, cpu_s

SCREENS = (
    ("fleet", ""),
    ("fleet grouped, marked", "v+"),
    ("fleet filtered", "\x1b-v/p99>0 routable:yes\r"),
    ("worker", "\x1b\r"),
    ("graphs", "\x1bh"),
    ("events", "\x1be"),
    ("routing", "\x1bm"),
    ("discovery", "\x1bs"),
    ("tokenizers", "\x1bz"),
    ("settings", "\x1b,"),
    ("log", "\x1bl"),
)
"""Each with the keys that lead there from the one before."""
KEYS = 10
ADDED_AT_MOST, LATE_AT_MOST_MS, WORST_AT_MOST_MS, P99_AT_MOST = 0.10, 8.0, 20.0, 1.5
PAINTED_AT_MOST_MS, KEY_AT_MOST_MS, PATIENCE_S = 1000.0, 100.0, 30.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One screen for some seconds; `late_ms`: the worst of each second."""

    name: str
    cpu_share: float
    p99_ms: float
    late_ms: tuple[float, ...]
    drawn_kb_s: float


class Lateness:
    """Asks once a second how late the loop was at worst."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._seen: list[float] = []
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self) -> None:
        while not self._stop.wait(1.0):
            with urllib.request.urlopen(f"{self._url}/gateway", timeout=5) as answer:
                self._seen.append(json.load(answer)["loop_late_ms"])

    def __enter__(self) -> "Lateness":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    @property
    def seen(self) -> tuple[float, ...]:
        # The worst of the last one to two seconds is told: the first belongs to the keys that led here.
        return tuple(self._seen[2:] or self._seen[-1:])


def _read(name: str, gateway: Gateway, screen: Screen, seconds: float) -> Reading:
    drawn, before, began = screen.drawn, cpu_s(gateway.pid), time.monotonic()
    with Lateness(gateway.url) as lateness:
        told = paced(gateway.url, seconds)
    took = time.monotonic() - began
    share = (cpu_s(gateway.pid) - before) / took
    return Reading(name, share, told["p99"], lateness.seen, (screen.drawn - drawn) / took / 1024)


def _headless(workers: Workers, seconds: float) -> Reading:
    with Screen() as screen, Gateway(KINDS[OURS], workers.urls, "round_robin") as gateway:
        gateway.ready(workers, 90)
        time.sleep(SETTLE_S)
        return _read("headless", gateway, screen, seconds)


def _screens(workers: Workers, seconds: float, count: int) -> tuple[list[Reading], float, list[float]]:
    """The readings, the milliseconds from the start to a whole screen, and those from keys to screen."""
    with Screen(keep=True) as screen, _with_console(workers, screen) as gateway:
        began = time.monotonic()
        painted = screen.until((b"States", b"Fleet", b"Events"), PATIENCE_S) - began
        gateway.ready(workers, 90)
        time.sleep(SETTLE_S)
        keys = []
        for number in range(KEYS):
            key, shown = (b"G", b"w%d" % count) if number % 2 == 0 else (b"g", b"w1 ")
            screen.forget()
            pressed = time.monotonic()
            screen.press(key)
            keys.append((screen.until((shown,), PATIENCE_S) - pressed) * 1000)
            time.sleep(0.3)
        found = []
        for name, way in SCREENS:
            for key in way:
                screen.press(key.encode())
                time.sleep(0.1)
            time.sleep(SETTLE_S)
            found.append(_read(name, gateway, screen, seconds))
            print(text_of(found[-1], None), flush=True)
        return found, painted * 1000, keys


def _with_console(workers: Workers, screen: Screen) -> Gateway:
    return Gateway(WITH_CONSOLE, workers.urls, "round_robin", terminal=screen.theirs)


def text_of(reading: Reading, bare: Reading | None) -> str:
    """A line; beside `bare`, what is added to it."""
    added = (
        f"  adds {reading.cpu_share - bare.cpu_share:6.1%}  p99 x{reading.p99_ms / bare.p99_ms:4.2f}" if bare else ""
    )
    late = f"late {median(reading.late_ms):5.1f} ms, worst {max(reading.late_ms):5.1f} ms"
    return f"{reading.name:22} {reading.cpu_share:6.1%} of a core{added}  {late}  {reading.drawn_kb_s:5.1f} KB/s"


def verdict(readings: Sequence[Reading], bare: Reading) -> list[str]:
    """What misses which limit. Pure."""
    missed = []
    for one in readings:
        for what, value, limit in (
            ("adds a share of a core of", one.cpu_share - bare.cpu_share, ADDED_AT_MOST),
            ("is late in the middle by ms", median(one.late_ms), LATE_AT_MOST_MS),
            ("is late at worst by ms", max(one.late_ms), WORST_AT_MOST_MS),
            ("has a p99 beside headless of", one.p99_ms / bare.p99_ms, P99_AT_MOST),
        ):
            if value > limit:
                missed.append(f"MISSED: {one.name} {what} {value:.2f}, at most {limit:g}")
    return missed


def middle(readings: Sequence[Reading]) -> Reading:
    """One reading of several. Pure."""
    late = tuple(value for one in readings for value in one.late_ms)
    shares, times = [one.cpu_share for one in readings], [one.p99_ms for one in readings]
    return Reading(readings[0].name, median(shares), median(times), late, 0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tell. Exit code 1 if a limit was missed."""
    parser = argparse.ArgumentParser("python -m tests.bench.screens", description=__doc__)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each screen")
    options = parser.parse_args(arguments)
    print(
        f"{options.workers} workers, {COLUMNS}x{ROWS}, {RATE:.0f} requests/s; load {os.getloadavg()[0]:.2f}", flush=True
    )
    with Workers(options.workers) as workers:
        before = _headless(workers, options.seconds)
        print(text_of(before, None), flush=True)
        found, painted, keys = _screens(workers, options.seconds, options.workers)
        bare = middle([before, _headless(workers, options.seconds)])
    print()
    for reading in (bare, *found):
        print(text_of(reading, bare if reading is not bare else None))
    print(f"first whole screen {painted:.0f} ms after the start")
    print(f"key to screen: median {median(keys):.0f} ms, worst {max(keys):.0f} ms")
    missed = verdict(found, bare)
    if painted > PAINTED_AT_MOST_MS:
        missed.append(f"MISSED: first screen after {painted:.0f} ms, at most {PAINTED_AT_MOST_MS:.0f}")
    if max(keys) > KEY_AT_MOST_MS:
        missed.append(f"MISSED: key to screen {max(keys):.0f} ms, at most {KEY_AT_MOST_MS:.0f}")
    print("\n".join(missed) or "all within their limits")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
