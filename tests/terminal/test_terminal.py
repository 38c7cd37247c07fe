"""The console in a real terminal: started, driven with keys, resized, ended; over real engines."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal.tmux import Terminal

CONSOLE = [sys.executable, "-m", "smg_console", "--host", "127.0.0.1", "--port", "0", "--prometheus-port", "0"]
DEMO = [sys.executable, "-m", "smg_console", "demo", "--host", "127.0.0.1", "--port", "0", "--prometheus-port", "0"]


@pytest.fixture
def engines() -> Iterator[list[str]]:
    """URLs of two simulated engines of one model."""
    processes, urls = [], []
    for engine in ("sglang", "vllm"):
        command = [sys.executable, "-m", "gateway.simulator", "--engine", engine, "--model", "sim", "--itl-ms", "30"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        urls.append(process.stdout.readline().split()[-1])
    yield urls
    for process in processes:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def address(screen: str) -> str:
    """Where the gateway on this screen serves."""
    found = re.search(r"127\.0\.0\.1:\d+", screen)
    assert found, screen
    return f"http://{found[0]}"


def chat(url: str, tokens: int) -> subprocess.Popen[bytes]:
    """A request that takes a while, as a process of its own."""
    body = f'{{"model":"sim","messages":[{{"role":"user","content":"hi"}}],"max_tokens":{tokens}}}'
    code = (
        "import sys, urllib.request as u;"
        "r = u.Request(sys.argv[1], sys.argv[2].encode(), {'content-type': 'application/json'});"
        "sys.exit(u.urlopen(r, timeout=60).status != 200)"
    )
    return subprocess.Popen([sys.executable, "-c", code, f"{url}/v1/chat/completions", body])


def children_of(pid: int) -> set[int]:
    """Process ids of a process's children."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return set(map(int, listed.stdout.split()))


def gone(pids: set[int], timeout_s: float = 5.0) -> bool:
    """Whether all these processes end in time."""
    until = time.monotonic() + timeout_s
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_add_watch_drain_resume_remove_and_quit_by_key(engines: list[str], size: tuple[int, int]) -> None:
    with Terminal([*CONSOLE, "--worker-urls", engines[0]], columns=size[0], rows=size[1]) as terminal:
        url = address(terminal.wait_for("Fleet: 1 worker", "● ready", "registering → ready"))
        terminal.press("a")
        terminal.wait_for("Add a worker", "API key")
        terminal.type(engines[1])
        terminal.press("Enter")
        terminal.wait_for("Fleet: 2 workers", "w2 added")
        terminal.wait_for("● ready        w2")

        request = chat(url, tokens=120)
        terminal.wait(lambda screen: re.search(r"w[12] +127\S+ .*\b1 ", screen) is not None, "a request in flight")
        busy = re.search(r"(w[12]) +127\S+ .*\b1 ", terminal.screen())
        assert busy
        if busy[1] == "w2":
            terminal.press("j")
            terminal.wait_for("▸● ready        w2" if size[0] == 80 else "▸● ready")
        terminal.press("d")
        terminal.wait_for(f"Drain {busy[1]}?", "1 request in flight", "1 other worker of sim remains: 50 %")
        terminal.press("y")
        terminal.wait_for("◐ draining", "ready → draining: drain asked by console")
        assert request.wait(30) == 0, "the drain cut the request"
        terminal.wait_for("◐ drained", "safe to delete")
        terminal.press("r")
        terminal.wait_for("draining → ready: drain called off by console")
        terminal.press("x")
        terminal.wait_for(f"Remove {busy[1]}?")
        terminal.press("y")
        terminal.wait_for("Fleet: 1 worker", "draining → gone: drained: nothing in flight")
        terminal.press("q")
        assert terminal.wait_exit() == 0


def test_a_killed_engine_is_seen_on_the_screen_and_its_return_too(engines: list[str]) -> None:
    options = ["--health-check-interval-secs", "0.5", "--health-failure-threshold", "2"]
    with Terminal([*CONSOLE, *options, "--worker-urls", engines[0]]) as terminal:
        terminal.wait_for("● ready", "registering → ready")
        urllib.request.urlopen(urllib.request.Request(f"{engines[0]}/_sim/faults", b'{"unhealthy": true}'))
        terminal.wait_for("◆ unhealthy    w1", "ready → unhealthy", "/health answered 503")
        urllib.request.urlopen(urllib.request.Request(f"{engines[0]}/_sim/faults", b'{"reset": true}'))
        terminal.wait_for("unhealthy → ready", "● ready")
        terminal.press("q")
        assert terminal.wait_exit() == 0


