"""A gateway process and its Unix socket: there while it serves, gone when it ends, replaced when it was killed."""

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.simulator.process import SimulatorProcess
from tests.integration.fleet import HeadlessGateway


def gateway(home: Path, *options: str) -> HeadlessGateway:
    return HeadlessGateway(*options, environment={"XDG_RUNTIME_DIR": str(home)})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def there(path: Path | str) -> bool:
    return Path(path).exists()


async def listening(found: HeadlessGateway) -> dict[str, Any]:
    return await found.logged("gateway_listening")


async def over(path: str, route: str) -> Any:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as client,
        client.get(f"http://localhost{route}") as answer,
    ):
        return json.loads(await answer.read())


async def test_the_socket_serves_the_control_api_to_its_user_and_leaves_with_the_gateway(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        path = Path((await listening(found))["control_socket"])
        assert path == tmp_path / "smg-console" / f"{urlsplit(found.address).port}.sock"
        assert mode(path) == 0o600
        assert (await over(str(path), "/workers"))["total"] == 0
        assert await found.terminate() == 0
        assert not there(path)


async def test_a_killed_gateways_socket_is_replaced_by_the_next(tmp_path: Path) -> None:
    async with gateway(tmp_path) as first:
        path = (await listening(first))["control_socket"]
        assert first.process is not None
        first.process.kill()
        await first.process.wait()
    assert there(path)
    port = str(urlsplit(first.address).port)
    async with gateway(tmp_path, "--port", port) as second:
        assert (await listening(second))["control_socket"] == path
        assert (await over(path, "/workers"))["total"] == 0


async def test_two_gateways_have_two_sockets_and_one_path_is_for_one_only(tmp_path: Path) -> None:
    named = str(tmp_path / "gw.sock")
    async with gateway(tmp_path) as first, gateway(tmp_path, "--control-socket", named) as second:
        assert (await listening(second))["control_socket"] == named
        assert (await listening(first))["control_socket"] != named
        third = gateway(tmp_path, "--control-socket", named)
        with pytest.raises(AssertionError, match="the gateway ended with 1"):
            await third.__aenter__()
        said = [event["line"] for event in third.events if "line" in event]
        wanted = f"--control-socket: cannot listen on a Unix socket: another process listens on {named}"
        assert any(wanted in line for line in said), said
        assert (await over(named, "/workers"))["total"] == 0


async def test_none_switches_it_off_and_a_gateway_that_cannot_have_one_serves_without(tmp_path: Path) -> None:
    async with gateway(tmp_path, "--control-socket", "none") as found:
        assert (await listening(found))["control_socket"] is None
        assert not there(tmp_path / "smg-console")
    (tmp_path / "smg-console").mkdir()
    os.chmod(tmp_path / "smg-console", 0o755)
    async with gateway(tmp_path) as found:
        assert (await listening(found))["control_socket"] is None
        assert "is open to others" in (await found.logged("control_socket_missing"))["why"]
        assert (await found.workers()) == []


async def test_a_path_that_is_too_long_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    found = gateway(tmp_path, "--control-socket", "/" + "s" * 150)
    with pytest.raises(AssertionError, match="the gateway ended with 1"):
        await found.__aenter__()
    said = [event["line"] for event in found.events if "line" in event]
    assert any("151 bytes, and a socket's path has at most" in line for line in said)


async def test_an_operator_can_still_look_while_the_gateway_lets_requests_finish(tmp_path: Path) -> None:
    """The clients' port is closed by then."""
    engine = SimulatorProcess("--engine", "vllm", "--model", "m", "--itl-ms", "100")
    async with engine, gateway(tmp_path, "--worker-urls", engine.url) as found, aiohttp.ClientSession() as client:
        await found.in_state(engine.url, "ready")
        path = (await listening(found))["control_socket"]
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 600, "stream": True}
        async with client.post(f"{found.address}/v1/chat/completions", json=body) as answer:
            await answer.content.readany()
            assert found.process is not None
            found.process.send_signal(signal.SIGTERM)
            await found.logged("gateway_stopping")
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.get(f"{found.address}/workers", headers={"Connection": "close"})
            assert [worker["in_flight"] for worker in (await over(path, "/workers"))["workers"]] == [1]
            assert (await over(path, "/readiness"))["status"] == "not ready"
        assert await found.terminate() == 0
        assert not there(path)
