"""Each fault, seen from outside: what a gateway meets when a worker goes wrong."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.simulator.process import SimulatorProcess
from tests.integration.simulator_world import call, chat, client, settled, until

CHAT = "/v1/chat/completions"


@pytest.fixture
async def engine() -> AsyncIterator[SimulatorProcess]:
    async with SimulatorProcess("--itl-ms", "1", "--seed", "7") as engine:
        yield engine


async def test_an_unhealthy_engine_still_serves(engine: SimulatorProcess) -> None:
    async with client(engine.url) as session:
        assert (await engine.fault(unhealthy=True))["unhealthy"] is True
        assert (await call(session, "GET", "/health"))[0] == 503
        assert (await call(session, "POST", CHAT, chat()))[0] == 200
        await engine.fault(reset=True)
        assert (await call(session, "GET", "/health"))[0] == 200


async def test_health_and_serving_hang_apart_from_each_other(engine: SimulatorProcess) -> None:
    async with client(engine.url) as session:
        for fault, hangs, answers in (
            ("hang", ("POST", CHAT), ("GET", "/health")),
            ("hang_health", ("GET", "/health"), ("POST", CHAT)),
        ):
            await engine.fault(reset=True, **{fault: True})
            assert (await call(session, *answers, chat()))[0] == 200
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await call(session, *hangs, chat())


async def test_a_slow_engine_takes_as_many_times_as_long(engine: SimulatorProcess) -> None:
    async with client(engine.url) as session:
        took = []
        for factor in (1.0, 20.0):
            await engine.fault(slow=factor)
            began = time.monotonic()
            assert (await call(session, "POST", CHAT, chat(20)))[0] == 200
            took.append(time.monotonic() - began)
        assert took[1] > 0.4 > took[0]


async def test_a_refusing_engine_closes_idle_connections_lets_streams_end_and_comes_back(
    engine: SimulatorProcess,
) -> None:
    async with client(engine.url) as session, client(engine.url) as other:
        assert (await call(other, "GET", "/health"))[0] == 200
        async with session.post(CHAT, json=chat(60, ignore_eos=True, stream=True)) as streaming:
            await engine.fault(slow=10, refuse_s=1.0)

            async def refused() -> bool:
                try:
                    await call(other, "GET", "/health")
                except aiohttp.ClientConnectorError:
                    return True
                return False

            await until(refused, "connections to be refused")
            assert (await streaming.read()).endswith(b"data: [DONE]\n\n")

        async def back() -> bool:
            return not await refused()

        await until(back, "the engine to listen again")
        assert (await call(other, "GET", "/_sim/faults"))[1]["refuse_s"] == 0.0


async def test_a_stream_is_reset_after_so_many_events(engine: SimulatorProcess) -> None:
    async with client(engine.url) as session:
        await engine.fault(drop_after=5)
        seen = b""
        async with session.post(CHAT, json=chat(50, stream=True)) as streaming:

            async def read() -> None:
                nonlocal seen
                async for part in streaming.content.iter_any():
                    seen += part

            with pytest.raises(aiohttp.ClientError):
                await read()
        assert seen.count(b"data: ") == 5
        assert (await call(session, "POST", CHAT, chat()))[0] == 200
        stats = await settled(engine)
        assert (stats["kv_reserved"], stats["cancelled"]) == (0, 1)


async def test_a_dropped_stream_ends_with_a_reset_not_with_an_end(engine: SimulatorProcess) -> None:
    await engine.fault(drop_after=3)
    host, port = engine.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = b'{"messages":[{"role":"user","content":"x"}],"stream":true}'
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    with pytest.raises(ConnectionResetError):
        await reader.read(-1)
    writer.close()
    with pytest.raises(ConnectionResetError):
        await writer.wait_closed()


async def test_a_share_of_requests_gets_an_error(engine: SimulatorProcess) -> None:
    async with client(engine.url) as session:
        for status in (429, 500, 503):
            await engine.fault(status=status)
            got, refused = await call(session, "POST", CHAT, chat())
            assert (got, refused["error"]["message"]) == (status, f"simulated {status}")
        await engine.fault(fraction=0.5)
        many = [(await call(session, "POST", CHAT, chat(1)))[0] for _ in range(40)]
        assert 8 < many.count(503) < 32
        assert many.count(200) == 40 - many.count(503)
        assert (await call(session, "GET", "/health"))[0] == 200


async def test_garbage_is_not_http(engine: SimulatorProcess) -> None:
    async with client(engine.url) as session:
        await engine.fault(garbage=True)
        for method, path in (("GET", "/health"), ("POST", CHAT)):
            with pytest.raises(aiohttp.ClientError):
                await call(session, method, path, chat())
        await engine.fault(garbage=False)
        assert (await call(session, "POST", CHAT, chat()))[0] == 200


async def test_models_may_answer_an_error_while_everything_else_works(engine: SimulatorProcess) -> None:
    async with client(engine.url) as session:
        await engine.fault(models_error=True)
        assert (await call(session, "GET", "/v1/models"))[0] == 500
        assert (await call(session, "POST", CHAT, chat()))[0] == 200


async def test_connections_are_closed_after_each_answer_without_a_word(engine: SimulatorProcess) -> None:
    await engine.fault(close_idle=True)
    host, port = engine.url.removeprefix("http://").split(":")
    for request in (
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 33\r\n\r\n"
        b'{"prompt": "a", "stream": true  }',
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        async with asyncio.timeout(5):
            answer = await reader.read(-1)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" not in answer.lower()
        writer.close()
        await writer.wait_closed()


async def test_what_a_fault_may_be_is_said_when_it_is_not(engine: SimulatorProcess) -> None:
    with pytest.raises(ValueError, match="colour: unknown fault; accepted: reset, unhealthy, hang_health, hang, slow"):
        await engine.fault(colour="red")
    with pytest.raises(ValueError, match="slow: given -1, expected a number above 0"):
        await engine.fault(slow=-1, unhealthy=True)
    async with client(engine.url) as session:
        async with session.post("/_sim/faults", data=b"{") as broken:
            assert broken.status == 400
        status, refused = await call(session, "POST", "/_sim/faults", {"colour": 1})
        assert (status, refused["error"]["param"]) == (400, "colour")
        assert (await call(session, "GET", "/_sim/faults"))[1] == await engine.fault(reset=True)


async def test_a_loading_engine_listens_but_is_not_up() -> None:
    async with SimulatorProcess("--startup-delay", "0.8", "--instant") as engine, client(engine.url) as session:
        for method, path in (("GET", "/health"), ("GET", "/v1/models"), ("POST", CHAT)):
            assert (await call(session, method, path, chat()))[0] == 503

        async def up() -> bool:
            return (await call(session, "GET", "/health"))[0] == 200

        await until(up, "the model to be loaded")
        assert (await call(session, "POST", CHAT, chat()))[0] == 200
