"""gRPC workers in a whole gateway: found out behind any kind of address, probed, polled, flushed, and let go."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from gateway.engines.generation import EngineError, Generate, Sampling
from gateway.gateway import Gateway
from gateway.settings import Settings
from gateway.simulator.process import SimulatorProcess
from gateway.workers.entry import Entry
from gateway.workers.model import Connection, Engine, State
from tests.integration.grpc_world import IDS, KINDS
from tests.integration.simulator_world import until


@asynccontextmanager
async def gateway(*urls: str, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway in this process, probing every 0.2 s and polling every second."""
    options: dict[str, Any] = {
        "worker_urls": urls,
        "host": "127.0.0.1",
        "port": 0,
        "disable_prometheus": True,
        "health_check_interval_secs": 0.2,
        "health_failure_threshold": 2,
        "health_check_timeout_secs": 2,
        "load_monitor_interval": 1,
        **settings,
    }
    async with Gateway(Settings(**options)) as running:
        yield running


async def becomes(running: Gateway, url: str, true: Callable[[Entry], object], wanted: str) -> Entry:
    """The worker once it is as wanted."""

    async def check() -> Entry | None:
        entry = running.registry.by_url(url)
        return entry if entry is not None and true(entry) else None

    try:
        found: Entry = await until(check, f"{url} to be {wanted}")
    except AssertionError:
        entry = running.registry.by_url(url)
        raise AssertionError(f"{entry!r}: {entry and (entry.health.last_error, entry.worker)}") from None
    return found


async def ready(running: Gateway, url: str) -> Entry:
    return await becomes(running, url, lambda entry: entry.worker.state is State.READY, "ready")


async def call(running: Gateway, method: str, path: str, body: object = None) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, running.address + path, json=body) as answer,
    ):
        return answer.status, await answer.json()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["grpc://", "http://", ""])
async def test_a_worker_behind_any_kind_of_address_is_found_to_speak_grpc(kind: str, scheme: str) -> None:
    flags = ("--model", "/models/big", "--served-model-name", "big")
    async with SimulatorProcess("--grpc", kind, *flags) as engine:
        given = engine.url.replace("grpc://", scheme)
        async with gateway(given) as running:
            entry = await ready(running, given if scheme else f"http://{given}")
            worker = entry.worker
            assert (worker.connection, worker.engine, worker.model_id) == (Connection.GRPC, kind, "big")
            assert worker.capabilities.context_length == 32768
            assert running.engines.known(worker) is not None
            await becomes(running, worker.url, lambda each: each.load is not None, "polled")
            assert entry.load is not None
            assert entry.load.running == 0
            listed = (await call(running, "GET", "/workers"))[1]
            [told] = listed["workers"]
            shown = ("url", "connection_mode", "runtime_type", "model_id", "status")
            assert [told[name] for name in shown] == [worker.url, "grpc", kind, "big", "ready"]


async def test_http_wins_where_a_worker_answers_it_and_grpc_is_not_loaded() -> None:
    async with SimulatorProcess() as engine:
        code = (
            "import asyncio, sys\n"
            "from gateway.gateway import Gateway\n"
            "from gateway.settings import Settings\n"
            "async def main():\n"
            "    settings = Settings(worker_urls=(sys.argv[1], '127.0.0.1:1'), host='127.0.0.1', port=0,\n"
            "                        disable_prometheus=True, health_check_interval_secs=0.1)\n"
            "    async with Gateway(settings) as running:\n"
            "        first, second = running.registry.entries.values()\n"
            "        while first.worker.state != 'ready' or not second.health.last_error:\n"
            "            await asyncio.sleep(0.02)\n"
            "        print(first.worker.connection.value, 'grpc' in sys.modules, 'tokenizers' in sys.modules)\n"
            "asyncio.run(main())\n"
        )
        bare = engine.url.removeprefix("http://")
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code, bare], capture_output=True, text=True, timeout=30, check=False
        )
    assert done.stdout.split() == ["http", "False", "False"], done.stderr


