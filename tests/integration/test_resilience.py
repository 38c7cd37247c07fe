"""A worker's failure is not the client's: four real workers, 64 clients at once, and one worker that goes bad."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from gateway.simulator.process import SimulatorProcess
from gateway.tasks import Scope
from tests.integration.fleet import HeadlessGateway, until

MODEL = "sim-model"
CLIENTS = 64
WORKERS = 4
PATIENCE_S = 60.0


@dataclass
class Clients:
    """64 clients that ask one request after the other, and what they saw."""

    session: aiohttp.ClientSession
    address: str
    stream: bool = False
    max_tokens: int = 8
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    broken_streams: list[dict[str, Any]] = field(default_factory=list)
    by_worker: Counter[str] = field(default_factory=Counter)
    stopping: bool = False

    async def one(self, number: int) -> None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": f"client {number}"}], "stream": self.stream}
        body["max_tokens"] = self.max_tokens
        while not self.stopping:
            try:
                timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
                url = f"{self.address}/v1/chat/completions"
                async with self.session.post(url, json=body, timeout=timeout) as answer:
                    text = await answer.text()
                    self.statuses[answer.status] += 1
                    self.by_worker[answer.headers.get("x-smg-routed-worker-id", "")] += 1
                    self._judge(answer.status, text)
            except (aiohttp.ClientError, TimeoutError) as error:
                self.wrong.append(repr(error))

    def _judge(self, status: int, text: str) -> None:
        if status != 200:
            self.wrong.append(f"{status}: {text[:300]}")
        elif not self.stream:
            assert json.loads(text)["choices"][0]["message"]["content"]
        elif '"error"' in text:
            events = [event for event in text.split("\n\n") if event]
            self.broken_streams.append(json.loads(events[-1].removeprefix("data: "))["error"])
        elif not text.endswith("data: [DONE]\n\n"):
            self.wrong.append(f"a stream that ends with {text[-80:]!r}")


@dataclass
class Stage:
    gateway: HeadlessGateway
    workers: list[SimulatorProcess]
    clients: Clients

    async def answers(self, more: int) -> None:
        """Wait until the clients have got so many more answers."""
        wanted = self.clients.statuses.total() + more

        async def enough() -> bool:
            return self.clients.statuses.total() >= wanted

        await until(enough, f"{more} more answers; {self.clients.statuses} {self.clients.wrong[:3]}", PATIENCE_S)


@asynccontextmanager
async def stage(*options: str, stream: bool = False, max_tokens: int = 8, speed: str = "20") -> AsyncIterator[Stage]:
    """The clients are asking when this is entered, and have their last answers when it is left."""
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(SimulatorProcess("--engine", "sglang", "--model", MODEL, "--speed", speed))
            for _ in range(WORKERS)
        ]
        urls = [worker.url for worker in workers]
        gateway = await stack.enter_async_context(
            HeadlessGateway("--policy", "round_robin", "--worker-urls", *urls, *options)
        )
        for url in urls:
            await gateway.in_state(url, "ready")
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        clients = Clients(session, gateway.address, stream, max_tokens)
        async with Scope("clients") as scope:
            tasks = [scope.spawn(clients.one(number), name=f"client {number}") for number in range(CLIENTS)]
            here = Stage(gateway, workers, clients)
            await here.answers(2 * CLIENTS)
            yield here
            clients.stopping = True
            await asyncio.wait(tasks, timeout=PATIENCE_S)
            for task in tasks:
                assert task.done()
                task.result()


async def killed(here: Stage) -> None:
    os.kill(here.workers[0].pid, signal.SIGKILL)


async def hangs(here: Stage) -> None:
    os.kill(here.workers[0].pid, signal.SIGSTOP)


def fault(**given: object) -> Callable[[Stage], Awaitable[None]]:
    async def switch_on(here: Stage) -> None:
        async with here.clients.session.post(f"{here.workers[0].url}/_sim/faults", json=given) as answer:
            assert answer.status == 200, await answer.text()

    return switch_on


QUICK = ("--health-check-timeout-secs", "1", "--worker-stall-secs", "1")


@pytest.mark.parametrize(
    ("goes_bad", "options"),
    [
        pytest.param(killed, (), id="killed"),
        pytest.param(hangs, QUICK, id="hangs"),
        pytest.param(fault(status=500), (), id="answers 500"),
        pytest.param(fault(status=503), (), id="answers 503"),
        pytest.param(fault(status=429), (), id="answers 429"),
        pytest.param(fault(close_idle=True), (), id="closes idle connections"),
        pytest.param(fault(garbage=True), (), id="answers garbage"),
        pytest.param(fault(refuse_s=3), (), id="refuses for a while"),
    ],
)
async def test_no_client_sees_the_failure_of_one_of_four_workers(
    goes_bad: Callable[[Stage], Awaitable[None]], options: tuple[str, ...]
) -> None:
    async with stage(*options) as here:
        await goes_bad(here)
        await here.answers(15 * CLIENTS)
        if goes_bad is hangs:
            os.kill(here.workers[0].pid, signal.SIGCONT)
    assert here.clients.wrong == []
    assert set(here.clients.statuses) == {200}


async def test_a_worker_that_is_back_gets_its_share_again() -> None:
    """After a hang: it is ready again by its probes, and nothing it held is lost or counted twice."""
    async with stage(*QUICK) as here:
        url = here.workers[0].url
        os.kill(here.workers[0].pid, signal.SIGSTOP)
        await here.gateway.in_state(url, "unhealthy")
        await here.answers(2 * CLIENTS)
        os.kill(here.workers[0].pid, signal.SIGCONT)
        back = await here.gateway.in_state(url, "ready")
        before = here.clients.by_worker[back["id"]]
        await here.answers(8 * CLIENTS)
        assert here.clients.by_worker[back["id"]] > before
        here.clients.stopping = True

        async def nothing_in_flight() -> bool:
            return all(worker["in_flight"] == 0 for worker in await here.gateway.workers())

        await until(nothing_in_flight, "all requests to end", PATIENCE_S)
    assert here.clients.wrong == []


async def test_streams_not_begun_move_on_and_streams_under_way_end_with_an_error_event() -> None:
    async with stage(stream=True, max_tokens=40, speed="2") as here:
        await killed(here)
        await here.answers(4 * CLIENTS)
    assert here.clients.wrong == []
    assert set(here.clients.statuses) == {200}
    broken = here.clients.broken_streams
    assert 1 <= len(broken) <= CLIENTS
    assert {error["code"] for error in broken} == {"worker_connection_lost"}
    assert all(error["type"] == "server_error" for error in broken)


async def test_a_failing_worker_is_taken_out_by_its_breaker_and_shown_and_reset() -> None:
    options = ("--cb-timeout-duration-secs", "600", "--disable-retries")
    async with (
        SimulatorProcess("--engine", "sglang", "--model", MODEL, "--instant") as worker,
        HeadlessGateway("--worker-urls", worker.url, *options) as gateway,
        aiohttp.ClientSession() as session,
    ):
        await gateway.in_state(worker.url, "ready")
        async with session.post(f"{worker.url}/_sim/faults", json={"status": 500}):
            pass
        body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
        for _ in range(10):
            assert (await gateway.call("POST", "/v1/chat/completions", body))[0] == 500
        status, refused = await gateway.call("POST", "/v1/chat/completions", body)
        assert (status, refused["error"]["code"]) == (503, "no_available_workers")
        assert "circuit breaker open: 10 of 10 requests failed" in refused["error"]["message"]
        shown = await gateway.worker(worker.url)
        assert shown is not None
        assert (shown["circuit_breaker"]["state"], shown["routable"], shown["state"]) == ("open", False, "ready")
        status, ready = await gateway.call("GET", "/readiness")
        assert (status, ready["reason"]) == (503, "insufficient healthy workers")
        assert "circuit breaker open" in ready["workers"][0]["because"]
        async with session.get(f"{gateway.metrics_address}/metrics") as metrics:
            assert f'smg_worker_cb_state{{worker="{worker.url}"}} 1.0' in await metrics.text()
        async with session.post(f"{worker.url}/_sim/faults", json={"reset": True}):
            pass
        status, done = await gateway.call("POST", f"/workers/{shown['id']}/reset_breaker")
        assert (status, done["worker"]["circuit_breaker"]["state"]) == (200, "closed")
        assert (await gateway.call("POST", "/v1/chat/completions", body))[0] == 200
        changes = [event for event in await gateway.journal() if event["event"] == "worker_breaker_changed"]
        assert [event["data"]["breaker"]["state"] for event in changes] == ["open", "closed"]
