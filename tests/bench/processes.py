"""The processes of a bench: started on a core, measured by /proc, and ended by their own numbers, whatever happens.

Which programs are started is the callers' affair.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

GATEWAY_CORE, LOAD_CORE = 0, 1
STOP_S = 3.0
_CORES = sorted(os.sched_getaffinity(0))
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_TICKS = os.sysconf("SC_CLK_TCK")


def pinned(core: int) -> None:
    """Keep the calling process on one of the cores the bench may use; with a single one there is nothing to choose."""
    if len(_CORES) > 1:
        os.sched_setaffinity(0, {_CORES[core]})


def _prepare(core: int) -> None:
    """In the child: on its core before the program counts the cores, and killed if the bench is killed itself."""
    pinned(core)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Different ports: all are held until the last one is known, or the same might be given twice."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


class Process:
    """A program on one core, with its output in a file. A context manager that ends it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        core: int,
        *,
        env: Mapping[str, str] | None = None,
        pipe: bool = False,
        terminal: int | None = None,
    ) -> None:
        """`pipe`: its standard output is read by `line`. `terminal`: a descriptor it reads and writes instead."""
        self.name = name
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the context is left
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.PIPE if pipe else self._output if terminal is None else terminal,
            stderr=self._output if terminal is None else terminal,
            env={**os.environ, **(env or {})},
            start_new_session=True,  # Ctrl+C is for the bench, which ends this one in order
            preexec_fn=lambda: _prepare(core),
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._popen.poll()

    def line(self) -> str:
        """The next line of its standard output (with `pipe`)."""
        assert self._popen.stdout is not None
        return self._popen.stdout.readline().decode()

    def output(self, most: int = 4096) -> str:
        """The end of what it wrote."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), most, max(0, size - most)).decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._output.close()

    def end(self, timeout_s: float = STOP_S) -> None:
        """SIGTERM, then SIGKILL to the process and what it started itself (its own session)."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(self._popen.pid, signal.SIGKILL)
                self._popen.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()


class Workers(Process):
    """Fixed workers on the load generator's core."""

    def __init__(self, count: int) -> None:
        command = [sys.executable, "-m", "tests.bench.workers", "--ports", str(count)]
        super().__init__("workers", command, LOAD_CORE, pipe=True)
        line = self.line()
        if not line.startswith("{"):
            text = self.output()
            self.end()
            raise RuntimeError(f"the fixed workers did not start: {text}")
        self.ports: list[int] = json.loads(line)["ports"]
        self.urls = [f"http://127.0.0.1:{port}" for port in self.ports]


# --- /proc ---


def stat_fields(stat: str) -> list[str]:
    """The fields of /proc/PID/stat from the third on: a program's name may hold blanks and brackets."""
    return stat.rpartition(")")[2].split()


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int(stat_fields((entry / "stat").read_text())[1])
            except OSError:
                continue  # it ended meanwhile
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def cpu_s(pid: int) -> float:
    """CPU time of the process and its descendants, all threads, user and system, in seconds."""
    total = 0
    for member in family(pid):
        try:
            fields = stat_fields(Path(f"/proc/{member}/stat").read_text())
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def status_of(pid: int) -> dict[str, Any]:
    """Resident memory in KB, threads and open descriptors of one process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return {
        "rss_kb": int(fields["VmRSS"].split()[0]),
        "threads": int(fields["Threads"]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
    }


def rss_mb(pid: int) -> float:
    return float(status_of(pid)["rss_kb"]) / 1024


def wrk_program() -> str:
    """The path of wrk. Raises RuntimeError that says how to install it."""
    found = shutil.which("wrk")
    if found is None:
        raise RuntimeError("wrk is not on PATH; install it with: apt-get install wrk")
    return found
