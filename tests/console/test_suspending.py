"""Ctrl+Z: what it asks, and where there is nothing to suspend. Real terminals are `tests/terminal`'s."""

import pytest

from smg_console.app import ConsoleApp
from smg_console.screens.dialogs import Confirm
from smg_console.suspending import SuspendingApp
from tests.console.fleet import Fleet


@pytest.fixture
def suspended(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How often the process would have been suspended, under a driver that can."""
    times: list[bool] = []
    monkeypatch.setattr("textual.app.App.action_suspend_process", lambda app: times.append(True))
    monkeypatch.setattr("textual.drivers.headless_driver.HeadlessDriver.can_suspend", True)
    return times


async def test_it_asks_with_the_requests_that_would_hang(busy: Fleet, suspended: list[bool]) -> None:
    app = ConsoleApp(busy.plane)
    async with app.run_test() as pilot:
        await pilot.press("ctrl+z")
        assert isinstance(app.screen, Confirm)
        flying = busy.gateway_row().in_flight
        assert f"{flying} requests in flight would hang" in " ".join(app.screen.question.lines)
        await pilot.press("escape")
        assert suspended == []
        await pilot.press("ctrl+z", "y")
        await pilot.pause()
        assert suspended == [True]
        await pilot.press("ctrl+z", "ctrl+z", "enter")  # twice is no yes, and the cursor stands on Cancel
        await pilot.pause()
        assert suspended == [True]


async def test_a_console_of_a_gateway_elsewhere_asks_nothing(busy: Fleet, suspended: list[bool]) -> None:
    class Elsewhere(ConsoleApp):
        CSS_PATH = None  # type: ignore[assignment]  # that of the class above is beside its own module
        holds_gateway = False

    app = Elsewhere(busy.plane)
    async with app.run_test() as pilot:
        await pilot.press("ctrl+z")
        assert suspended == [True]
        assert not isinstance(app.screen, Confirm)


async def test_where_there_is_nothing_to_suspend_it_says_so(busy: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(SuspendingApp, "say", lambda app, text, severity="information": said.append(text))
    async with ConsoleApp(busy.plane).run_test() as pilot:
        await pilot.press("ctrl+z")
        assert said == ["there is nothing to suspend here; ssh itself is, with Enter ~ Ctrl+Z"]
