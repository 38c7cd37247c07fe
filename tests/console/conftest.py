"""Fixtures of the console's tests."""

from inspect import iscoroutinefunction

import pytest

from tests.console.fleet import Fleet, busy_fleet


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What a running console does, it does in the gateway's process and attached to it from elsewhere."""
    if "way" in metafunc.fixturenames and iscoroutinefunction(metafunc.function):
        metafunc.parametrize("way", ["inside", "attached"], indirect=True)


@pytest.fixture
def way(request: pytest.FixtureRequest) -> str:
    """How a console reaches its gateway: `inside` or `attached`."""
    return getattr(request, "param", "inside")


@pytest.fixture
def fleet(way: str) -> Fleet:
    """A gateway's facts with nobody in them."""
    found = Fleet()
    found.attached = way == "attached"
    return found


@pytest.fixture
def busy(way: str) -> Fleet:
    """Eight workers, one in each state."""
    found = busy_fleet()
    found.attached = way == "attached"
    return found


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each key Textual's Pilot looks whether the process has become idle: here after 4 ms instead of 20, of which
    a line that is typed takes dozens."""
    monkeypatch.setattr("textual._wait.SLEEP_GRANULARITY", 0.004)
    monkeypatch.setattr("textual._wait.SLEEP_IDLE", 0.0005)


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the terminal these tests are run in: the console sees one with all colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
