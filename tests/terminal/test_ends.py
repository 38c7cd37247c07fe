"""How a console leaves its terminal: suspended and back, killed, crashed; on poor terminals, and all their keys."""

import os
import re
import signal
import sys

import pytest

from tests.terminal.test_terminal import CONSOLE, children_of
from tests.terminal.tmux import Terminal

SHELL = ["bash", "--norc", "--noprofile", "-i"]
COMMAND = " ".join(CONSOLE)
EMPTY = "No workers yet"


def at_the_prompt(terminal: Terminal) -> None:
    """The shell is ready; its prompt is one that nothing else shows."""
    terminal.type("PS1='sh''ell> '; unset HISTFILE")
    terminal.press("Enter")
    terminal.wait(lambda screen: screen.rstrip().endswith("shell>"), "the prompt")


def run(terminal: Terminal, command: str) -> None:
    terminal.type(command)
    terminal.press("Enter")


def is_sane(terminal: Terminal) -> None:
    """What is typed is seen, lines are lines, the cursor is there, and the mouse is the terminal's again."""
    run(terminal, "clear; stty -a; echo fi''nished")
    screen = terminal.wait_for("finished", "speed")
    for flag in ("icanon", "echo", "isig", "opost", "icrnl"):
        assert re.search(rf"(?<!-)\b{flag}\b", screen), f"{flag} is off"
    told = terminal._tmux("display-message", "-p", "-t", "t", "#{cursor_flag} #{mouse_any_flag} #{alternate_on}")
    assert told.split() == ["1", "0", "0"], "cursor, mouse, alternate screen"


def console_of(terminal: Terminal) -> int:
    """The console that the shell runs."""
    (pid,) = children_of(terminal.process())
    return pid


def test_ctrl_z_asks_gives_the_shell_back_and_fg_draws_all_again() -> None:
    with Terminal(SHELL) as terminal:
        at_the_prompt(terminal)
        run(terminal, COMMAND)
        terminal.wait_for(EMPTY)
        terminal.press("C-z")
        terminal.wait_for("Suspend?", "The gateway is in this process")
        terminal.press("y")
        terminal.wait_for("Stopped")
        is_sane(terminal)
        run(terminal, "fg")
        terminal.wait_for(EMPTY, "Fleet: 0 workers")
        terminal.press("?")
        terminal.wait_for("Acts on the worker")
        terminal.press("Escape")
        terminal.wait_for(EMPTY)
        terminal.press("q")
        terminal.wait(lambda screen: screen.rstrip().endswith("shell>"), "the prompt")
        is_sane(terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_under_a_dialog_gives_the_terminal_back(number: signal.Signals) -> None:
    with Terminal(SHELL) as terminal:
        at_the_prompt(terminal)
        run(terminal, COMMAND)
        terminal.wait_for(EMPTY)
        terminal.press("a")
        terminal.wait_for("Add a worker", "API key")
        os.kill(console_of(terminal), number)
        terminal.wait(lambda screen: screen.rstrip().endswith("shell>"), "the prompt")
        is_sane(terminal)


def test_a_crash_inside_the_console_gives_the_terminal_back_and_ends_with_1() -> None:
    crash = (
        "import sys; from smg_console.app import ConsoleApp; from smg_console.cli import main;"
        "ConsoleApp.action_next_theme = lambda self: 1 / 0;"
        f"sys.argv[1:] = {CONSOLE[3:]!r}; sys.exit(main())"
    )
    with Terminal(SHELL) as terminal:
        at_the_prompt(terminal)
        run(terminal, f'{sys.executable} -c "{crash}"; echo ended with $?')
        terminal.wait_for(EMPTY)
        terminal.press("t")
        terminal.wait_for("ended with 1", "ZeroDivisionError")
        is_sane(terminal)


def test_after_kill_9_the_shell_takes_commands_and_the_next_console_starts_and_ends_well() -> None:
    with Terminal(SHELL) as terminal:
        at_the_prompt(terminal)
        run(terminal, COMMAND)
        terminal.wait_for(EMPTY)
        os.kill(console_of(terminal), signal.SIGKILL)  # nothing can run in it any more: not even to restore a terminal
        terminal.wait_for("Killed")
        run(terminal, "clear")  # the dead one's picture stays, as nobody took it away
        terminal.wait(lambda screen: EMPTY not in screen and "shell>" in screen, "an empty screen")
        run(terminal, COMMAND)
        terminal.wait_for(EMPTY, "Fleet: 0 workers")
        terminal.press("q")
        terminal.wait(lambda screen: screen.rstrip().endswith("shell>"), "the prompt")
        run(terminal, "stty sane")
        is_sane(terminal)


@pytest.mark.parametrize("term", ["screen", "xterm", "linux", "vt100"])
def test_poor_terminals_show_it_in_their_own_colours_and_know_the_keys(term: str) -> None:
    command = [*CONSOLE, "--ascii"]
    with Terminal(command, columns=80, rows=24, term=term, environment={"COLORTERM": ""}) as terminal:
        screen = terminal.wait_for(EMPTY)
        assert screen.isascii()
        assert "38;2;" not in terminal.coloured()
        for keys, seen in (
            (("?",), "Acts on the worker"),
            (("PageDown",), "Anywhere"),
            (("Escape",), "Enter details"),  # the line of keys: other things shine through
            (("Tab", "Tab", "Right"), "fits the filter state:registering"),
            (("Escape",), EMPTY),
            ((":",), "Tab completes"),
            (("Escape",), "Enter details"),
        ):
            terminal.press(*keys)
            assert terminal.wait_for(seen).isascii()
        terminal.press("q")
        assert terminal.wait_exit() == 0
