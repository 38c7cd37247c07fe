"""The life of a simulated engine's process: it starts fast, ends in order, and never outlives who wanted it."""

import asyncio
import os
import signal
import sys
import textwrap
import time

import pytest
import uvloop

from gateway.simulator.process import ChildProcess, SimulatorProcess
from tests.integration.simulator_world import call, chat, client, until


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int, timeout_s: float) -> None:
    async def check() -> bool:
        return not alive(pid)

    await until(check, f"process {pid} to end", timeout_s)


async def test_it_prints_one_line_when_it_listens_and_exits_with_0_on_each_signal() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        command = [sys.executable, "-m", "gateway.simulator"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        first = await process.stdout.readline()
        assert first.startswith(b"listening on http://127.0.0.1:")
        process.send_signal(number)
        rest, errors = await process.communicate()
        assert (process.returncode, rest, errors) == (0, b"", b"")


async def test_it_ends_within_a_second_even_with_streams_and_hanging_requests() -> None:
    async with (
        SimulatorProcess("--itl-ms", "100") as engine,
        client(engine.url) as session,
        session.post("/v1/chat/completions", json=chat(300, stream=True)) as streaming,
    ):
        await streaming.content.readline()
        await engine.fault(hang=True)
        host, port = engine.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")

        async def arrived() -> bool:
            return "/v1/completions" in (await engine.stats())["requests"]

        await until(arrived, "the hanging request")
        began = time.monotonic()
        await engine.stop()
        took = time.monotonic() - began
        assert await reader.read(-1) == b""
        writer.close()
        await writer.wait_closed()
        assert took < 1.0
        assert engine.returncode == 0


async def test_a_killed_engine_is_restarted_on_its_port() -> None:
    async with SimulatorProcess("--instant") as engine:
        url, first = engine.url, engine.pid
        await engine.kill()
        assert engine.returncode == -signal.SIGKILL
        await engine.restart()
        assert (engine.url, engine.pid != first) == (url, True)
        await engine.restart()
        async with client(url) as session:
            assert (await call(session, "POST", "/v1/chat/completions", chat()))[0] == 200
        last = engine.pid
    assert not alive(last)


async def test_an_engine_that_does_not_listen_yet_refuses_connections() -> None:
    async with SimulatorProcess("--instant") as engine:
        await engine.stop()
        late = SimulatorProcess("--port", engine.url.rpartition(":")[2], "--startup-port-delay", "0.5")
        assert late.url == engine.url
        try:
            await late.launch()
            async with client(late.url) as session:
                with pytest.raises(OSError, match="onnect"):
                    await call(session, "GET", "/health")
                await late.listening()
                assert (await call(session, "GET", "/health"))[0] == 200
        finally:
            await late.__aexit__(None, None, None)


async def test_a_start_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="argument --max-running: given '0', expected a number from 1"):
        await SimulatorProcess("--max-running", "0").__aenter__()
    async with SimulatorProcess() as engine:
        taken = engine.url.rpartition(":")[2]
        with pytest.raises(RuntimeError, match=f"cannot listen on 127.0.0.1:{taken}: .*in use"):
            await SimulatorProcess("--port", taken).__aenter__()


@pytest.mark.parametrize("module", ["gateway.simulator", "gateway.simulator.traffic"])
async def test_a_helper_ends_by_itself_once_its_parent_is_gone(module: str) -> None:
    flags = ["--url", "http://127.0.0.1:9"] if module.endswith("traffic") else []
    program = f"""
        import os, subprocess, sys, time
        command = [sys.executable, "-m", {module!r}, *{flags!r}, "--parent-pid", str(os.getpid())]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print(child.pid, flush=True)
        time.sleep(60)
    """
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(program), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert parent.stdout is not None
        child = int(await parent.stdout.readline())
        assert alive(child)
    finally:
        parent.kill()
        await parent.communicate()
    try:
        await gone(child, timeout_s=3)
    finally:
        if alive(child):
            os.kill(child, signal.SIGKILL)


async def test_a_helper_watches_a_process_that_is_not_its_parent_too() -> None:
    watched = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    helper = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.simulator", "--parent-pid", str(watched.pid)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert helper.stdout is not None
    assert (await helper.stdout.readline()).startswith(b"listening on")
    watched.kill()
    await watched.wait()
    try:
        async with asyncio.timeout(3):
            await helper.wait()
    finally:
        if helper.returncode is None:
            helper.kill()
        await helper.communicate()
    assert helper.returncode == 0


async def test_leaving_the_context_in_an_error_leaves_nothing_running() -> None:
    pids: list[int] = []

    async def fail() -> None:
        async with (
            SimulatorProcess() as engine,
            ChildProcess("gateway.simulator.traffic", "--url", engine.url) as child,
        ):
            pids.extend((engine.pid, child.pid))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert [alive(pid) for pid in pids] == [False, False]


def test_it_runs_under_uvloop_as_under_the_plain_loop() -> None:
    async def life() -> list[object]:
        async with SimulatorProcess("--instant") as engine, client(engine.url) as session:
            first = (await call(session, "POST", "/v1/chat/completions", chat()))[0]
            await engine.kill()
            await engine.restart()
            return [first, (await engine.stats())["running"], await engine.fault(slow=2) is not None]

    with asyncio.Runner() as plain, asyncio.Runner(loop_factory=uvloop.new_event_loop) as fast:
        assert plain.run(life()) == fast.run(life()) == [200, 0, True]
