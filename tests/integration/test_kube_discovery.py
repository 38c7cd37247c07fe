"""Discovery from end to end: an API server on a socket, the gateway and its engines as processes, pods that live."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.simulator.process import SimulatorProcess
from tests.integration.fleet import HeadlessGateway, until
from tests.kube.pods import pod, ready_condition
from tests.kube.server import Server

NS = "llm"
LABELS = {"app": "sglang"}


def kubeconfig(folder: Path, url: str, token: str | None = None) -> str:
    """A kubeconfig file for the server."""
    file = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": token} if token else {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    return str(file)


@dataclass(slots=True)
class Scene:
    server: Server
    gateway: HeadlessGateway
    engine: SimulatorProcess

    @property
    def port(self) -> int:
        found = urlsplit(self.engine.url).port
        assert found is not None
        return found

    def create(self, name: str = "a", *, ip: str = "127.0.0.1", ready: bool = True, **metadata: Any) -> None:
        """A pod whose engine is the simulator."""
        labels = metadata.pop("labels", LABELS)
        self.server.cluster.create(pod(name, ip, labels, **metadata), NS)
        if not ready:
            self.ready(name, False)

    def ready(self, name: str, ready: bool) -> None:
        self.server.cluster.patch(NS, name, {"status": {"conditions": [ready_condition(ready)]}}, status=True)

    async def discovery(self) -> dict[str, Any]:
        _, body = await self.gateway.call("GET", "/discovery")
        found: dict[str, Any] = body
        return found

    async def says(self, **wanted: object) -> dict[str, Any]:
        """`/discovery` once it says this."""

        async def check() -> dict[str, Any] | None:
            body = await self.discovery()
            return body if all(body[name] == value for name, value in wanted.items()) else None

        found: dict[str, Any] = await until(check, f"{wanted} in {await self.discovery()}")
        return found


@asynccontextmanager
async def scene(folder: Path, *options: str) -> AsyncIterator[Scene]:
    async with Server() as server, SimulatorProcess("--model", "sim-model", "--instant") as engine:
        config = kubeconfig(folder, server.url)
        port = str(urlsplit(engine.url).port)
        where = ("--service-discovery", "--kubeconfig", config, "--service-discovery-port", port)
        chosen = () if "--pd-disaggregation" in options else ("--selector", "app=sglang")
        async with HeadlessGateway(*where, *chosen, *options) as gateway:
            yield Scene(server, gateway, engine)
            assert await gateway.terminate() == 0


async def test_a_pod_serves_from_ready_to_the_start_of_its_grace_period(tmp_path: Path) -> None:
    async with scene(tmp_path, "--service-discovery-namespace", NS) as s:
        s.create(ready=False)
        body = await s.says(synced=True, pods_matched=1, workers_registered=0)
        assert body["skipped"] == [{"pod": "llm/a", "because": "not Ready: NotReady"}]
        s.ready("a", True)
        worker = await s.gateway.in_state(s.engine.url, "ready")
        assert worker["labels"]["smg.ai/pod-name"] == "a"
        status, answer = await s.gateway.call(
            "POST", "/v1/chat/completions", {"model": "sim-model", "messages": [{"role": "user", "content": "hello"}]}
        )
        assert (status, answer["object"]) == (200, "chat.completion")
        s.ready("a", False)

        async def cordoned() -> bool:
            found = await s.gateway.worker(s.engine.url)
            return found is not None and bool(found["cordoned"])

        await until(cordoned, "the cordon of a pod that is not ready")
        s.ready("a", True)

        async def routable() -> bool:
            return (await s.gateway.call("GET", "/readiness"))[0] == 200

        await until(routable, "traffic again")
        s.server.cluster.delete(NS, "a", 30)
        await s.gateway.gone(s.engine.url)  # nothing was in flight
        events = [event for event in await s.gateway.journal() if "llm/a" in json.dumps(event)]
        assert any("kubernetes: pod llm/a is ready" in json.dumps(event) for event in events)
        assert any("pod llm/a is terminating" in json.dumps(event) for event in events)


async def test_what_was_there_before_the_gateway_and_what_a_label_takes_away(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.create("a")
        s.create("other", ip="127.0.0.9", labels={"app": "postgres"})
        await s.gateway.in_state(s.engine.url, "ready")
        s.server.cluster.patch(NS, "a", {"metadata": {"labels": {"app": "spare"}}})
        await s.gateway.gone(s.engine.url)
        s.server.cluster.patch(NS, "a", {"metadata": {"labels": LABELS}})
        await s.gateway.in_state(s.engine.url, "ready")
        assert len(await s.gateway.workers()) == 1


async def test_an_api_server_that_is_down_takes_nothing_away_and_is_told_of(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.create()
        await s.gateway.in_state(s.engine.url, "ready")
        await s.server.stop()
        body = await s.says(watching=False)
        assert body["blind"]["why"]
        status, ready = await s.gateway.call("GET", "/readiness")
        assert (status, ready["healthy_workers"]) == (200, 1)
        assert ready["discovery_blind"]["since"] == body["blind"]["since"]
        s.server.cluster.delete(NS, "a", 0)
        s.server.cluster.forget()
        await s.server.start()
        await s.gateway.gone(s.engine.url)
        body = await s.says(watching=True)
        assert body["blind"] is None


async def test_a_missing_right_is_named_and_found_again_when_it_is_given(tmp_path: Path) -> None:
    async with scene(tmp_path, "--service-discovery-namespace", NS) as s:
        s.create()
        await s.gateway.in_state(s.engine.url, "ready")
        s.server.forbidden.add("watch")
        s.server.cut()

        async def told() -> str:
            found: str = (await s.discovery())["missing_permission"] or ""
            return found

        words = await until(told, "the missing right")
        assert "cannot watch pods in namespace llm" in words
        assert "the Role needs get, list, watch on pods" in words
        s.server.forbidden.clear()
        body = await s.says(missing_permission=None, watching=True)
        assert body["workers_registered"] == 1


async def test_prefill_and_decode_pods_have_their_roles_and_ports(tmp_path: Path) -> None:
    selectors = ("--prefill-selector", "app=sglang", "role=p", "--decode-selector", "app=sglang", "role=d")
    async with scene(tmp_path, "--pd-disaggregation", *selectors) as s:
        s.create("p", labels={**LABELS, "role": "p"}, annotations={"sglang.ai/bootstrap-port": "8998"})
        s.create("d", ip="127.0.0.2", labels={**LABELS, "role": "d"})

        async def both() -> list[dict[str, Any]] | None:
            workers = await s.gateway.workers()
            return workers if len(workers) == 2 else None

        workers = await until(both, "both workers")
        assert {(w["worker_type"], w.get("bootstrap_port")) for w in workers} == {("prefill", 8998), ("decode", None)}
        assert s.server.requests[0][2]["labelSelector"] == "app=sglang"


async def test_metrics_tell_of_the_discovery(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.create()
        await s.gateway.in_state(s.engine.url, "ready")

        async def text() -> str:
            import aiohttp

            async with aiohttp.ClientSession() as client, client.get(f"{s.gateway.metrics_address}/metrics") as answer:
                return await answer.text()

        found = await text()
        assert 'smg_discovery_registrations_total{result="success",source="kubernetes"} 1.0' in found
        assert 'smg_discovery_workers_discovered{source="kubernetes"} 1.0' in found
        assert "smg_discovery_watching 1.0" in found


async def test_without_credentials_the_gateway_says_where_it_looked_and_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"ended with 1: .*none") as caught:
        async with HeadlessGateway("--service-discovery", "--selector", "a=b", "--kubeconfig", str(tmp_path / "none")):
            pass
    assert "Traceback" not in str(caught.value)


async def test_a_gateway_without_discovery_says_so() -> None:
    async with HeadlessGateway() as gateway:
        assert await gateway.call("GET", "/discovery") == (200, {"enabled": False})
