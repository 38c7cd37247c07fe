"""A gateway with its SSH server as a process, keys of our own, and OpenSSH's client against it.

Everything lives in one directory of the test. Waiting is for log lines, screens and exits, always bounded.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.terminal.tmux import Terminal

TIMEOUT_S = 20.0


def until(condition: Callable[[], Any], wanted: str, timeout_s: float = TIMEOUT_S) -> Any:
    """The condition's value once it is true."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s:g} s for {wanted}; last seen: {value!r}")
        time.sleep(0.02)
    return value


class SshWorld:
    """A directory with keys and a gateway. `roles` are names of keys with their roles; `stranger` has a key, too."""

    def __init__(self, directory: Path, *options: str, **roles: str) -> None:
        assert shutil.which("ssh"), "these tests need OpenSSH's client"
        self.directory = directory
        self._options = options
        self.authorized = directory / "authorized_keys"
        self.host_key = directory / "state" / "host_key"
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        for name in (*roles, "stranger"):
            command = [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                f"{name}-laptop",
                "-f",
                f"{directory}/{name}",
            ]
            subprocess.run(command, check=True, timeout=20, stdin=subprocess.DEVNULL)
        self.authorize(*(f'role="{role}" {self.public(name)}' for name, role in roles.items()))

    def public(self, name: str) -> str:
        return (self.directory / f"{name}.pub").read_text("utf-8").strip()

    def authorize(self, *lines: str) -> None:
        """Write the authorized keys anew."""
        fresh = self.directory / "authorized_keys.new"
        fresh.write_text("\n".join([*lines, ""]), encoding="utf-8")
        fresh.chmod(0o600)
        fresh.rename(self.authorized)

    # --- the gateway ---

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "smg_console", "--no-ui", "--log-json", "--host", "127.0.0.1", "--port", "0"]
        command += ["--prometheus-port", "0", "--ssh-port", "0", "--ssh-authorized-keys", str(self.authorized)]
        command += ["--ssh-host-key", str(self.host_key), *self._options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        self.address = self.logged("gateway_listening")["address"]
        self.port = self.logged("ssh_listening")["address"].rpartition(":")[2]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(TIMEOUT_S)

    def log(self, event: str = "") -> list[dict[str, Any]]:
        """Log events, or those of one name."""
        lines = self._log.read_text("utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [line for line in found if not event or line["event"] == event]

    def logged(self, event: str, **fields: str) -> dict[str, Any]:
        """Wait for a log event of this name with these fields."""

        def look() -> dict[str, Any] | None:
            assert self._process is not None
            if self._process.poll() is not None and not self.log(event):
                raise AssertionError(f"the gateway ended: {self._log.read_text('utf-8')}")
            return next((e for e in self.log(event) if all(e.get(n) == v for n, v in fields.items())), None)

        found: dict[str, Any] = until(look, f"log event {event} {fields}")
        return found

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=10) as answer:
            return json.load(answer)

    def worker(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(w for w in self.get("/workers")["workers"] if w["name"] == name)
        return found

    def notes(self) -> list[str]:
        """The texts of the journal's notes about SSH."""
        told = (event["data"] for event in self.get("/journal?limit=10000")["events"])
        return [data["text"] for data in told if data.get("topic") == "ssh"]

    def resident_kb(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        return int(status.split("VmRSS:")[1].split()[0])

    # --- clients ---

    def command(self, key: str, *words: str, user: str = "ops") -> list[str]:
        """OpenSSH's client, with nothing of this machine's own configuration. `words` come first, and so they count."""
        return [
            *("ssh", *words, "-F", "none", "-p", self.port, "-i", str(self.directory / key)),
            *("-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={self.directory}/known_hosts"),
            *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR"),
            f"{user}@127.0.0.1",
        ]

    def run(
        self, key: str, *words: str, then: Sequence[str] = (), user: str = "ops"
    ) -> "subprocess.CompletedProcess[str]":
        """Run a client without a terminal to its end; `then` is the remote command."""
        return subprocess.run(
            [*self.command(key, *words, user=user), *then],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            stdin=subprocess.DEVNULL,
        )

    def terminal(
        self, key: str, *words: str, columns: int = 120, rows: int = 40, user: str = "ops", term: str = "xterm-256color"
    ) -> Terminal:
        """A client in a terminal; when it has ended, the terminal says so and shows its settings."""
        line = " ".join(f"'{word}'" for word in self.command(key, *words, user=user))
        shell = ["bash", "-c", f"{line}; echo ended with $?; stty -a; sleep 60"]
        return Terminal(shell, columns=columns, rows=rows, term=term, environment={"COLORTERM": "truecolor"})


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(pid, number)
