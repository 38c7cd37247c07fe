"""One SSH session: a console if the client has a terminal, a command if it names one, else a sentence and the end.

Everything of a session ends with its channel, at once, whatever it was doing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import asyncssh

from gateway.access import AccessRole
from gateway.tasks import Scope
from gateway.telemetry.logs import get_logger
from smg_console.ssh import driver
from smg_console.ssh.terminal import Terminal, bounded, of_client
from smg_console.ssh.turns import Turns
from smg_console.ssh.wire import Line

if TYPE_CHECKING:
    from smg_console.ssh.console import SshConsole

log = get_logger(__name__)

RESIZE_S = 0.05
"""A window that is being dragged tells its size many times a second; the console hears of one."""
NO_TERMINAL = "smg-console: the console needs a terminal: ssh without -T, or with -t before the host\n"
NO_PTY = "smg-console: this key may not open a console (no-pty)\n"
CRASHED = "smg-console: the console broke off; the gateway serves on, and its log says why\n"
REFUSED, BROKEN, INTERRUPTED = 126, 1, 130
CTRL_C = b"\x03"


@dataclass(frozen=True, slots=True)
class Client:
    """Who is at the other end. `actor` is as the journal names him."""

    actor: str
    role: AccessRole
    address: str
    terminals: bool = True


@dataclass(frozen=True, slots=True)
class Ask:
    """A command over SSH: its words as one line, who asks, and where the answer goes. `terminal` if he has one."""

    line: str
    client: Client
    terminal: Terminal | None
    write: Callable[[bytes], None]
    write_error: Callable[[bytes], None]
    waiting: Callable[[], int]
    """Bytes written that are still here."""


Commands = Callable[[Ask], Awaitable[int]]
"""Runs a command and returns its exit code. It is cancelled when the client leaves."""


class House(Protocol):
    """What a session needs of the server."""

    scope: Scope
    commands: Commands
    turns: Turns

    def console(self, client: Client, terminal: Terminal, line: Line, drawn: Callable[[], object]) -> "SshConsole": ...
    def dismantle(self, console: "SshConsole") -> None: ...
    def opened(self, session: "Session") -> None: ...
    def closed(self, session: "Session") -> None: ...
    def gone(self, session: "Session") -> None: ...


class ChannelLine:
    """A channel as a `Wire` takes it. What waits is in the channel, for the client's window, or in the transport."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = channel
        self._connection = channel.get_connection()

    def write(self, data: bytes) -> None:
        if not self._channel.is_closing():
            self._channel.write(data)

    def waiting(self) -> int:
        # asyncssh tells what its channels hold; what it gave to the transport, it tells nobody.
        transport = self._connection._transport
        held: int = transport.get_write_buffer_size() if isinstance(transport, asyncio.WriteTransport) else 0
        return held + self._channel.get_write_buffer_size()


