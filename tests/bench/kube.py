"""`python -m tests.bench.kube`: discovery in a big cluster. 10,000 pods, of which 1,000 are workers.

The API server of the tests (a process of its own) holds the pods, a tiny HTTP server answers for all engines (each
pod has an address in 127.0.0.0/8), and a headless gateway discovers them. Printed: CPU and memory of the first sync,
how long a burst of 1,000 changes takes and how late it makes the loop, and how long it takes from Ready in the API to
routable and from a deletion to unroutable. `--json FILE` keeps the figures; exit code 1 if a goal is missed.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import aiohttp

from tests.bench.probes import serve as serve_engines
from tests.bench.processes import GATEWAY_CORE, LOAD_CORE, Process, cpu_s, free_ports, pinned, status_of
from tests.kube.cluster import Cluster
from tests.kube.pods import bulky, ready_condition, running
from tests.kube.server import Server

NS = "llm"
LABELS = {"app": "sglang"}
GOALS = {
    "first sync, CPU s": 5.0,
    "resident above idle, MB": 150.0,
    "burst until reconciled, s": 2.0,
    "loop late in bursts, worst ms": 20.0,
    "Ready to routable, worst ms": 500.0,
    "deletion to unroutable, worst ms": 200.0,
}
PATIENCE_S = 60.0


def address(number: int) -> str:
    return f"127.{1 + number // 62500}.{1 + number // 250 % 250}.{1 + number % 250}"


def worker_pod(number: int, rng: Random, *, ready: bool = True) -> dict[str, Any]:
    made = bulky(number, rng, LABELS)
    made["status"] |= running(address(number), ready=ready)
    return made


# --- the API server's process ---


def serve_cluster(pods: int, matching: int, port: int, orders: Connection) -> None:
    """Carries out orders from the pipe, each in one go, and answers with the time it was done."""
    pinned(LOAD_CORE)
    rng = Random(7)
    cluster = Cluster(rng)
    for number in range(pods):
        body = worker_pod(number, rng) if number < matching else bulky(number, rng, {"app": "other"})
        cluster.create(body, NS)

    def carry_out(order: tuple[Any, ...]) -> None:
        match order:
            case ("flip", first, count, ready):
                for number in range(first, first + count):
                    condition = {"status": {"conditions": [ready_condition(ready)]}}
                    cluster.patch(NS, f"engine-{number:05}", condition, status=True)
            case ("create", number):
                cluster.create(worker_pod(number, rng, ready=False), NS)
            case ("delete", number):
                cluster.delete(NS, f"engine-{number:05}", 30)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def ordered() -> None:
            order = orders.recv()
            if order is None:
                over.set()
                return
            carry_out(order)
            orders.send(time.monotonic())

        async with Server(cluster, port=port):
            loop.add_reader(orders.fileno(), ordered)
            orders.send(time.monotonic())
            await over.wait()

    asyncio.run(main())


# --- the gateway's process, seen from outside ---


class Seen:
    """A headless gateway and what it answers."""

    def __init__(self, *options: str) -> None:
        self.port, metrics = free_ports(2)
        command = [sys.executable, "-m", "smg_console", "--no-ui", "--log-level", "warn", "--host", "127.0.0.1"]
        ports = ["--port", str(self.port), "--prometheus-port", str(metrics)]
        self.process = Process("gateway", [*command, *ports, *options], GATEWAY_CORE)
        self.metrics = f"http://127.0.0.1:{metrics}/metrics"

    async def get(self, client: aiohttp.ClientSession, path: str) -> dict[str, Any]:
        async with client.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def routable(self, client: aiohttp.ClientSession) -> int:
        return int((await self.get(client, "/readiness"))["healthy_workers"])

    async def lateness_ms(self, client: aiohttp.ClientSession) -> float:
        """The worst of the last second or two."""
        async with client.get(self.metrics) as answer:
            lines = (await answer.text()).splitlines()
        return 1000 * next(float(line.split()[-1]) for line in lines if line.startswith("smg_loop_lateness_seconds "))

    @property
    def resident_mb(self) -> float:
        return int(status_of(self.process.pid)["rss_kb"]) / 1024


async def wait_for(check: Callable[[], Awaitable[bool]], what: str, pause_s: float = 0.02) -> float:
    """Seconds since the epoch of the monotonic clock at which it was so."""
    end = time.monotonic() + PATIENCE_S
    while not await check():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE_S:g} s for {what}")
        await asyncio.sleep(pause_s)
    return time.monotonic()


async def measure(orders: Connection, options: list[str], matching: int, samples: int) -> dict[str, float]:
    found: dict[str, float] = {}
    async with aiohttp.ClientSession() as client:
        idle = Seen()
        with idle.process:
            await _answers(idle, client)
            await asyncio.sleep(1.0)
            idle_mb, idle_cpu = idle.resident_mb, cpu_s(idle.process.pid)
        gateway = Seen(*options)
        with gateway.process:
            await _answers(gateway, client)

            async def registered() -> bool:
                return bool((await gateway.get(client, "/discovery"))["workers_registered"] == matching)

            await wait_for(registered, "the registrations", 0.1)
            found["first sync, CPU s"] = cpu_s(gateway.process.pid)
            found["of that start and imports, CPU s"] = idle_cpu
            await wait_for(_routable(gateway, client, matching), "all routable", 0.2)
            found["until all are routable, CPU s"] = cpu_s(gateway.process.pid)
            await asyncio.sleep(2.0)
            found["resident above idle, MB"] = gateway.resident_mb - idle_mb
            late: list[float] = []
            took: list[float] = []
            for ready in (False, True, False, True):
                orders.send(("flip", 0, matching, ready))
                began = await asyncio.to_thread(orders.recv)
                wanted = matching if ready else 0
                took.append(await wait_for(_routable(gateway, client, wanted), "the burst", 0.05) - began)
                await asyncio.sleep(0.5)
                late.append(await gateway.lateness_ms(client))
                await asyncio.sleep(2.0)
            found["burst until reconciled, s"] = max(took)
            found["loop late in bursts, worst ms"] = max(late)
            await _one_by_one(orders, gateway, client, matching, samples, found)
    return found


async def _one_by_one(
    orders: Connection,
    gateway: Seen,
    client: aiohttp.ClientSession,
    matching: int,
    samples: int,
    found: dict[str, float],
) -> None:
    up, down = [], []
    first = 20_000
    for number in range(first, first + samples):
        orders.send(("create", number))
        await asyncio.to_thread(orders.recv)
        await asyncio.sleep(0.3)
        orders.send(("flip", number, 1, True))
        began = await asyncio.to_thread(orders.recv)
        up.append(1000 * (await wait_for(_routable(gateway, client, matching + 1), "a new worker", 0.01) - began))
        orders.send(("delete", number))
        began = await asyncio.to_thread(orders.recv)
        down.append(1000 * (await wait_for(_routable(gateway, client, matching), "its end", 0.01) - began))
    found["Ready to routable, median ms"] = median(up)
    found["Ready to routable, worst ms"] = max(up)
    found["deletion to unroutable, median ms"] = median(down)
    found["deletion to unroutable, worst ms"] = max(down)


def _routable(gateway: Seen, client: aiohttp.ClientSession, wanted: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return await gateway.routable(client) == wanted

    return check


async def _answers(gateway: Seen, client: aiohttp.ClientSession) -> None:
    async def check() -> bool:
        if gateway.process.returncode is not None:
            raise RuntimeError(f"the gateway ended: {gateway.process.output()}")
        try:
            await gateway.get(client, "/discovery")
        except aiohttp.ClientError:
            return False
        return True

    await wait_for(check, "the gateway")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kube", description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--matching", type=int, default=1_000)
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--json", metavar="FILE")
    given = parser.parse_args(arguments)
    pinned(LOAD_CORE)
    here, there = multiprocessing.Pipe()
    engines: multiprocessing.Queue[int] = multiprocessing.Queue()
    (port,) = free_ports(1)
    children = [
        multiprocessing.Process(target=serve_engines, args=(engines,), daemon=True),
        multiprocessing.Process(target=serve_cluster, args=(given.pods, given.matching, port, there), daemon=True),
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "kubeconfig"
        cluster, user = {"server": f"http://127.0.0.1:{port}"}, {"cluster": "c", "user": "u"}
        named = {"clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": {}}]}
        text = {"current-context": "x", "contexts": [{"name": "x", "context": user}], **named}
        config.write_text(json.dumps(text), encoding="utf-8")
        for child in children:
            child.start()
        try:
            engine_port = engines.get()
            here.recv()  # the cluster is there
            options = ["--service-discovery", "--selector", "app=sglang", "--service-discovery-namespace", NS]
            options += ["--service-discovery-port", str(engine_port), "--kubeconfig", str(config)]
            found = asyncio.run(measure(here, options, given.matching, given.samples))
            here.send(None)
        finally:
            for child in children:
                child.terminate()
                child.join()
    missed = False
    print(f"{given.pods} pods, {given.matching} matching; {given.samples} pods came and went")
    for name, value in found.items():
        goal = GOALS.get(name)
        missed = missed or (goal is not None and value > goal)
        verdict = "" if goal is None else f"  goal {goal:g}  {'met' if value <= goal else 'MISSED'}"
        print(f"{name:40} {value:9.2f}{verdict}")
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
