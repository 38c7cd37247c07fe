"""What is made of what an SSH client says of its terminal, and how failed tries are slowed."""

import pytest

from smg_console.ssh.limits import FIRST_S, FORGET_S, LONGEST_S, MOST_ADDRESSES, Failures
from smg_console.ssh.terminal import bounded, of_client


@pytest.mark.parametrize(
    ("environment", "ascii_only"),
    [
        ({}, False),
        ({"LANG": "C.UTF-8"}, False),
        ({"LANG": "de_DE.utf8"}, False),
        ({"LANG": "C"}, True),
        ({"LC_CTYPE": "en_US.ISO-8859-1", "LANG": "C.UTF-8"}, True),
        ({"LC_ALL": "C.UTF-8", "LC_CTYPE": "C"}, False),
        ({"LC_ALL": "", "LANG": "C.UTF-8"}, False),
        ({"LANG": "C.UTF-8", "SMG_CONSOLE_ASCII": "1"}, True),
    ],
)
def test_a_locale_that_is_not_utf8_means_ascii(environment: dict[str, str], ascii_only: bool) -> None:
    assert of_client("xterm-256color", (80, 24), environment).ascii_only is ascii_only


def test_of_its_environment_only_what_tells_of_the_terminal_is_taken() -> None:
    told = {
        "COLORTERM": "truecolor",
        "NO_COLOR": "1",
        "PATH": "/evil",
        "COLUMNS": "9999",
        "SMG_CONSOLE_THEME": "daylight",
    }
    terminal = of_client("xterm\x1b[2J", (120, 40), told)
    assert terminal.environment == {"COLORTERM": "truecolor", "NO_COLOR": "1", "TERM": "xterm2J"}
    assert (terminal.theme, terminal.no_color, str(terminal)) == ("daylight", True, "xterm2J 120x40")


@pytest.mark.parametrize("term", ["", "dumb", "linux", "vt100"])
def test_a_plain_terminal_is_asked_and_told_nothing_it_may_not_know(term: str) -> None:
    terminal = of_client(term, (80, 24), {})
    assert (terminal.mouse, terminal.modern) == (False, False)
    assert of_client("screen.xterm-256color", (80, 24), {}).modern is False
    assert of_client("tmux-256color", (80, 24), {}).modern is True


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ((0, 0), (80, 24)),
        ((120, 40), (120, 40)),
        ((1 << 32, 1 << 31), (500, 250)),
        ((0, 50), (80, 50)),
        ((1, 1), (1, 1)),
    ],
)
def test_a_size_is_one_that_can_be_drawn_on(said: tuple[int, int], taken: tuple[int, int]) -> None:
    assert bounded(said) == taken


def test_each_failure_from_an_address_takes_longer_until_somebody_gets_in_from_there() -> None:
    failures = Failures()
    waits = [failures.failed("192.0.2.1", now) for now in range(8)]
    assert waits[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert waits[-1] == LONGEST_S
    assert failures.failed("192.0.2.2", 8) == FIRST_S
    failures.succeeded("192.0.2.1")
    assert failures.failed("192.0.2.1", 9) == FIRST_S
    assert failures.failed("192.0.2.1", 9 + FORGET_S) == FIRST_S


def test_of_failures_no_more_is_remembered_than_a_bound() -> None:
    failures = Failures()
    for number in range(3 * MOST_ADDRESSES):
        failures.failed(f"2001:db8::{number:x}", 0)
    assert len(failures._known) == MOST_ADDRESSES
