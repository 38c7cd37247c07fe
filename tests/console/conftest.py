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
