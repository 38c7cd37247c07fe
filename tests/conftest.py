"""What all tests share: times of day are shown in UTC, wherever the tests run, and a slow machine fails nothing.

Nothing is read from or left in the directories of the person who runs them: each test has its own.
"""

import os
import time

import pytest
from hypothesis import settings

os.environ["TZ"] = "UTC"
time.tzset()

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a console remembers, and themes and keys of one's own, are this test's alone."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
