"""The console over a gateway elsewhere: quitting ends nothing else, and it says when its connection comes and goes."""

from pathlib import Path

from smg_console import app
from smg_console.app import ConsoleApp
from smg_console.plane import Link
from smg_console.present import numbers


class AttachedConsole(ConsoleApp):
    """A `ConsoleApp` whose plane has a link."""

    CSS_PATH = str(Path(app.__file__).with_name("console.tcss"))

    holds_gateway = False
    _link: Link | None = None
    """As of the last frame."""

    async def frame(self) -> float:
        self._look_at_link()
        return await super().frame()

    def _look_at_link(self) -> None:
        """Say once what the incident strip then goes on saying, and that it is over."""
        before, link = self._link, self.plane.link()
        self._link = link
        if before is None or link is None:
            return
        now = self.plane.gateway().now
        if before.lost_at is None and link.lost_at is not None:
            self.say(f"connection to {link.target} lost: {link.why}", "error")
        elif before.lost_at is not None and link.lost_at is None:
            away = numbers.age(now - before.lost_at)
            again = "; the gateway was started anew meanwhile" if link.restarts != before.restarts else ""
            self.say(f"connected again after {away}{again}", "warning" if again else "information")

    async def action_quit(self) -> None:
        """The gateway and its requests go on, so nothing is asked."""
        self.exit()
