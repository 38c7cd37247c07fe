"""Ctrl+Z: the terminal back to the shell, and the console again with `fg`.

Where the gateway is in the same process it stops as well, and with it every request on its way: that is asked first.
"""

from textual.app import App

from smg_console.acting import ActingApp
from smg_console.screens.dialogs import Confirm, Question


class SuspendingApp(ActingApp):
    """An application that can be suspended. `holds_gateway`: the gateway is suspended with it."""

    holds_gateway = True

    def action_suspend(self) -> None:
        """Suspend, asking first where that stops the gateway."""
        if self._driver is None or not self._driver.can_suspend:
            self.say("there is nothing to suspend here; ssh itself is, with Enter ~ Ctrl+Z", "warning")
        elif not self.holds_gateway:
            App.action_suspend_process(self)
        elif not isinstance(self.screen, Confirm):
            question = _question(self.plane.gateway().in_flight)
            self.push_screen(Confirm(question), lambda yes: App.action_suspend_process(self) if yes else None)


def _question(flying: int) -> Question:
    lines = (
        "The gateway is in this process and stops with it, until fg:",
        f"{flying} request{'' if flying == 1 else 's'} in flight would hang, new ones would not be answered.",
    )
    return Question("Suspend?", lines, "Suspend", careful=True)
