"""A real terminal for tests: one tmux server of its own per test, driven by keys and read as text.

Everything waits for a condition on the screen; on a timeout the error shows the screen as it was.
"""

import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

TIMEOUT_S = 20.0


class ScreenTimeout(AssertionError):
    def __init__(self, wanted: str, screen: str) -> None:
        super().__init__(f"waited for {wanted} on this screen:\n{screen}")


class Terminal:
    """A tmux session running one command. `columns` by `rows` cells; `environment` is added to the command's."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 120,
        rows: int = 40,
        environment: dict[str, str] | None = None,
        term: str = "tmux-256color",
    ) -> None:
        assert shutil.which("tmux"), "these tests need tmux"
        self._home = TemporaryDirectory(prefix="smg-terminal-", ignore_cleanup_errors=True)
        self._socket = f"smg-test-{uuid.uuid4().hex[:12]}"
        self._command = [
            "env",
            *("-u", "COLUMNS", "-u", "LINES"),  # test runners set them, and they would win over the terminal's size
            f"TERM={term}",
            *(f"{name}={value}" for name, value in (self._own_places() | (environment or {})).items()),
            *command,
        ]
        self._size = (columns, rows)

    def _own_places(self) -> dict[str, str]:
        """A console in it remembers nothing from elsewhere, and finds nothing of the person who runs the tests."""
        return {"XDG_STATE_HOME": f"{self._home.name}/state", "XDG_CONFIG_HOME": f"{self._home.name}/config"}

    def _tmux(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        if check and done.returncode:
            raise AssertionError(f"tmux {words[0]}: {done.stderr.strip()}")
        return done.stdout

    def __enter__(self) -> Self:
        columns, rows = map(str, self._size)
        # The pane stays after the command's end, so that its last words and its exit code can be read.
        self._tmux("new-session", "-d", "-x", columns, "-y", rows, "-s", "t", "sleep", "600")
        self._tmux("set-option", "-g", "remain-on-exit", "on")
        self._tmux("set-option", "-g", "escape-time", "0")
        self._tmux("respawn-pane", "-k", "-t", "t", *self._command)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server", check=False)
        self._home.cleanup()

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: `Enter`, `Escape`, `C-p`, or a single character."""
        self._tmux("send-keys", "-t", "t", *keys)

    def cordon_last(self, name: str) -> None:
        """Cordon the only worker of its model: its name has to be typed."""
        self.press("c")
        self.wait_for(f"Type {name} to go on")
        self.press(*name, "Enter")

    def type(self, text: str) -> None:
        """Type text as it stands."""
        self._tmux("send-keys", "-t", "t", "-l", text)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-t", "t", "-x", str(columns), "-y", str(rows))

    def hang_up(self) -> None:
        """Take the terminal away, as a lost connection does."""
        self._tmux("kill-server", check=False)

    def screen(self) -> str:
        """The visible screen as text."""
        return self._tmux("capture-pane", "-p", "-t", "t")

    def coloured(self) -> str:
        """The visible screen with its escape sequences, to look for colours."""
        return self._tmux("capture-pane", "-p", "-e", "-t", "t")

    def process(self) -> int:
        """Process id of the command."""
        return int(self._tmux("display-message", "-p", "-t", "t", "#{pane_pid}"))

    def exit_code(self) -> int | None:
        """The command's exit code; None while it runs."""
        dead, code = self._tmux("display-message", "-p", "-t", "t", "#{pane_dead} #{pane_dead_status}").split(" ")
        return int(code.strip() or 0) if dead == "1" else None

    def wait(self, condition: Callable[[str], bool], wanted: str, timeout_s: float = TIMEOUT_S) -> str:
        """The screen as soon as it meets the condition."""
        until = time.monotonic() + timeout_s
        while True:
            screen = self.screen()
            if condition(screen):
                return screen
            if time.monotonic() > until:
                raise ScreenTimeout(wanted, screen)
            time.sleep(0.05)

    def wait_for(self, *texts: str, timeout_s: float = TIMEOUT_S) -> str:
        """The screen as soon as it shows all these texts."""
        return self.wait(lambda screen: all(text in screen for text in texts), repr(texts), timeout_s)

    def wait_exit(self, timeout_s: float = TIMEOUT_S) -> int:
        """The exit code, once the command has ended."""
        until = time.monotonic() + timeout_s
        while (code := self.exit_code()) is None:
            if time.monotonic() > until:
                raise ScreenTimeout("the end of the program", self.screen())
            time.sleep(0.05)
        return code