def test_the_demo_moves_within_five_seconds_says_how_to_curl_and_leaves_nothing_running() -> None:
    with Terminal(DEMO, columns=160, rows=50) as terminal:
        began = time.monotonic()
        terminal.wait_for("try: curl http://127.0.0.1:", timeout_s=5)
        terminal.wait(
            lambda screen: "● ready        w1" in screen and not re.search(r" 0 req/s", screen),
            "traffic",
            timeout_s=5 - (time.monotonic() - began) + 1,
        )
        started = children_of(terminal.process())
        terminal.wait_for("Fleet: 4 workers")
        started |= children_of(terminal.process())
        assert len(started) >= 5  # four engines and the traffic
        terminal.press("j", "Enter")
        terminal.wait_for("Time in each state", "▲ ", "Requests in flight", "Past and facts")
        terminal.press("h")
        terminal.wait_for("Output tokens/s", "live last 5m", "w2 http://")
        terminal.press("Left", "-", "Space")
        terminal.wait_for("paused", "10m", "ago)")
        terminal.press("Escape", "Escape")
        terminal.wait_for("Time in each state")
        terminal.press("Escape")
        terminal.wait_for("▸● ready        w2")
        terminal.press("?")
        terminal.wait_for("cordon: no new requests")
        terminal.press("Escape")
        terminal.wait_for("Fleet: 4 workers")
        terminal.press("c")
        terminal.wait_for("⊘ cordoned     w2")
        terminal.press("q")
        screen = terminal.wait(
            lambda screen: "Quit?" in screen or terminal.exit_code() is not None, "the question, or the end"
        )
        if "Quit?" in screen:
            terminal.press("y")
        assert terminal.wait_exit() == 0
        assert gone(started)


def test_a_demo_that_is_killed_leaves_nothing_running_either() -> None:
    with Terminal(DEMO) as terminal:
        terminal.wait_for("Fleet: 4 workers")
        pid = terminal.process()
        started = children_of(pid)
        assert started
        os.kill(pid, signal.SIGKILL)
        assert gone(started)


def test_resizing_arranges_the_screen_anew(engines: list[str]) -> None:
    with Terminal([*CONSOLE, "--worker-urls", *engines], columns=120, rows=40) as terminal:
        terminal.wait_for("Fleet: 2 workers", "│◌ registering│")
        terminal.resize(80, 24)
        terminal.wait_for("registering 0 → ● ready 2", "Fleet: 2 workers")
        terminal.resize(50, 10)
        terminal.wait_for("needs 60x15")
        terminal.resize(120, 40)
        terminal.wait_for("│◌ registering│", "Fleet: 2 workers")
        terminal.press("q")
        assert terminal.wait_exit() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_order_and_gives_the_terminal_back(engines: list[str], number: signal.Signals) -> None:
    shell = ["bash", "-c", f"{' '.join(CONSOLE)} --worker-urls {engines[0]}; echo ended with $?; stty -a; sleep 60"]
    with Terminal(shell) as terminal:
        terminal.wait_for("● ready")
        (console,) = children_of(terminal.process())
        os.kill(console, number)
        screen = terminal.wait_for("ended with 0", "speed")
        assert re.search(r"(?<!-)\bicanon\b", screen), "the terminal was left raw"
        assert re.search(r"(?<!-)\becho\b", screen), "the terminal was left without echo"
        assert "Fleet" not in screen, "the alternate screen was not left"


def test_no_color_and_few_colours_still_tell_the_states_apart(engines: list[str]) -> None:
    command = [*CONSOLE, "--worker-urls", *engines]
    with Terminal(command, environment={"NO_COLOR": "1"}) as terminal:
        terminal.wait_for("● ready        w1")
        colours = set(re.findall(r"\x1b\[[0-9;]*38;2;(\d+;\d+;\d+)m", terminal.coloured()))
        assert all(len(set(colour.split(";"))) == 1 for colour in colours), f"not grey: {colours}"
    with Terminal([*command, "--theme", "terminal"], term="screen") as terminal:
        terminal.wait_for("● ready        w1")
        assert "38;2;" not in terminal.coloured()
    with Terminal([*command, "--ascii"], columns=80, rows=24) as terminal:
        screen = terminal.wait_for("O ready        w1")
        assert screen.isascii()
        terminal.press("q")
        assert terminal.wait_exit() == 0


def test_a_taken_port_is_one_line_and_no_screen(engines: list[str]) -> None:
    port = engines[0].rpartition(":")[2]
    command = [sys.executable, "-m", "smg_console", "--host", "127.0.0.1", "--port", port, "--prometheus-port", "0"]
    with Terminal(["bash", "-c", f"{' '.join(command)}; echo ended with $?; sleep 60"]) as terminal:
        screen = terminal.wait_for("ended with 1")
        lines = [line for line in screen.splitlines() if line.strip()]
        assert lines == [
            f"smg-console: cannot listen on 127.0.0.1:{port}: the port is already in use",
            "ended with 1",
        ]