async def test_a_worker_that_dies_is_found_out_and_taken_back_when_it_answers_again() -> None:
    async with SimulatorProcess("--grpc", "sglang") as engine, gateway(engine.url) as running:
        before = running.engines.known((await ready(running, engine.url)).worker)
        await engine.kill()
        entry = await becomes(running, engine.url, lambda each: each.worker.state is State.UNHEALTHY, "unhealthy")
        await becomes(running, engine.url, lambda each: each.health.last_error == "connection refused", "refused")
        assert entry.load is None
        await engine.restart()
        await ready(running, engine.url)
        found = running.engines.known(entry.worker)
        assert found is not None
        assert found is not before  # no request waits for the backoff of a connection that was refused
        await found.healthy(timeout_s=2)


async def test_a_worker_that_says_it_is_not_well_is_believed() -> None:
    async with SimulatorProcess("--grpc", "vllm") as engine, gateway(engine.url) as running:
        await ready(running, engine.url)
        await engine.fault(unhealthy=True)
        entry = await becomes(running, engine.url, lambda each: each.worker.state is State.UNHEALTHY, "unhealthy")
        assert "Engine is not alive" in entry.health.last_error
        await engine.fault(reset=True, no_health=True)  # the standard health service is as good
        await ready(running, engine.url)


async def test_a_starting_worker_is_waited_for() -> None:
    async with SimulatorProcess("--grpc", "vllm", "--startup-delay", "1.0") as engine, gateway(engine.url) as running:
        entry = await becomes(running, engine.url, lambda each: each.health.last_error, "probed")
        assert entry.worker.state is State.REGISTERING
        await ready(running, engine.url)


async def test_another_engine_at_the_same_address_is_recognised() -> None:
    async with SimulatorProcess("--grpc", "sglang", "--served-model-name", "old") as engine, gateway(engine.url) as g:
        assert (await ready(g, engine.url)).worker.model_id == "old"
        port = engine.url.rpartition(":")[2]
        await engine.kill()
        await becomes(g, engine.url, lambda each: each.worker.state is State.UNHEALTHY, "unhealthy")
        async with SimulatorProcess("--grpc", "vllm", "--served-model-name", "new", "--port", port):
            entry = await becomes(g, engine.url, lambda each: each.worker.model_id == "new", "the new one")
            assert entry.worker.engine is Engine.VLLM
            await ready(g, engine.url)


async def test_a_worker_that_changes_from_http_to_grpc_and_back_is_followed() -> None:
    async with SimulatorProcess("--served-model-name", "first") as http:
        port = http.url.rpartition(":")[2]
        async with gateway(http.url) as running:
            assert (await ready(running, http.url)).worker.connection is Connection.HTTP
            await http.kill()
            async with SimulatorProcess("--grpc", "sglang", "--served-model-name", "second", "--port", port):
                entry = await becomes(running, http.url, lambda each: each.worker.model_id == "second", "over gRPC")
                assert entry.worker.connection is Connection.GRPC
                await ready(running, http.url)
            await http.restart()
            entry = await becomes(running, http.url, lambda each: each.worker.model_id == "first", "over HTTP again")
            assert entry.worker.connection is Connection.HTTP
            await ready(running, http.url)


async def test_the_engine_an_operator_declared_is_the_only_one_asked_for() -> None:
    async with SimulatorProcess("--grpc", "vllm") as engine, gateway() as running:
        wrong = {"url": engine.url, "runtime_type": "sglang"}
        assert (await call(running, "POST", "/workers", wrong))[0] == 202
        entry = await becomes(running, engine.url, lambda each: each.health.last_error, "probed")
        assert entry.worker.state is State.REGISTERING
        assert entry.health.last_error == "it speaks gRPC, but not sglang's service"
        assert set((await engine.stats())["requests"]) <= {"Check"}


async def test_what_speaks_grpc_but_is_no_engine_says_so() -> None:
    import grpc.aio

    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        url = f"http://127.0.0.1:{port}"
        async with gateway(url) as running:
            entry = await becomes(running, url, lambda each: each.health.last_error, "probed")
            assert entry.health.last_error == "it speaks gRPC, but neither sglang's nor vllm's service"
    finally:
        await server.stop(None)


async def test_a_worker_that_is_not_probed_is_found_out_by_discovery() -> None:
    async with SimulatorProcess("--grpc", "vllm", "--served-model-name", "big") as engine:
        url = engine.url.replace("grpc://", "http://")
        async with gateway(url, disable_health_check=True) as running:
            entry = await ready(running, url)
            assert (entry.worker.connection, entry.worker.model_id) == (Connection.GRPC, "big")


