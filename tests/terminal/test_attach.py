"""The console attached to a gateway of another process, in a real terminal: it acts there, survives its death, and
leaves it alone."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.terminal.test_terminal import engines  # noqa: F401 - a fixture
from tests.terminal.tmux import Terminal

ATTACH = [sys.executable, "-m", "smg_console", "attach"]


@contextmanager
def headless(home: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway without a console, and its URL."""
    command = [sys.executable, "-m", "smg_console", "--no-ui", "--log-json", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--disable-prometheus", "--health-check-interval-secs", "1", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(home)},
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            told = json.loads(line)
            if told["event"] == "gateway_listening":
                break
        else:
            raise AssertionError("the gateway did not start")
        yield process, told["address"]
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stderr.close()


def attached(home: Path, *words: str, columns: int = 120, rows: int = 40) -> Terminal:
    environment = {"XDG_RUNTIME_DIR": str(home), "LOGNAME": "anna"}
    return Terminal([*ATTACH, *words], columns=columns, rows=rows, environment=environment)


def journal(url: str) -> list[tuple[str, str]]:
    """Kinds and actors of all events."""
    with urllib.request.urlopen(f"{url}/journal?limit=10000") as answer:
        return [(event["event"], event["actor"]) for event in json.load(answer)["events"]]


def test_it_acts_on_the_gateway_sees_it_die_and_come_back_and_leaves_it_running(
    engines: list[str],  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    workers = ("--worker-urls", *engines)
    with attached_to_killed(tmp_path, workers) as (terminal, url):
        port = str(urlsplit(url).port)
        screen = terminal.wait_for("LOST", "✗ connection lost")
        assert re.search(r"this picture is \d+s old", screen)
        assert "Fleet: 2 workers" in screen, "the last picture stays"
        terminal.press("c")
        terminal.wait_for("✗ not sent, as the")
        with headless(tmp_path, "--port", port, "--worker-urls", engines[0]) as (again, _):
            terminal.wait_for("connected again after", "Fleet: 1 worker")
            terminal.wait(lambda screen: "LOST" not in screen and "connection lost" not in screen, "the strip to leave")
            terminal.wait_for("● ready        w1")
            terminal.cordon_last("w1")
            terminal.wait_for("⊘ cordoned     w1")
            terminal.press("q")
            assert terminal.wait_exit() == 0
            assert again.poll() is None
            assert journal(url)[-1] == ("worker_cordoned", "attach:anna")


@contextmanager
def attached_to_killed(home: Path, workers: Sequence[str]) -> Iterator[tuple[Terminal, str]]:
    """A console that has drained a worker by key before its gateway was killed."""
    with headless(home, "--port", "0", *workers) as (process, url), attached(home) as terminal:
        terminal.wait_for("attached", "Fleet: 2 workers", "● ready        w1", "● ready        w2")
        terminal.press("d")
        terminal.wait_for("Drain w1?", "1 other worker of sim remains")
        terminal.press("y")
        terminal.wait_for("◐ drained", "ready → draining: drain asked by attach:anna")
        assert ("worker_drain_changed", "attach:anna") in journal(url)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        yield terminal, url


def test_quitting_with_requests_in_flight_asks_nothing_and_cuts_nothing(
    engines: list[str],  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    with (
        headless(tmp_path, "--port", "0", "--worker-urls", engines[0]) as (process, url),
        attached(tmp_path, url, columns=80, rows=24) as terminal,
    ):
        terminal.wait_for("● ready        w1")
        body = b'{"model":"sim","messages":[{"role":"user","content":"hi"}],"max_tokens":60,"stream":true}'
        request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.readline()
            terminal.wait(lambda screen: re.search(r" 1 fl ", screen) is not None, "a request in flight")
            terminal.press("q")
            assert terminal.wait_exit() == 0
            assert answer.read().endswith(b"data: [DONE]\n\n")
        assert process.poll() is None


def said(home: Path, *words: str) -> tuple[int, str]:
    """Exit code and words of an attach that opens no console."""
    done = subprocess.run(
        [*ATTACH, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, "XDG_RUNTIME_DIR": str(home)},
    )
    return done.returncode, done.stdout + done.stderr


def test_without_a_gateway_or_with_several_it_says_what_to_do(tmp_path: Path) -> None:
    code, text = said(tmp_path)
    assert (code, text.count("\n")) == (1, 1)
    assert "no gateway of yours runs here: start one with smg-console, or name one" in text
    with headless(tmp_path, "--port", "0") as (_, first), headless(tmp_path, "--port", "0") as (_, second):
        code, text = said(tmp_path)
        assert code == 2
        ports = sorted(str(urlsplit(url).port) for url in (first, second))
        assert f"2 gateways of yours run here: {', '.join(ports)}; name one, as in: attach {ports[0]}" in text
        with attached(tmp_path, ports[1]) as terminal:
            terminal.wait_for("attached", f"127.0.0.1:{ports[1]}")
            terminal.press("q")
            assert terminal.wait_exit() == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--help"], 0, "usage: smg-console attach [URL | PORT | SOCKET] [flags]"),
        (["ftp://gw"], 2, "given 'ftp://gw', expected a URL such as"),
        (["http://gw:1", "http://gw:2"], 2, "unexpected argument 'http://gw:2'"),
        (["--them", "x"], 2, "--them: unknown flag; did you mean --theme?"),
        (["--api-key-file", "/no/such", "http://gw"], 2, "--api-key-file: cannot read /no/such: no such file"),
        (["http://127.0.0.1:9"], 2, "attach needs a terminal"),
    ],
)
def test_words_that_open_nothing_end_with_a_line_and_a_code(
    words: list[str], code: int, text: str, tmp_path: Path
) -> None:
    found, told = said(tmp_path, *words)
    assert found == code
    assert text in told


def test_a_gateway_that_cannot_be_reached_is_a_line_and_no_screen(tmp_path: Path) -> None:
    shell = f"{' '.join(ATTACH)} http://127.0.0.1:9; echo ended with $?; sleep 60"
    with Terminal(["bash", "-c", shell], environment={"XDG_RUNTIME_DIR": str(tmp_path)}) as terminal:
        terminal.wait_for("smg-console: http://127.0.0.1:9 cannot be reached: connection refused", "ended with 1")
