"""The client of the control API, over TCP and over a gateway's Unix socket: readings, commands, events, and errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import pytest
from aiohttp import web

from gateway.errors import BadRequest, Conflict, GatewayError, WorkerNotFound
from gateway.proxy.control import ControlApp
from gateway.proxy.server import DataPlane
from gateway.proxy.unix_socket import listening
from smg_console.client import GatewayClient, Pauses, Received, Refused, Unauthorized, Unreachable
from smg_console.targets import Target
from tests.integration.control import TEST, Control, control


def to(api: Control) -> Target:
    return Target(str(api.client.make_url("")).rstrip("/"))


@asynccontextmanager
async def answering(handler: object, path: str = "/{any:.*}") -> AsyncIterator[Target]:
    """Something else than a gateway, at a URL."""
    app = web.Application()
    app.router.add_route("*", path, handler)  # type: ignore[arg-type]  # any handler
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Target(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


class OnSocket:
    """The API of a `Control` as a gateway serves it: through the data plane, on a Unix socket."""

    def __init__(self, api: Control, path: Path) -> None:
        server = api.client.server.app  # type: ignore[attr-defined]  # of a TestServer
        self._control = ControlApp(server)
        self._plane = DataPlane(api.registry, control=self._control)
        self._path = path
        self.target = Target("http://localhost", str(path))

    async def __aenter__(self) -> Self:
        await self._control.__aenter__()
        await self._plane.__aenter__()
        self._socket = listening(str(self._path), 0)
        await self._plane.serve_also(self._socket.socket)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        await self._plane.close()
        await self._control.__aexit__(kind, error, trace)


async def test_readings_and_commands_come_back_as_json() -> None:
    async with control() as api, GatewayClient(to(api)) as client:
        api.ready("http://a:1", "llama")
        found = await client.get_json("/workers", {"model": "llama"})
        assert [worker["name"] for worker in found["workers"]] == ["w1"]
        done = await client.command("POST", "/workers/w1/cordon", {"reason": "disk"})
        assert (done["changed"], done["message"]) == (True, "w1 cordoned")
        gone = await client.command("DELETE", "/workers/w1", params={"now": "true"})
        assert gone["changed"] is True


async def test_a_refusal_is_the_gateways_error_with_its_code_and_sentence() -> None:
    async with control() as api, GatewayClient(to(api)) as client:
        api.ready("http://a:1")
        with pytest.raises(WorkerNotFound, match="w9"):
            await client.get_json("/workers/w9")
        with pytest.raises(BadRequest, match="timeout_secs: given -1"):
            await client.command("POST", "/workers/w1/drain", {"timeout_secs": -1})
        with pytest.raises(Conflict, match="only an unhealthy or failed worker is retried"):
            await client.command("POST", "/workers/w1/retry")
        with pytest.raises(GatewayError, match="Invalid URL") as error:
            await client.get_json("/nowhere")
        assert (error.value.code, error.value.status) == ("unknown_url", 404)
        with pytest.raises(GatewayError, match="'none' not found"):
            await client.command("DELETE", "/v1/tokenizers/none")


async def test_the_journal_names_who_acted_and_over_tcp_that_it_only_says_so(tmp_path: Path) -> None:
    async with control() as api, OnSocket(api, tmp_path / "gw.sock") as local:
        api.ready("http://a:1")
        for target, actor in ((to(api), "api:attach:anna"), (local.target, "attach:anna")):
            async with GatewayClient(target, actor="attach:anna") as client:
                await client.command("POST", "/workers/w1/cordon")
                assert api.registry.journal.after(0, 1000)[-1].cause.actor == actor
                await client.command("POST", "/workers/w1/uncordon")
        async with GatewayClient(local.target) as client:
            await client.command("POST", "/workers/w1/cordon")
            assert api.registry.journal.after(0, 1000)[-1].cause.actor == "api"
        async with GatewayClient(local.target, actor="an na") as client:
            with pytest.raises(BadRequest, match="X-SMG-Actor: given 'an na'"):
                await client.command("POST", "/workers/w1/uncordon")


async def test_nobody_there_is_one_sentence(tmp_path: Path) -> None:
    async with control() as api:
        gone = to(api)
    for target, said in (
        (gone, f"{gone.base} cannot be reached: connection refused"),
        (Target("http://no-such-host.invalid"), "http://no-such-host.invalid cannot be reached: "),
        (Target("http://localhost", str(tmp_path / "no.sock")), f"{tmp_path}/no.sock cannot be reached: there is no"),
    ):
        async with GatewayClient(target) as client:
            with pytest.raises(Unreachable) as error:
                await client.get_json("/workers")
            assert str(error.value).startswith(said)
            with pytest.raises(Unreachable):
                await anext(client.events())


async def test_what_is_no_gateway_or_does_not_answer_is_said_so() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    async def key(_: web.Request) -> web.Response:
        return web.Response(status=401, text="who?")

    async def away(_: web.Request) -> web.Response:
        raise web.HTTPFound("http://elsewhere.invalid/")

    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with answering(page) as target, GatewayClient(target) as client:
        with pytest.raises(Unreachable, match="is it a gateway"):
            await client.get_json("/workers")
    async with answering(key) as target, GatewayClient(target) as client:
        with pytest.raises(Unauthorized, match="answered 401"):
            await client.get_json("/workers")
    async with answering(away) as target, GatewayClient(target, api_key="k") as client:
        with pytest.raises(Refused, match="answered 302"):  # a key is not carried elsewhere
            await client.get_json("/workers")
    async with answering(never) as target, GatewayClient(target, timeout_s=0.1) as client:
        with pytest.raises(Unreachable, match="does not answer in time"):
            await client.get_json("/workers")


async def test_the_key_goes_along_as_a_bearer_token() -> None:
    seen = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({})

    async with answering(note) as target:
        for key in ("k1", None):
            async with GatewayClient(target, api_key=key) as client:
                await client.get_json("/workers")
    assert seen == ["Bearer k1", None]


async def test_events_come_as_they_happen_and_go_on_after_the_last_one_seen() -> None:
    async with control() as api, GatewayClient(to(api)) as client:
        entry = api.ready("http://a:1")
        async with aclosing(client.events()) as events:
            first = await anext(events)
            assert (first.name, first.id) == ("snapshot", f"boot-{api.registry.journal.seq}")
            api.registry.cordon(entry, "disk", TEST)
            second = await anext(events)
            assert (second.name, second.data["data"]["reason"]) == ("worker_cordoned", "disk")
        api.registry.uncordon(entry, TEST)
        async with aclosing(client.events(after=second.id)) as events:
            assert (await anext(events)).name == "worker_uncordoned"
        async with aclosing(client.events(after="another-boot-3")) as events:
            assert (await anext(events)).name == "snapshot"


async def test_a_big_snapshot_and_many_events_arrive_whole() -> None:
    async with control() as api, GatewayClient(to(api)) as client:
        entries = [api.ready(f"http://a:{n}") for n in range(1, 301)]
        async with aclosing(client.events()) as events:
            assert len((await anext(events)).data["workers"]) == 300
            for entry in entries:
                api.registry.cordon(entry, "x" * 500, TEST)
            seen = [await anext(events) for _ in entries]
            assert [event.data["worker"] for event in seen] == [entry.worker.id for entry in entries]


async def test_a_stream_that_falls_silent_is_taken_for_lost() -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b": still here\n\n")
        await asyncio.Event().wait()
        raise AssertionError

    async with answering(silent) as target, GatewayClient(target) as client:
        with pytest.raises(Unreachable, match="does not answer in time"):
            await anext(client.events(silence_s=0.1))


async def test_following_takes_the_stream_up_again_where_it_broke() -> None:
    ids = []

    async def breaks(request: web.Request) -> web.StreamResponse:
        ids.append(request.headers.get("Last-Event-ID", ""))
        response = web.StreamResponse()
        await response.prepare(request)
        number = len(ids)
        await response.write(b'event: gateway_notice\nid: boot-%d\ndata: {"seq": %d}\n\n' % (number, number))
        if request.transport is not None:
            request.transport.abort()
        return response

    async with answering(breaks) as target, GatewayClient(target) as client:
        found: list[Received] = []
        async with aclosing(client.follow()) as events:
            async for event in events:
                found.append(event)
                if len(found) == 3:
                    break
    assert [event.id for event in found] == ["boot-1", "boot-2", "boot-3"]
    assert ids == ["", "boot-1", "boot-2"]


def test_pauses_grow_up_to_a_bound_and_begin_again_after_success() -> None:
    pauses = Pauses(Random(1), 1.0, 8.0)
    found = [pauses.next() for _ in range(6)]
    for pause, expected in zip(found, (1, 2, 4, 8, 8, 8), strict=True):
        assert 0.75 * expected <= pause <= expected
    pauses.begin_again()
    assert pauses.next() <= 1.0
