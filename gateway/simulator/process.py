"""Simulated engines (and other helpers of a demo) as child processes that never outlive their parent."""

import asyncio
import json
import os
import signal
import sys
import urllib.request
from types import TracebackType
from typing import Any, Self

START_S = 20.0
STOP_S = 2.0


class ChildProcess:
    """A Python module run as a process; it ends when the context is left, or when this process is gone."""

    def __init__(self, module: str, *flags: str) -> None:
        self._command = [sys.executable, "-m", module, *flags, "--parent-pid", str(os.getpid())]
        self.process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Raises RuntimeError before the start."""
        if self.process is None:
            raise RuntimeError("not started")
        return self.process.pid

    async def start(self) -> None:
        """Start it. Its output goes nowhere: a terminal may belong to a console."""
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
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
        process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class SimulatorProcess(ChildProcess):
    """A simulated engine. `flags` are those of `python -m gateway.simulator`."""

    def __init__(self, *flags: str) -> None:
        super().__init__("gateway.simulator", *flags)
        self.url = ""

    async def start(self) -> None:
        """Start it and wait until it listens. Raises RuntimeError if it does not."""
        await super().start()
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(START_S):
            line = (await self.process.stdout.readline()).decode()
        if not line.startswith("listening on "):
            raise RuntimeError(f"the simulated engine did not start: {' '.join(self._command)}")
        self.url = line.split()[-1]

    async def restart(self) -> None:
        """Start it again on the port it had."""
        await self.stop()
        port = self.url.rpartition(":")[2]
        flags = self._command
        if "--port" in flags:
            flags[flags.index("--port") + 1] = port
        else:
            flags += ["--port", port]
        await self.start()

    async def stats(self) -> dict[str, Any]:
        """What the engine counted."""
        return await asyncio.to_thread(self._call, "/_sim/stats", None)

    async def fault(self, **faults: object) -> dict[str, Any]:
        """Switch faults; `reset=True` clears them."""
        return await asyncio.to_thread(self._call, "/_sim/faults", faults)

    def _call(self, path: str, body: object) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data)
        with urllib.request.urlopen(request, timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
