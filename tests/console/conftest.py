"""Fixtures of the console's tests."""

import pytest

from tests.console.fleet import Fleet, busy_fleet


@pytest.fixture
def fleet() -> Fleet:
    """A gateway's facts with nobody in them."""
    return Fleet()


@pytest.fixture
def busy() -> Fleet:
    """Eight workers, one in each state."""
    return busy_fleet()


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the terminal these tests are run in: the console sees one with all colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