class Session(asyncssh.SSHServerSession[bytes]):
    """A session of `client` in a `house`."""

    def __init__(self, house: House, client: Client) -> None:
        self.client = client
        self.terminal: Terminal | None = None
        self.what = "console"
        self.farewell = ""
        """Said to the client at the end, under the screen that is his again."""
        self._house = house
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._pty: tuple[str, tuple[int, int]] | None = None
        self._command: str | None = None
        self._console: SshConsole | None = None
        self._task: asyncio.Task[None] | None = None
        self._resizing: asyncio.TimerHandle | None = None
        self._held_back = False
        self._code = BROKEN

    # --- what asyncssh calls ---

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        self._pty = (term_type, (term_size[0], term_size[1]))
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        log.info("ssh_refused", what=f"subsystem {subsystem}", who=self.client.actor, address=self.client.address)
        return False

    def session_started(self) -> None:
        assert self._channel is not None
        if self._command is not None:
            self.what = "command"
            job = self._run_command(self._channel, self._command)
        elif self._pty is None:
            job = self._say(self._channel, NO_TERMINAL)
        elif not self.client.terminals:
            job = self._say(self._channel, NO_PTY)
        else:
            environment = _texts(self._channel.get_environment_bytes())
            self.terminal = of_client(self._pty[0], self._pty[1], environment)
            job = self._run_console(self._channel, self.terminal)
        self._task = self._house.scope.spawn(job, name=f"session of {self.client.actor}")

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._console is not None and self._console.driver is not None:
            self._console.driver.fed(data)
            self._hold_back()
        elif self._command is not None and self._pty is not None and CTRL_C in data:
            self._code = INTERRUPTED
            self.end()

    def _hold_back(self) -> None:
        """Take no more keys from a client than the console works off."""
        assert self._console is not None
        assert self._channel is not None
        screen = self._console.driver
        full = screen is not None and screen.waiting > driver.MOST_WAITING
        if full and not self._held_back:
            self._channel.pause_reading()
        elif self._held_back and not full:
            self._channel.resume_reading()
        self._held_back = full

    def eof_received(self) -> bool:
        return True  # nobody types any more; an answer is still to come, and a picture on the wall is looked at

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self.terminal is not None:
            self.terminal = replace(self.terminal, size=bounded((width, height)))
            if self._resizing is None:
                self._resizing = asyncio.get_running_loop().call_later(RESIZE_S, self._resized)

    def _resized(self) -> None:
        self._resizing = None
        console = self._console
        if console is not None and console.driver is not None and self.terminal is not None:
            console.resized(self.terminal)
            self._house.opened(self)

    def break_received(self, msec: int) -> bool:
        return False

    def signal_received(self, signal: str) -> None:
        if signal in ("HUP", "INT", "TERM", "KILL", "QUIT"):
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel = None
        self.end()
        self._house.gone(self)

    # --- what it does ---

    def end(self, farewell: str = "") -> None:
        """End it, now; `farewell` is what the client is told."""
        self.farewell = self.farewell or farewell
        if self._resizing is not None:
            self._resizing.cancel()
        if self._task is not None:
            self._task.cancel()

    async def _say(self, channel: asyncssh.SSHServerChannel[bytes], text: str) -> None:
        _finish(channel, text, REFUSED)

    async def _run_command(self, channel: asyncssh.SSHServerChannel[bytes], line: str) -> None:
        if self._pty is not None:
            self.terminal = of_client(self._pty[0], self._pty[1], _texts(channel.get_environment_bytes()))
        way = ChannelLine(channel)
        ask = Ask(line, self.client, self.terminal, way.write, _errors_of(channel), way.waiting)
        self._house.opened(self)
        try:
            self._code = await self._house.commands(ask)
        finally:
            self._house.closed(self)
            _finish(channel, self.farewell, self._code)

    async def _run_console(self, channel: asyncssh.SSHServerChannel[bytes], terminal: Terminal) -> None:
        async with self._house.turns.take() as drawn:
            console = self._console = self._house.console(self.client, terminal, ChannelLine(channel), drawn)
            console.input_taken = self._hold_back
            self._house.opened(self)
            try:
                await asyncio.sleep(0)  # making it and starting it are milliseconds each
                await console.run_async(mouse=terminal.mouse, size=terminal.size)
            finally:
                self._console = None
                self._house.closed(self)
                crash = console.crash
                if crash is not None:
                    log.error("ssh_console_crashed", error=crash, who=self.client.actor)
                _finish(channel, self.farewell if crash is None else CRASHED, 0 if crash is None else BROKEN)
                self._house.dismantle(console)


def _finish(channel: asyncssh.SSHServerChannel[bytes], text: str, code: int) -> None:
    """The last words, the exit code, and the end of the channel."""
    if channel.is_closing():
        return
    if text:
        channel.write_stderr(text.encode().replace(b"\n", b"\r\n"))
    channel.exit(code)


def _errors_of(channel: asyncssh.SSHServerChannel[bytes]) -> Callable[[bytes], None]:
    return lambda data: None if channel.is_closing() else channel.write_stderr(data)


def _texts(environment: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode("ascii", "replace"): value.decode("utf-8", "replace") for name, value in environment.items()}
