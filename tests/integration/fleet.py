"""The real thing for tests: `smg-console --no-ui` as a process, with simulated engines as processes before it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import aiohttp

TIMEOUT_S = 20.0


async def until(condition: Callable[[], Awaitable[object]], wanted: str, timeout_s: float = TIMEOUT_S) -> Any:
    """The condition's value once it is true. Polls: what is watched lives in another process."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while not (value := await condition()):
        if loop.time() > end:
            raise AssertionError(f"waited {timeout_s:g} s for {wanted}; last seen: {value!r}")
        await asyncio.sleep(0.02)
    return value


class HeadlessGateway:
    """A headless gateway process on ports of its own choosing."""

    def __init__(self, *options: str, environment: dict[str, str] | None = None) -> None:
        self._options = options
        self._environment = environment or {}
        self.process: asyncio.subprocess.Process | None = None
        self.events: list[dict[str, Any]] = []
        self.address = ""
        self.metrics_address = ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-m", "smg_console", "--no-ui", "--log-json", "--host", "127.0.0.1", "--port", "0"]
        self.process = await asyncio.create_subprocess_exec(
            *command,
            "--prometheus-port",
            "0",
            *self._options,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self._environment},
        )
        self._reading = asyncio.Task(self._read_log())
        self._client = aiohttp.ClientSession()
        try:
            listening = await until(lambda: self._logged("gateway_listening"), f"the listener; log: {self.events}")
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        self.address, self.metrics_address = listening["address"], listening["metrics_address"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def _read_log(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.events.append({"event": "not json", "line": line.decode(errors="replace")})

    async def _logged(self, event: str) -> dict[str, Any] | None:
        assert self.process is not None
        if self.process.returncode is not None:
            raise AssertionError(f"the gateway ended with {self.process.returncode}: {self.events}")
        return next((e for e in self.events if e.get("event") == event), None)

    async def logged(self, event: str) -> dict[str, Any]:
        """Wait for a log event of this name."""
        found: dict[str, Any] = await until(lambda: self._logged(event), f"log event {event}")
        return found

    async def terminate(self, timeout_s: float = TIMEOUT_S) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), timeout_s)

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """A control request: status and JSON (or text) of the answer."""
        async with self._client.request(method, self.address + path, json=body) as answer:
            if answer.content_type == "application/json":
                return answer.status, await answer.json()
            return answer.status, await answer.text()

    async def workers(self) -> list[dict[str, Any]]:
        _, body = await self.call("GET", "/workers")
        found: list[dict[str, Any]] = body["workers"]
        return found

    async def worker(self, url: str) -> dict[str, Any] | None:
        return next((w for w in await self.workers() if w["url"] == url), None)

    async def in_state(self, url: str, state: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """The worker's JSON once it is in this state."""

        async def check() -> dict[str, Any] | None:
            worker = await self.worker(url)
            return worker if worker and worker["state"] == state else None

        found: dict[str, Any] = await until(check, f"{url} to be {state}: {await self.worker(url)}", timeout_s)
        return found

    async def gone(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the worker is no longer listed."""

        async def check() -> bool:
            return await self.worker(url) is None

        await until(check, f"{url} to leave", timeout_s)

    async def journal(self) -> list[dict[str, Any]]:
        _, body = await self.call("GET", "/journal?limit=10000")
        events: list[dict[str, Any]] = body["events"]
        return events
