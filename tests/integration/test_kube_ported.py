"""SMG's own promises about discovery, as its test-suite (`k8s_discovery_test.rs`) states them, on real processes.

Its eleventh case, gateways that find each other to gossip, has no counterpart: here the pods themselves are shared.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.process import SimulatorProcess
from tests.integration.fleet import HeadlessGateway, until
from tests.integration.test_kube_discovery import LABELS, NS, kubeconfig
from tests.kube.pods import pod, ready_condition
from tests.kube.server import Server

PORTS = "smg.ai/worker-ports"


class Scene:
    def __init__(self, server: Server, gateway: HeadlessGateway, stack: AsyncExitStack) -> None:
        self.server = server
        self.gateway = gateway
        self._stack = stack

    async def engine(self, *options: str) -> SimulatorProcess:
        return await self._stack.enter_async_context(SimulatorProcess("--model", "sim-model", *options))

    def apply(self, name: str, *engines: SimulatorProcess) -> None:
        """A ready pod whose workers are these engines."""
        annotations = {PORTS: ports(*engines)}
        self.server.cluster.create(pod(name, "127.0.0.1", LABELS, annotations=annotations), NS)

    def annotate(self, name: str, text: str) -> None:
        self.server.cluster.patch(NS, name, {"metadata": {"annotations": {PORTS: text}}})

    async def listed(self, *engines: SimulatorProcess) -> None:
        """Wait until exactly these are listed, and ready."""
        wanted = {engine.url for engine in engines}

        async def check() -> bool:
            workers = await self.gateway.workers()
            return {w["url"] for w in workers} == wanted and all(w["state"] == "ready" for w in workers)

        await until(check, f"{wanted}, not {await self.gateway.workers()}")

    async def passes(self, more: int = 2) -> None:
        """Wait for further passes: a change of no consequence asks for each."""
        for number in range(more):
            before = (await self.discovery())["passes"]
            self.server.cluster.create(pod(f"nudge-{before}-{number}", None, LABELS), NS)

            async def done(before: int = before) -> bool:
                return int((await self.discovery())["passes"]) > before

            await until(done, "a pass")

    async def discovery(self) -> dict[str, Any]:
        _, body = await self.gateway.call("GET", "/discovery")
        found: dict[str, Any] = body
        return found


def ports(*engines: SimulatorProcess) -> str:
    return ",".join(engine.url.rpartition(":")[2] for engine in engines)


@pytest.fixture
async def s(tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Server())
        where = ("--service-discovery", "--selector", "app=sglang", "--kubeconfig", kubeconfig(tmp_path, server.url))
        gateway = await stack.enter_async_context(HeadlessGateway(*where, "--health-check-interval-secs", "1"))
        yield Scene(server, gateway, stack)
        assert await gateway.terminate() == 0


async def test_multi_port_pod_registers_and_removes_all_workers(s: Scene) -> None:
    one, two = await s.engine("--instant"), await s.engine("--instant")
    s.apply("multi", one, two)
    await s.listed(one, two)
    uid = s.server.cluster.get(NS, "multi").json["metadata"]["uid"]
    assert {w["labels"]["smg.ai/pod-uid"] for w in await s.gateway.workers()} == {uid}
    s.server.cluster.delete(NS, "multi", 0)
    await s.listed()


async def test_terminating_pod_drains_before_final_deletion(s: Scene) -> None:
    engine = await s.engine("--instant")
    s.apply("term", engine)
    await s.listed(engine)
    s.server.cluster.delete(NS, "term", 30)
    await s.listed()
    assert (NS, "term") in s.server.cluster.pods, "the pod object is still there"


async def test_zombie_worker_removed_and_manual_worker_kept(s: Scene) -> None:
    zombie, manual = await s.engine("--instant"), await s.engine("--instant")
    labels = {"smg.ai/pod-uid": "uid-ghost"}
    assert (await s.gateway.call("POST", "/workers", {"url": zombie.url, "labels": labels}))[0] == 202
    assert (await s.gateway.call("POST", "/workers", {"url": manual.url}))[0] == 202
    await s.passes()
    await s.listed(manual)
    await s.passes()
    await s.listed(manual)


async def test_watch_interruption_relists_and_converges(s: Scene) -> None:
    engine = await s.engine("--instant")
    s.apply("re", engine)
    await s.listed(engine)
    await s.server.stop()
    s.server.cluster.delete(NS, "re", 0)
    s.server.cluster.forget()  # the deletion shows in a list only
    await s.server.start()
    await s.listed()


async def test_drain_window_is_honored_despite_reconcile_passes(s: Scene) -> None:
    engine = await s.engine("--itl-ms", "20")
    s.apply("drain", engine)
    await s.listed(engine)
    ask = {
        "model": "sim-model",
        "max_tokens": 200,
        "messages": [{"role": "user", "content": "long"}],
        "ignore_eos": True,
    }
    request = asyncio.Task(s.gateway.call("POST", "/v1/chat/completions", ask))

    async def busy() -> bool:
        return any(w["in_flight"] for w in await s.gateway.workers())

    await until(busy, "the request at the worker")
    s.server.cluster.delete(NS, "drain", 0)
    await s.gateway.in_state(engine.url, "draining")
    await s.passes(5)
    assert not request.done()
    assert (await s.gateway.in_state(engine.url, "draining"))["in_flight"] == 1
    status, answer = await request
    assert (status, answer["choices"][0]["finish_reason"]) == (200, "length")
    await s.listed()


async def test_failed_registration_retries_until_engine_appears(s: Scene) -> None:
    before = await s.engine("--instant")
    port = before.url.rpartition(":")[2]
    await before.kill()
    s.server.cluster.create(pod("late", "127.0.0.1", LABELS, annotations={PORTS: port}), NS)

    async def tried() -> bool:
        return any(w["state"] == "registering" for w in await s.gateway.workers())

    await until(tried, "the registration")
    await s.passes(3)
    assert (await s.gateway.call("GET", "/readiness"))[0] == 503, "nothing routable while the engine is away"
    engine = await s.engine("--instant", "--port", port)
    await s.listed(engine)


async def test_pod_added_after_start_registers_only_once_ready(s: Scene) -> None:
    engine = await s.engine("--instant")
    body = pod("flip", "127.0.0.1", LABELS, annotations={PORTS: ports(engine)})
    body["status"]["conditions"] = [ready_condition(False)]
    s.server.cluster.create(body, NS)
    await s.passes(3)
    assert await s.gateway.workers() == []
    s.server.cluster.patch(NS, "flip", {"status": {"conditions": [ready_condition(True)]}}, status=True)
    await s.listed(engine)


async def test_same_url_pod_replacement_reregisters_with_new_uid(s: Scene) -> None:
    engine = await s.engine("--instant")
    s.apply("stable", engine)
    await s.listed(engine)
    (first,) = await s.gateway.workers()
    s.server.cluster.delete(NS, "stable", 0)
    s.apply("stable", engine)
    uid = s.server.cluster.get(NS, "stable").json["metadata"]["uid"]

    async def replaced() -> bool:
        return [w["labels"]["smg.ai/pod-uid"] for w in await s.gateway.workers()] == [uid]

    await until(replaced, "the worker of the new pod")
    await s.listed(engine)
    assert first["labels"]["smg.ai/pod-uid"] != uid


async def test_annotation_port_change_reconciles_worker_set(s: Scene) -> None:
    one, two, three = [await s.engine("--instant") for _ in range(3)]
    s.apply("resize", one, two)
    await s.listed(one, two)
    s.annotate("resize", ports(one))
    await s.listed(one)
    s.annotate("resize", ports(one, three))
    await s.listed(one, three)


async def test_severed_watch_reconnects_and_converges_without_relist(s: Scene) -> None:
    engine = await s.engine("--instant")
    s.apply("re2", engine)
    await s.listed(engine)
    before = await s.discovery()
    s.server.cut()

    async def watching() -> bool:
        now = await s.discovery()
        return bool(now["watching"]) and now["watches"] > before["watches"]

    await until(watching, "another watch")
    s.server.cluster.delete(NS, "re2", 0)
    await s.listed()
    assert (await s.discovery())["lists"] == before["lists"]
