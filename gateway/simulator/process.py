"""Simulated engines (and other helpers of a demo) as child processes that never outlive their parent.

A child is told its parent's number and watches it; leaving the context ends it in any case. What it writes
goes to a temporary file, never to a terminal: that may belong to a console.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

START_S = 20.0
STOP_S = 2.0
_LISTENING = "listening on "


class ChildProcess:
    """A Python module run as a process; it ends when the context is left, or when this process is gone."""

    def __init__(self, module: str, *flags: str) -> None:
        self._command = [sys.executable, "-m", module, *flags, "--parent-pid", str(os.getpid())]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the context is left
        self.process: asyncio.subprocess.Process | None = None

    def __repr__(self) -> str:
        process = self.process
        state = "not started" if process is None else f"pid {process.pid}, exit code {process.returncode}"
        return f"<{type(self).__name__} {' '.join(self._command[2:-2])}: {state}>"

    @property
    def pid(self) -> int:
        """Raises RuntimeError before the start."""
        if self.process is None:
            raise RuntimeError("not started")
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return None if self.process is None else self.process.returncode

    def errors(self) -> str:
        """The end of what it wrote to its standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), 4096, max(0, size - 4096)).decode("utf-8", "replace")

    async def start(self) -> None:
        """Start it."""
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # Ctrl+C in the terminal is for the parent, which ends this one in order
        )

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM; SIGKILL if it does not end within two seconds."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        process = self.process
        if process is None or process.returncode is not None:
            return
        try:
            process.send_signal(number)
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except ProcessLookupError:
            await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        self._errors.close()


class SimulatorProcess(ChildProcess):
    """A simulated engine. `flags` are those of `python -m gateway.simulator`; a fixed `--port` makes `url` known
    before it listens."""

    def __init__(self, *flags: str) -> None:
        super().__init__("gateway.simulator", *flags)
        port = flags[flags.index("--port") + 1] if "--port" in flags else "0"
        scheme = "grpc" if "--grpc" in flags else "http"
        self.url = "" if port == "0" else f"{scheme}://127.0.0.1:{port}"
        self.control = self.url
        """Where its own routes (`/_sim`) are: its URL, or a port beside it if that one speaks gRPC."""

    async def start(self) -> None:
        """Start it and wait until it listens. Raises RuntimeError with what it wrote if it does not."""
        await self.launch()
        await self.listening()

    async def launch(self) -> None:
        """Start it without waiting."""
        await super().start()

    async def listening(self) -> None:
        """Wait until it listens. Raises RuntimeError with what it wrote if it does not within 20 s."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = ""
        try:
            async with asyncio.timeout(START_S):
                line = (await self.process.stdout.readline()).decode()
        except TimeoutError:
            await self.kill()
        if not line.startswith(_LISTENING):
            raise RuntimeError(f"the simulated engine did not start: {self!r}\n{self.errors()}")
        self.url, _, control = line.removeprefix(_LISTENING).strip().partition(" control ")
        self.control = control or self.url

    async def restart(self, *, wait: bool = True) -> None:
        """End it in order if it runs, and start it again on the port it had."""
        await self.stop()
        port = self.url.rpartition(":")[2]
        if "--port" in self._command:
            self._command[self._command.index("--port") + 1] = port
        else:
            self._command += ["--port", port]
        await self.launch()
        if wait:
            await self.listening()

    async def stats(self) -> dict[str, Any]:
        """What the engine counted."""
        return await asyncio.to_thread(_call, f"{self.control}/_sim/stats", None)

    async def fault(self, **faults: object) -> dict[str, Any]:
        """Switch faults; `reset=True` clears them. Raises ValueError for what the engine does not accept."""
        return await asyncio.to_thread(_call, f"{self.control}/_sim/faults", faults)


def _call(url: str, body: Mapping[str, object] | None) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is never behind a proxy
    data = None if body is None else json.dumps(body).encode()
    try:
        with opener.open(urllib.request.Request(url, data=data), timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as refused:
        with refused:
            raise ValueError(json.load(refused)["error"]["message"]) from None
