"""Operators' cordons and drains shared over pods, and api keys from Secrets: real gateways, one API server."""

import base64
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.simulator.process import SimulatorProcess
from tests.integration.fleet import HeadlessGateway, until
from tests.integration.test_kube_discovery import LABELS, NS, Scene, kubeconfig, scene
from tests.kube.server import Server

OPERATION = "smg.ai/operation"


def said(server: Server) -> str | None:
    annotations: dict[str, str] = server.cluster.get(NS, "a").json["metadata"].get("annotations", {})
    return annotations.get(OPERATION)


async def worker_is(gateway: HeadlessGateway, url: str, **wanted: object) -> dict[str, Any]:
    async def check() -> dict[str, Any] | None:
        worker = await gateway.worker(url)
        return worker if worker is not None and all(worker.get(k) == v for k, v in wanted.items()) else None

    found: dict[str, Any] = await until(check, f"{wanted} of {await gateway.worker(url)}")
    return found


async def act(gateway: HeadlessGateway, url: str, verb: str, body: object = None) -> None:
    worker = await gateway.worker(url)
    assert worker is not None
    status, answer = await gateway.call("POST", f"/workers/{worker['id']}/{verb}", body)
    assert status < 300, answer


async def test_two_gateways_and_a_restarted_one_honour_what_an_operator_did_at_one(tmp_path: Path) -> None:
    async with scene(tmp_path, "--share-operations") as s:
        s.create()
        url = s.engine.url
        await s.gateway.in_state(url, "ready")
        port = str(urlsplit(url).port)
        options = (
            "--service-discovery",
            "--kubeconfig",
            kubeconfig(tmp_path, s.server.url),
            "--selector",
            "app=sglang",
        )
        options = (*options, "--service-discovery-port", port, "--share-operations")
        async with HeadlessGateway(*options) as other:
            await other.in_state(url, "ready")
            await act(s.gateway, url, "cordon", {"reason": "ECC errors"})
            await worker_is(other, url, cordoned=True)
            assert (said(s.server) or "").startswith("cordon by ")
            assert (said(s.server) or "").endswith(": ECC errors")
            await act(other, url, "uncordon")
            await worker_is(s.gateway, url, cordoned=False)
            assert said(s.server) is None
            await act(other, url, "drain", {"timeout_secs": 600})
            await s.gateway.in_state(url, "draining")
            assert await other.terminate() == 0
        async with HeadlessGateway(*options) as again:
            await again.in_state(url, "draining")
            assert any("via kubernetes" in event["actor"] for event in await again.journal())
            s.server.cluster.patch(NS, "a", {"metadata": {"annotations": {OPERATION: None}}})
            await again.in_state(url, "ready")
            assert await again.terminate() == 0
        await s.gateway.in_state(url, "ready")


async def test_without_the_right_to_patch_it_is_told_and_done_once_the_right_is_there(tmp_path: Path) -> None:
    async with scene(tmp_path, "--share-operations") as s:
        s.create()
        await s.gateway.in_state(s.engine.url, "ready")
        s.server.forbidden.add("patch")
        await act(s.gateway, s.engine.url, "cordon")

        async def told() -> dict[str, Any] | None:
            body = await s.discovery()
            return body if body["missing_permission"] else None

        body = await until(told, "the missing right")
        assert "cannot patch pods in namespace llm" in body["missing_permission"]
        assert body["sharing"]["waiting"] == 1
        assert (await worker_is(s.gateway, s.engine.url, cordoned=True))["cordoned"], "here it holds all the same"
        s.server.forbidden.clear()
        await s.says(missing_permission=None, sharing={"waiting": 0, "problem": ""})
        assert (said(s.server) or "").startswith("cordon")


async def test_without_the_flag_pods_are_neither_written_nor_followed(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.create(annotations={OPERATION: "cordon"})
        await s.gateway.in_state(s.engine.url, "ready")
        worker = await s.gateway.worker(s.engine.url)
        assert worker is not None
        assert not worker["cordoned"]
        body = await s.says(sharing=None)
        assert body["notes"] == [{"pod": "llm/a", "because": f"{OPERATION}: counts with --share-operations only"}]
        await act(s.gateway, s.engine.url, "cordon")
        assert s.server.count("patch") == 0


def put_secret(s: Scene, key: str, name: str = "api-key") -> None:
    s.server.cluster.secrets[NS, "engine-key"] = {name: base64.b64encode(key.encode()).decode()}


async def test_an_api_key_comes_from_the_secret_that_the_pod_names(tmp_path: Path) -> None:
    async with (
        Server() as server,
        SimulatorProcess("--model", "sim-model", "--instant", "--api-key", "s3cret") as engine,
    ):
        port = str(urlsplit(engine.url).port)
        where = ("--service-discovery", "--kubeconfig", kubeconfig(tmp_path, server.url), "--selector", "app=sglang")
        async with HeadlessGateway(*where, "--service-discovery-port", port) as gateway:
            s = Scene(server, gateway, engine)
            server.forbidden.add("get secrets")
            s.create(labels=LABELS, annotations={"smg.ai/api-key-secret": "engine-key"})

            async def told() -> str:
                return " ".join(one["because"] for one in (await s.discovery())["skipped"])

            async def forbidden() -> str | None:
                return words if "the Role needs get on secrets" in (words := await told()) else None

            assert "secret llm/engine-key, key api-key: 403" in await until(forbidden, "the missing right")
            server.forbidden.clear()

            async def absent() -> str | None:
                return words if "404" in (words := await told()) else None

            assert 'secrets "engine-key" not found' in await until(absent, "the missing Secret", timeout_s=15)
            put_secret(s, "s3cret")
            await gateway.in_state(engine.url, "ready", timeout_s=15)
            ask = {"model": "sim-model", "messages": [{"role": "user", "content": "hello"}]}
            status, answer = await gateway.call("POST", "/v1/chat/completions", ask)
            assert status == 200, answer
            assert "s3cret" not in str(await gateway.worker(engine.url))
            assert await gateway.terminate() == 0
