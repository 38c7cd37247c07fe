"""The console as it runs for one SSH client: his colours, his theme, his size, and an end that ends nothing else.

Several run in one loop beside each other and beside the terminal's own. What Textual and Rich keep for the whole
process (the process's environment, rendered styles, standard output) is kept apart here.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.dom import DOMNode
from textual.filter import LineFilter, Monochrome, NoColor

from gateway.access import AccessRole, Act, may
from gateway.telemetry.logs import LogRing, get_logger
from smg_console import app, themes
from smg_console.app import ConsoleApp
from smg_console.plane import Plane
from smg_console.ssh.driver import SshDriver
from smg_console.ssh.remains import gathered, taken_apart
from smg_console.ssh.sheets import SharedStylesheet
from smg_console.ssh.terminal import Terminal
from smg_console.ssh.wire import Line, Wire

log = get_logger(__name__)

IDLE_S = 0.025
"""What a frame counts that was not drawn: the next is due after ten times as long."""


class OwnStyles(LineFilter):
    """Gives an application styles of its own.

    A style keeps the escape sequence it was first rendered to, whatever the colours of the terminal that was for,
    and equal styles are one object throughout the process. So a terminal of 16 colours beside one of all would get
    the other's sequences, and give it its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._own: dict[Style, Style] = {}

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.style is None else Segment(segment.text, self._of(segment.style), segment.control)
            for segment in segments
        ]

    def _of(self, style: Style) -> Style:
        own = self._own.get(style)
        if own is None:
            if len(self._own) > 4096:
                self._own.clear()
            own = self._own[style] = style.copy()
            own._ansi = None
        return own


class SshConsole(ConsoleApp):
    """A console whose screen is an SSH client's.

    `drawn` is called after the first frame. Whoever holds `pencil` draws: of several consoles one at a time.
    """

    CSS_PATH = str(Path(app.__file__).with_name("console.tcss"))

    def __init__(
        self,
        plane: Plane,
        line: Line,
        terminal: Terminal,
        role: AccessRole,
        *,
        theme: str | None,
        ascii_only: bool,
        log_ring: LogRing | None,
        drawn: Callable[[], object],
        pencil: asyncio.Lock,
    ) -> None:
        self.terminal = terminal
        self.wire = Wire(line, self.repaint)
        self.driver: SshDriver | None = None
        self.input_taken: Callable[[], object] = lambda: None
        screen = Console(
            file=cast("IO[str]", _Nowhere()),
            force_terminal=True,
            legacy_windows=False,
            markup=True,
            highlight=False,
            emoji=False,
            safe_box=False,
            _environ=dict(terminal.environment),
        )
        super().__init__(
            plane,
            theme=terminal.theme or theme or themes.default_for(screen.color_system),
            ascii_only=ascii_only or terminal.ascii_only,
            log=log_ring,
            settled=drawn,
        )
        self.console = screen
        self.driver_class = SshDriver
        self.stylesheet = SharedStylesheet(variables=self.get_css_variables())
        self._own_styles = OwnStyles()
        self.no_color = terminal.no_color
        self._filters = [one for one in self._filters if not isinstance(one, Monochrome | NoColor)]
        if self.no_color:
            self._filters.append(NoColor() if self.native_ansi_color else Monochrome())
        self.crash: BaseException | None = None
        self._pencil = pencil
        self._remains: list[DOMNode] = []
        if not may(role, Act.WORKERS):
            self.why_read_only = f"your key's role is {role}: it shows, and does not act"

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), self._own_styles]

    # --- the client ---

    def driver_ready(self, driver: SshDriver) -> None:
        """The screen is open."""
        self.driver = driver

    def resized(self, terminal: Terminal) -> None:
        """The client's terminal has another size. The same one again: it was away, and its screen with it."""
        if self.driver is not None:
            if terminal.size == self.terminal.size:
                self.repaint()
            else:
                self.driver.resized(terminal.size)
        self.terminal = terminal

    def repaint(self) -> None:
        """Draw everything anew: the client's screen is not what it was sent."""
        self.screen.refresh()

    async def frame(self) -> float:
        """Nothing is drawn for a client that does not read."""
        if self.wire.behind:
            return IDLE_S
        async with self._pencil:
            return await super().frame()

    async def action_quit(self) -> None:
        """Ends this session only, so nothing is asked."""
        self.exit()

    def _keep(self, job: Coroutine[object, object, Path]) -> None:
        job.close()
        self.say("over SSH nothing is saved: the file would lie at the gateway's machine", "warning")

    def action_repaint(self) -> None:
        self.repaint()

    # --- what Textual does for the whole process ---

    @property
    def _capture_stdout(self) -> Any:
        """Textual puts this in the place of standard output while it runs: what is there stays."""
        return sys.stdout

    @_capture_stdout.setter
    def _capture_stdout(self, stream: Any) -> None:
        pass

    @property
    def _capture_stderr(self) -> Any:
        return sys.stderr

    @_capture_stderr.setter
    def _capture_stderr(self, stream: Any) -> None:
        pass

    async def _shutdown(self) -> None:
        self._remains = gathered([*self._registry, self])
        await super()._shutdown()

    async def dismantle(self) -> None:
        """Let go of everything, in slices; there is nothing to be done with it afterwards."""
        remains, self._remains = self._remains, []
        vars(self._animator).clear()
        await taken_apart(remains)

    def _handle_exception(self, error: Exception) -> None:
        """A crash ends the session and is logged; a picture of it would go to the gateway's own terminal."""
        self._return_code = 1
        if self.crash is None:
            self.crash = self._exception = error
            self._exception_event.set()
        self._close_messages_no_wait()


class _Nowhere:
    """Rich wants a file; nothing is printed to it."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True