async def test_an_engine_without_loads_has_none_and_is_left_alone() -> None:
    async with SimulatorProcess("--grpc", "sglang") as engine:
        await engine.fault(no_loads=True)
        async with gateway(engine.url) as running:
            entry = await ready(running, engine.url)

            async def asked() -> int:
                count: int = (await engine.stats())["requests"].get("GetLoads", 0)
                return count

            assert await until(asked, "the first poll") == 1
            assert running.load_monitor is not None
            [polled] = running.load_monitor._polled.values()
            await until(_later(lambda: polled.rest > 0), "the rest to begin")
            await until(_later(lambda: polled.polls > 2), "more polls to be due")
            assert await asked() == 1
            assert entry.load is None


def _later(true: Callable[[], object]) -> Callable[[], Any]:
    async def check() -> object:
        return true()

    return check


async def test_caches_are_flushed_over_both_protocols_and_failures_are_named() -> None:
    async with (
        SimulatorProcess("--grpc", "vllm") as first,
        SimulatorProcess() as second,
        gateway(first.url, second.url) as running,
    ):
        await ready(running, first.url)
        await ready(running, second.url)
        status, body = await call(running, "POST", "/flush_cache")
        counts = ("workers_flushed", "total_http_workers", "total_grpc_workers", "total_workers")
        assert (status, [body[name] for name in counts]) == (200, [2, 1, 1, 2])
        assert (await first.stats())["requests"]["FlushCache"] == 1
        await first.kill()
        status, body = await call(running, "POST", "/flush_cache")
        assert status == 206
        assert [each["worker"] for each in body["failed"]] == [first.url]


async def test_info_routes_answer_for_an_http_worker_if_there_is_one_and_501_otherwise() -> None:
    async with SimulatorProcess("--grpc", "sglang") as first, SimulatorProcess() as second:
        async with gateway(first.url) as running:
            await ready(running, first.url)
            for path in ("/get_server_info", "/get_model_info"):
                status, body = await call(running, "GET", path)
                assert (status, body["error"]["code"]) == (501, "not_implemented")
                assert path[1:] in body["error"]["message"]
        async with gateway(first.url, second.url) as running:
            await ready(running, first.url)
            await ready(running, second.url)
            assert (await call(running, "GET", "/get_server_info"))[1]["tp_size"] == 1


async def test_a_removed_workers_connection_is_closed() -> None:
    async with SimulatorProcess("--grpc", "sglang") as engine, gateway(engine.url) as running:
        entry = await ready(running, engine.url)
        known = running.engines.known(entry.worker)
        assert known is not None
        assert (await call(running, "DELETE", f"/workers/{entry.worker.id}?now=true"))[0] == 202
        await until(_later(lambda: not running.engines._lines), "the line to be dropped")
        assert running.engines.known(entry.worker) is None
        await until(_later(lambda: not len(running.engines._scope)), "the channel to be closed")
        with pytest.raises(EngineError, match="removed"):
            await known.healthy(timeout_s=1)


async def test_an_answer_under_way_goes_on_to_its_end_when_its_worker_is_removed() -> None:
    async with SimulatorProcess("--grpc", "vllm") as engine, gateway(engine.url) as running:
        worker = (await ready(running, engine.url)).worker
        known = await running.engines.of(worker)
        call_for = Generate("long", IDS, Sampling(max_new_tokens=40, ignore_eos=True))
        async with aclosing(known.generate(call_for, timeout_s=30)) as answers:
            pieces = [await anext(answers)]
            assert (await call(running, "DELETE", f"/workers/{worker.id}?now=true"))[0] == 202
            await until(_later(lambda: running.engines.known(worker) is None), "the worker to be gone")
            pieces += [piece async for piece in answers]
        assert pieces[-1].completion_tokens == 40


async def test_a_host_that_swallows_everything_is_not_asked_twice() -> None:
    connected: list[object] = []
    server = await asyncio.start_server(lambda reader, writer: connected.append(writer), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, gateway(url, health_check_timeout_secs=0.3) as running:
        entry = await becomes(running, url, lambda each: each.health.last_error, "probed")
        assert entry.health.last_error == "no answer within 0.3 s"
        assert len(connected) == 1
        for writer in connected:
            writer.transport.abort()  # type: ignore[attr-defined]  # a StreamWriter
