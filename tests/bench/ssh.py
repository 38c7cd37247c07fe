"""What consoles over SSH cost the gateway: `python -m tests.bench.ssh [--sessions 20] [--seconds 15]`.

A headless gateway with two simulated engines; its clients are in this process, and read all they are sent.
"""

import argparse
import asyncio
import os
import re
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from gateway.simulator.process import SimulatorProcess
from tests.ssh.world import SshWorld

SETTLED_S = 4.0


@dataclass
class Client:
    """One console, and what came of it."""

    connection: asyncssh.SSHClientConnection
    session: "Received"


class Received(asyncssh.SSHClientSession[bytes]):
    """Counts what it is sent."""

    def __init__(self) -> None:
        self.bytes = 0
        self.drawn = asyncio.Event()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.bytes += len(data)
        if self.bytes > 4000:
            self.drawn.set()


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    words = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


async def late_ms(world: SshWorld) -> float:
    """How late the gateway's loop was at worst in the last second or two."""
    url = world.logged("gateway_listening")["metrics_address"] + "/metrics"
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read().decode())
    found = re.search(r"^smg_loop_lateness_seconds (\S+)", text, re.MULTILINE)
    assert found
    return float(found[1]) * 1000


async def opened(world: SshWorld) -> Client:
    """A console that has been drawn."""
    connection = await asyncssh.connect(
        "127.0.0.1",
        int(world.port),
        username="ops",
        client_keys=[str(world.directory / "ann")],
        known_hosts=None,
        config=None,
        agent_path=None,
    )
    terminal = {"term_type": "xterm-256color", "term_size": (120, 40), "encoding": None, "request_pty": "force"}
    _, session = await connection.create_session(Received, env={"COLORTERM": "truecolor"}, **terminal)
    await asyncio.wait_for(session.drawn.wait(), 30)
    return Client(connection, session)


async def worst_late_ms(world: SshWorld, seconds: float) -> list[float]:
    """The worst lateness of each second."""
    found = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(1.0)
        found.append(await late_ms(world))
    return sorted(found)


def told(what: str, value: float, unit: str, most: float) -> bool:
    met = value <= most
    print(f"{what:<46} {value:9.2f} {unit:<8} {'met' if met else 'MISSED'} (at most {most:g})")
    return met


async def measured(sessions: int, seconds: float) -> bool:
    """Measure and print. Returns whether all goals were met."""
    with tempfile.TemporaryDirectory() as directory:
        async with SimulatorProcess("--model", "a") as one, SimulatorProcess("--model", "b") as two:
            options = ("--worker-urls", one.url, two.url, "--ssh-max-sessions", str(sessions))
            with SshWorld(Path(directory), *options, ann="operator") as world:
                return await _measured(world, sessions, seconds)


async def _measured(world: SshWorld, sessions: int, seconds: float) -> bool:
    await asyncio.sleep(SETTLED_S)
    began = cpu_s(world.pid)
    await asyncio.sleep(seconds / 3)
    without = (cpu_s(world.pid) - began) / (seconds / 3)
    memory, began = world.resident_kb(), cpu_s(world.pid)
    first = await opened(world)
    opening_ms = (cpu_s(world.pid) - began) * 1000
    rest = [opened(world) for _ in range(sessions - 1)]
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(worst_late_ms(world, SETTLED_S))
        opening = [group.create_task(job) for job in rest]
    clients = [first, *(task.result() for task in opening)]
    each_kb = (world.resident_kb() - memory) / sessions
    began, sent, at = cpu_s(world.pid), sum(one.session.bytes for one in clients), time.monotonic()
    late = await worst_late_ms(world, seconds)
    took = time.monotonic() - at
    share = ((cpu_s(world.pid) - began) / took - without) / sessions * 100
    rate = (sum(one.session.bytes for one in clients) - sent) / took / sessions
    for one in clients:
        one.connection.abort()
    print(f"{sessions} consoles of 120x40 over SSH, idle; the gateway alone takes {without * 100:.1f} % of a core")
    met = [
        told("opening one", opening_ms, "ms CPU", 150),
        told("an idle one", share, "% core", 1.0),
        told("an idle one sends", rate, "bytes/s", 2500),
        told("one takes in memory", each_kb / 1024, "MiB", 3.0),
        told("loop late at worst while all of them open", watching.result()[-1], "ms", 50),
        told("loop late at worst in a second, the median", late[len(late) // 2], "ms", 10),
        told("loop late at worst", late[-1], "ms", 20),
    ]
    return all(met)


def main() -> int:
    """Exit code 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ssh")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=15.0)
    given = parser.parse_args()
    return 0 if asyncio.run(measured(given.sessions, given.seconds)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
