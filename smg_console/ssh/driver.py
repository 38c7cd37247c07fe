"""Textual's driver for a terminal at the other end of an SSH channel: what it writes goes to a `Wire`, keys come in.

It runs in the loop, without a thread. Input is parsed in small slices, so that neither a paste nor a flood of keys
holds the gateway's traffic, and no more of it is kept than `MOST_WAITING`.
"""

import asyncio
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Any, cast

from textual import constants, events
from textual._xterm_parser import XTermParser
from textual.driver import Driver
from textual.geometry import Size
from textual.message import Message
from textual.messages import InBandWindowResize

if TYPE_CHECKING:
    from smg_console.ssh.console import SshConsole

SLICE = 64
"""Characters parsed in one turn of the loop."""
MOST_WAITING = 16 * 1024
"""Bytes of input kept; the client is held back beyond."""
MOST_UNFINISHED = 64 * 1024
"""Characters without an end, as of a paste, before they are given up."""
BUSY = 50
"""Messages waiting in the application before input waits for it."""
PAUSE_S = 0.02

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[0m\x1b[?1049l\x1b[?25h"
# Buttons and drags, not every move: over a network a mouse that is only passing by would send a report for each cell.
_MOUSE_ON, _MOUSE_OFF = "\x1b[?1000h\x1b[?1002h\x1b[?1006h", "\x1b[?1006l\x1b[?1002l\x1b[?1000l"
_MODERN_ON, _MODERN_OFF = "\x1b[?1004h\x1b[?2004h\x1b[?2026$p", "\x1b[?2004l\x1b[?1004l"


class SshDriver(Driver):
    """Draws on a client's terminal. The application says which: `SshConsole.wire` and `.terminal`."""

    def __init__(
        self, app: Any, *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        console = cast("SshConsole", app)
        super().__init__(app, mouse=mouse, size=size or console.terminal.size)
        self._console = console
        self._wire = console.wire
        self._decode = getincrementaldecoder("utf-8")(errors="replace").decode
        self._parser = XTermParser()
        self._input = bytearray()
        self._unfinished = 0
        self._turn: asyncio.Handle | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._listening = False

    # --- the screen ---

    def write(self, data: str) -> None:
        self._wire.write(data)

    def flush(self) -> None:
        self._wire.flush()

    def start_application_mode(self) -> None:
        terminal = self._console.terminal
        mouse, modern = terminal.mouse and self._mouse, terminal.modern
        self.write(_ENTER + (_MOUSE_ON if mouse else "") + (_MODERN_ON if modern else ""))
        self.flush()
        self._listening = True
        self.resized(terminal.size)
        self._console.driver_ready(self)

    def stop_application_mode(self) -> None:
        terminal = self._console.terminal
        mouse, modern = terminal.mouse and self._mouse, terminal.modern
        self.disable_input()
        self._wire.close((_MODERN_OFF if modern else "") + (_MOUSE_OFF if mouse else "") + _LEAVE)

    def resized(self, size: tuple[int, int]) -> None:
        """The client's terminal has this size now, in columns and rows."""
        self._size = size
        self.send_message(events.Resize(Size(*size), Size(*size)))

    # --- keys ---

    @property
    def waiting(self) -> int:
        """Bytes of input not parsed yet."""
        return len(self._input)

    def fed(self, data: bytes) -> None:
        """The client sent this."""
        if self._listening:
            self._input += data
            self._wake()

    def _wake(self, after_s: float = 0) -> None:
        if self._turn is None and self._listening:
            later = self._loop.call_later(after_s, self._take) if after_s else self._loop.call_soon(self._take)
            self._turn = later

    def _take(self) -> None:
        """Parse a slice; the rest when the application has worked off what it got."""
        self._turn = None
        if self._app._message_queue.qsize() > BUSY:
            self._wake(PAUSE_S)
            return
        data, self._input = self._input[:SLICE], self._input[SLICE:]
        self._parse(self._decode(bytes(data)))
        self._console.input_taken()
        if self._input:
            self._wake()

    def _parse(self, text: str) -> None:
        self._unfinished += len(text)
        for message in self._parser.feed(text) if text else ():
            self._unfinished = 0
            self.process_message(message)
        if self._unfinished > MOST_UNFINISHED:
            self._parser, self._unfinished = XTermParser(), 0
        self._wait_for_the_rest()

    def _wait_for_the_rest(self) -> None:
        """A lone Esc is known as one only when nothing follows it for a while."""
        if self._tick is None and self._listening and self._parser._timeout_time is not None:
            self._tick = self._loop.call_later(constants.ESCAPE_DELAY / 2, self._escape)

    def _escape(self) -> None:
        self._tick = None
        for message in self._parser.tick():
            self.process_message(message)
        self._wait_for_the_rest()

    def process_message(self, message: Message) -> None:
        if not isinstance(message, InBandWindowResize):  # sizes come from SSH
            super().process_message(message)

    def send_message(self, message: Message) -> None:
        message.set_sender(self._app)
        self._app.post_message(message)

    def disable_input(self) -> None:
        self._listening = False
        self._input.clear()
        for handle in (self._turn, self._tick):
            if handle is not None:
                handle.cancel()

    def open_url(self, url: str, new_tab: bool = True) -> None:
        """Nothing: a browser would open at the gateway's machine."""
