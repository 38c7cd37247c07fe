"""The console under a shell, as one has it over `ssh -t`: suspended and resumed, cut off, and on poor terminals."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from tests.terminal.test_terminal import CONSOLE, address, children_of, gone
from tests.terminal.tmux import Terminal


@pytest.fixture
def engine() -> Iterator[str]:
    """The URL of a simulated engine."""
    command = [sys.executable, "-m", "gateway.simulator", "--engine", "vllm", "--model", "sim"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()
        process.wait(10)


def shell() -> list[str]:
    return ["env", "PS1=PROMPT> ", "bash", "--norc", "--noprofile", "-i"]


def begun(terminal: Terminal, *options: str) -> int:
    """Start the console from the shell's prompt; its process id."""
    terminal.wait_for("PROMPT>")
    terminal.type(" ".join([*CONSOLE, *options]))
    terminal.press("Enter")
    terminal.wait_for("● ready        w1")
    (console,) = children_of(terminal.process())
    return console


def sane(screen: str) -> bool:
    """Whether `stty -a` on this screen shows a terminal as shells want it."""
    return all(re.search(rf"(?<!-)\b{word}\b", screen) for word in ("icanon", "echo", "isig", "icrnl"))


def test_ctrl_z_says_what_it_would_stop_and_does_it_after_a_yes(engine: str) -> None:
    with Terminal(shell(), columns=120, rows=40) as terminal:
        begun(terminal, "--worker-urls", engine)
        url = address(terminal.screen())
        terminal.press("C-z")
        terminal.wait_for("Suspend?", "stops with it, until fg", "0 requests in flight")
        terminal.press("Enter")  # the cursor stands on Cancel
        terminal.wait(lambda screen: "Suspend?" not in screen, "the question's end")
        terminal.press("C-z")
        terminal.wait_for("Suspend?")
        terminal.press("y")
        terminal.wait_for("Stopped", "PROMPT>")
        terminal.type("stty -a")
        terminal.press("Enter")
        screen = terminal.wait_for("speed")
        assert sane(screen)
        assert "Fleet:" not in screen, "the alternate screen was not left"
        terminal.type("fg")
        terminal.press("Enter")
        terminal.wait_for("● ready        w1", "Fleet: 1 worker")
        terminal.press("?")
        terminal.wait_for("Acts on the worker")
        assert urllib.request.urlopen(f"{url}/workers", timeout=10).status == 200
        terminal.press("q")
        terminal.wait_for("PROMPT>")


def test_it_is_suspended_by_its_signal_and_finds_another_size_when_it_comes_back(engine: str) -> None:
    with Terminal(shell(), columns=120, rows=40) as terminal:
        console = begun(terminal, "--worker-urls", engine)
        terminal.wait_for("│◌ registering│")
        os.kill(console, signal.SIGTSTP)
        terminal.wait_for("Stopped", "PROMPT>")
        terminal.resize(80, 24)
        terminal.type("fg")
        terminal.press("Enter")
        terminal.wait_for("● ready        w1", "registering 0 → ● ready 1")
        terminal.press("q")
        terminal.wait_for("PROMPT>")


def test_a_lost_connection_ends_it_with_its_shell(engine: str) -> None:
    with Terminal(shell()) as terminal:
        console = begun(terminal, "--worker-urls", engine)
        pid = terminal.process()
        terminal.hang_up()
        assert gone({console, pid})


@pytest.mark.parametrize(
    ("term", "options"),
    [("xterm", ()), ("screen", ()), ("screen-256color", ()), ("tmux-256color", ()), ("vt100", ("--ascii",))],
    ids=["16-colours", "screen", "screen-256", "tmux", "vt100-ascii"],
)
def test_terminals_of_24_lines_and_few_colours_can_be_worked_with(
    term: str, options: tuple[str, ...], engine: str
) -> None:
    command = [*CONSOLE, *options, "--worker-urls", engine]
    with Terminal(command, columns=80, rows=24, term=term) as terminal:
        row = "O ready        w1" if "--ascii" in options else "● ready        w1"
        terminal.wait_for(row, "Fleet: 1 worker")
        coloured = terminal.coloured()
        if term in ("xterm", "screen", "vt100"):
            assert not re.search(r"\x1b\[[0-9;]*[34]8;[25];", coloured), "more colours than it has"
        if "--ascii" in options:
            assert terminal.screen().isascii()
        terminal.cordon_last("w1")
        terminal.wait_for("cordoned     w1")
        terminal.press("Down", "Enter")
        terminal.wait_for("next  takes no new requests", "Esc back")
        terminal.press("Escape")
        terminal.wait_for("Fleet: 1 worker")
        terminal.press("q")
        assert terminal.wait_exit() == 0
