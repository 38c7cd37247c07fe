"""The commands as processes before a real gateway and simulated engines: what they print, how they end."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.process import SimulatorProcess
from tests.integration.fleet import HeadlessGateway, until

FAST = ("--health-check-interval-secs", "0.5", "--health-success-threshold", "1")
LONG_S = 30.0


@dataclass
class Told:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def begun(*words: str, environment: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    """A command under way."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "smg_console",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )


async def ended(process: asyncio.subprocess.Process) -> Told:
    async with asyncio.timeout(LONG_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Told(process.returncode, out.decode(), err.decode())


class World:
    """A gateway with two engines of one model and a third of another, and its commands."""

    def __init__(self, gateway: HeadlessGateway, engines: list[SimulatorProcess], runtime: Path) -> None:
        self.gateway = gateway
        self.engines = engines
        self.environment = {"XDG_RUNTIME_DIR": str(runtime)}

    async def do(self, *words: str) -> Told:
        return await ended(await begun(*words, environment=self.environment))

    async def flying(self, count: int, model: str = "sim-a") -> list[asyncio.subprocess.Process]:
        """So many long requests, begun by processes that end with the test."""
        body = json.dumps({"model": model, "prompt": "x", "max_tokens": 400, "stream": True})
        command = ["curl", "-sN", f"{self.gateway.address}/v1/completions", "-H", "Content-Type: application/json"]
        return [
            await asyncio.create_subprocess_exec(*command, "-d", body, stdout=asyncio.subprocess.DEVNULL)
            for _ in range(count)
        ]


@asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    async with (
        SimulatorProcess("--served-model-name", "sim-a") as one,
        SimulatorProcess("--served-model-name", "sim-a") as two,
        SimulatorProcess("--served-model-name", "sim-b") as three,
        HeadlessGateway(
            "--policy",
            "cache_aware",
            "--worker-urls",
            *(one.url, two.url, three.url),
            *FAST,
            environment={"XDG_RUNTIME_DIR": str(runtime)},
        ) as gateway,
    ):
        made = World(gateway, [one, two, three], runtime)
        assert (await made.do("workers", "wait", "--all", "--timeout", "20s")).code == 0
        yield made


async def test_the_commands_find_the_gateway_that_runs_here_and_list_its_workers(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        told = await w.do("workers", "list")
        assert told.code == 0
        head, *rows = told.out.splitlines()
        assert head.split()[:4] == ["worker", "state", "url", "model"]
        assert [row.split()[:4] for row in rows] == [
            ["w1", "ready", w.engines[0].url, "sim-a"],
            ["w2", "ready", w.engines[1].url, "sim-a"],
            ["w3", "ready", w.engines[2].url, "sim-b"],
        ]
        assert "\x1b" not in told.out
        found = (await w.do("workers", "list", "--model", "sim-b", "--json")).json
        assert [one["name"] for one in found] == ["w3"]
        by_url = await w.do("workers", "list", "--gateway", w.gateway.address)
        assert by_url.out.splitlines()[1].split()[0] == "w1"
        shown = (await w.do("workers", "show", "w2", "--json")).json
        assert shown["worker"]["url"] == w.engines[1].url
        assert shown["history"]["transitions"]
        assert "transitions:" in (await w.do("workers", "show", "w2")).out
        for words in (("loads",), ("top", "--once"), ("top",)):
            assert "w3" in (await w.do(*words)).out


async def test_acts_say_what_they_did_and_the_journal_who(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await w.do("workers", "cordon", "w1", "--reason", "disk")).out == "w1 cordoned\n"
        told = await w.do("workers", "cordon", "--all")
        assert told.out == "w1 is already cordoned\nw2 cordoned\nw3 cordoned\n"
        assert (await w.do("workers", "list", "--state", "cordoned", "--json")).json[0]["because"] == "cordoned: disk"
        assert (await w.do("workers", "uncordon", "--model", "sim-a")).out == "w1 uncordoned\nw2 uncordoned\n"
        events = [json.loads(line) for line in (await w.do("events", "--kind", "cordon", "--json")).out.splitlines()]
        assert [event["event"] for event in events] == ["worker_cordoned"] * 3 + ["worker_uncordoned"] * 2
        assert {event["actor"].partition(":")[0] for event in events} == {"cli"}
        lines = (await w.do("events", "--worker", "w1", "--most", "1")).out.splitlines()
        assert len(lines) == 1
        assert " w1 " in lines[0]
        assert (await w.do("events", "--since", "0s")).out == ""


async def test_a_drain_is_a_deploy_step_that_waits_for_the_requests(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        clients = await w.flying(4)

        async def flies() -> bool:
            found = (await w.do("workers", "list", "--json")).json
            return sum(one["in_flight"] for one in found) == 4

        await until(flies, "four requests in flight")
        told = await w.do("workers", "drain", "w1", "--wait", "--timeout", "1s")
        assert told.code == 5
        assert "w1 drains: 4 in flight, 4m5" in told.err
        assert "waited long enough: w1 not drained yet; it goes on" in told.err
        told = await w.do("workers", "drain", "w1", "--wait")
        assert told.code == 0
        assert told.out.endswith("w1 is drained\n")
        assert (await w.do("workers", "wait", "w1", "--for", "drained")).code == 0
        assert (await w.do("workers", "resume", "w1")).out == "w1 resumed\n"
        assert (await w.do("workers", "wait", "w1", "--timeout", "20s")).out == "w1 is ready\n"
        for client in clients:
            assert await client.wait() == 0, "no request was cut"


async def test_ctrl_c_leaves_the_drain_going_and_says_so(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        clients = await w.flying(4)
        waiting = await begun("workers", "drain", "w2", "--wait", environment=w.environment)
        assert waiting.stdout is not None
        assert await waiting.stdout.readline()
        waiting.send_signal(signal.SIGINT)
        told = await ended(waiting)
        assert told.code == 130
        assert "interrupted; what drains goes on" in told.err
        (found,) = [one for one in (await w.do("workers", "list", "--json")).json if one["name"] == "w2"]
        assert found["state"] == "draining"
        for client in clients:
            client.terminate()
            await client.wait()


async def test_a_rolling_drain_goes_one_by_one_and_stops_before_a_model_is_lost(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        told = await w.do("workers", "drain", "--all", "--max", "1")
        assert told.code == 1
        assert told.out == "w1 is drained (1 of 3)\n"
        assert "stopped after 1 of 3: draining w2 would leave 0 ready for sim-a, the floor is 1" in told.err
        found = {one["name"]: one["state"] for one in (await w.do("workers", "list", "--json")).json}
        assert found == {"w1": "draining", "w2": "ready", "w3": "ready"}
        told = await w.do("workers", "drain", "--model", "sim-a", "--max", "2", "--floor", "0", "--json")
        assert (told.code, told.json) == (0, {"phase": "done", "drained": ["w1", "w2"], "why": None})


async def test_workers_are_added_and_removed_and_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path) as w, SimulatorProcess("--served-model-name", "sim-c") as fourth:
        words = ("workers", "add", fourth.url, "--label", "rack=b7", "--priority", "70", "--wait", "--timeout", "20s")
        told = await w.do(*words)
        assert (told.code, told.out) == (0, f"w4 added: {fourth.url}\nw4 is ready\n")
        (found,) = (await w.do("workers", "list", "--label", "rack=b7", "--json")).json
        assert (found["priority"], found["model_id"]) == (70, "sim-c")
        again = await w.do("workers", "add", fourth.url)
        assert again.code == 1
        assert "already listed as w4" in again.err
        told = await w.do("workers", "remove", "w4", "--wait")
        assert told.code == 0
        assert told.out.endswith("the worker is gone\n")
        assert (await w.do("workers", "wait", "w4", "--for", "gone")).code == 0


async def test_what_cannot_be_has_its_own_exit_code_and_one_line(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for words, code, says in (
            (("workers", "show", "w9"), 4, "no worker has the name, id or URL 'w9'"),
            (("workers", "drain"), 2, "name workers, or say which"),
            (("workers", "drain", "--model", "none"), 4, "no worker fits"),
            (("workers", "drain", "127.0.0.1"), 2, "may be any of 3 workers"),
            (("workers", "retry", "w1"), 1, "only an unhealthy or failed worker is retried"),
            (("workers", "add", "ftp://x"), 1, "url"),
            (("workers", "drain", "w1", "--deadline", "9d"), 2, "--deadline: given '9d'"),
            (("workers", "wait", "w1", "--for", "drained"), 1, "w1 is not draining"),
            (("workers", "list", "--gateway", "http://127.0.0.1:9"), 3, "connection refused"),
            (("workers", "list", "--gateway", "no url"), 2, "expected a URL"),
            (("events", "--most", "x"), 2, "--most: given 'x'"),
        ):
            told = await w.do(*words)
            assert (told.code, told.out) == (code, ""), (words, told)
            assert says in told.err
            assert told.err.count("\n") == 1


async def test_the_doctor_names_what_is_wrong_and_ends_with_1(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        told = await w.do("doctor")
        assert told.code == 0
        assert "ok    3 of 3 workers take requests" in told.out
        os.kill(w.engines[2].pid, signal.SIGKILL)

        async def noticed() -> bool:
            return (await w.do("workers", "list", "--state", "unhealthy", "--json")).out != "[]\n"

        await until(noticed, "the dead worker to be noticed", 40)
        told = await w.do("doctor")
        assert told.code == 1
        assert "BAD   sim-b: none of 1 workers takes requests" in told.out
        assert "BAD   w3 is unhealthy: " in told.out
        levels = [one["level"] for one in (await w.do("doctor", "--json")).json]
        assert levels.count("bad") == 2


async def test_events_are_followed_over_a_pipe_that_closes(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        following = await begun("events", "--follow", "--most", "0", "--json", environment=w.environment)
        assert following.stdout is not None

        async def heard() -> Any:
            await w.do("workers", "cordon", "w1")
            await w.do("workers", "uncordon", "w1")
            assert following.stdout is not None
            try:
                async with asyncio.timeout(1.0):
                    return await following.stdout.readline()
            except TimeoutError:
                return None

        line = await until(heard, "an event")
        assert json.loads(line)["event"] in ("worker_cordoned", "worker_uncordoned")
        following.send_signal(signal.SIGTERM)
        assert (await ended(following)).code == 130
        shell = await asyncio.create_subprocess_shell(
            f"{sys.executable} -m smg_console events --most 10000 | head -n 1",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **w.environment},
        )
        told = await ended(shell)
        assert (told.code, told.err) == (0, "")
        assert told.out.count("\n") == 1


async def test_without_a_gateway_that_is_said_with_what_to_do(tmp_path: Path) -> None:
    told = await ended(await begun("workers", "list", environment={"XDG_RUNTIME_DIR": str(tmp_path)}))
    assert (told.code, told.out) == (3, "")
    assert "no gateway of yours runs here: start one with smg-console" in told.err


async def test_completion_knows_the_workers_of_the_running_gateway_and_never_fails(tmp_path: Path) -> None:
    nobody = await ended(await begun("__complete", "workers", "drain", environment={"XDG_RUNTIME_DIR": str(tmp_path)}))
    assert nobody.code == 0
    assert "--max" in nobody.out.splitlines()
    async with world(tmp_path) as w:
        assert (await w.do("__complete", "workers", "drain")).out.splitlines()[:3] == ["w1", "w2", "w3"]


@pytest.mark.parametrize("words", [("workers",), ("workers", "drain", "--help"), ("doctor", "-h")])
async def test_help_needs_no_loop(words: tuple[str, ...]) -> None:
    script = f"import sys; from smg_console.cli import main; main({list(words)!r}); print('asyncio' in sys.modules)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told = await ended(process)
    assert told.out.endswith("False\n")
    assert "smg-console" in told.out
