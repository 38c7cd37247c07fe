"""How the control loops ask workers: whole answers, short reasons, and no health from a half-dead worker."""

import asyncio
import ssl
import subprocess
import time
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import pytest

from gateway.proxy.fetch import Fetch
from gateway.proxy.settings import ProxySettings
from gateway.workers.ask import Unreachable
from gateway.workers.model import Secret, State, Worker, WorkerId, WorkerSpec
from tests.integration.proxy_world import Peer, add_ready, answer, hang_up, post, until, world
from tests.integration.proxy_world import Worker as Server


def at(url: str, key: str | None = None) -> Worker:
    spec = WorkerSpec(url=url, api_key=Secret(key) if key else None)
    return Worker(WorkerId("id"), "w1", spec, 1, State.READY, 0.0, 0.0, "")


async def asked(raw: bytes, *, close: bool = False, method: str = "GET", body: bytes = b"") -> tuple[object, bytes]:
    """Ask a worker that answers with these bytes: what came of it, and what was asked."""
    server = Server()
    await server.start()
    try:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(
                told(Fetch(), at(server.url, "secret"), method=method, body=body, timeout_s=0.5, max_bytes=100)
            )
            peer = await server.accept()
            request = await peer.take_until(b"\r\n\r\n")
            peer.send(raw)
            if close:
                peer.transport.close()
        return asking.result(), request
    finally:
        await server.stop()
        await hang_up(*server.peers)


async def told(fetch: Fetch, worker: Worker, *, method: str, body: bytes, timeout_s: float, max_bytes: int) -> object:
    try:
        got = await fetch(worker, method, "/health?x=1", timeout_s=timeout_s, body=body, max_bytes=max_bytes)
    except Unreachable as error:
        return str(error)
    return got.status, got.headers.get("x-a"), got.body


async def test_a_question_carries_the_workers_key_and_gets_the_whole_answer() -> None:
    got, request = await asked(answer(b"body", b"X-A: 1", b"X-A: 2"))
    assert got == (200, "2", b"body")
    assert request.startswith(b"GET /health?x=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nauthorization: Bearer secret\r\n" in request
    got, request = await asked(answer(b"no", status=b"503 No"), method="POST", body=b"{}")
    assert got == (503, None, b"no")
    assert b"\r\ncontent-length: 2\r\n" in request


@pytest.mark.parametrize(
    ("raw", "close", "expected"),
    [
        (b"", True, "connection closed before an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", True, "connection closed in the middle of an answer"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", True, (200, None, b"until the end")),
        (b"HTTP/1.1 200 OK\r\n", False, "no answer within 0.5 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + b"x" * 200, False, "the answer is larger than 100 bytes"),
    ],
)
async def test_reasons_are_short_and_for_people(raw: bytes, close: bool, expected: object) -> None:
    assert (await asked(raw, close=close))[0] == expected


async def test_an_answer_in_another_protocol_says_so() -> None:
    got, _ = await asked(b"SSH-2.0-x\r\n")
    assert str(got).startswith("the answer is not HTTP")


async def test_a_refused_connection_and_an_unknown_host_say_so() -> None:
    server = Server()
    await server.start()
    await server.stop()
    assert await told(Fetch(), at(server.url), method="GET", body=b"", timeout_s=1, max_bytes=9) == "connection refused"
    got = await told(Fetch(), at("http://no-such-host.invalid"), method="GET", body=b"", timeout_s=5, max_bytes=9)
    assert got == "cannot resolve host: no-such-host.invalid"


async def test_a_worker_whose_listener_died_is_not_reachable_though_kept_connections_live() -> None:
    async with world() as w:
        client = await w.client()
        client.send(post())
        peer = await w.workers[0].accept()
        await peer.message()
        peer.send(answer())
        await client.message()
        await w.workers[0].stop()
        assert not peer.closed
        with pytest.raises(Unreachable, match="connection refused"):
            await Fetch()(w.entry.worker, "GET", "/health", timeout_s=1.0)


async def test_a_cancelled_question_closes_its_connection() -> None:
    server = Server()
    await server.start()
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(Fetch()(at(server.url), "GET", "/", timeout_s=30))
        peer = await server.accept()
        await peer.message()
        asking.cancel()
    await until(lambda: peer.closed)
    await server.stop()


async def test_a_thousand_questions_take_little_time() -> None:
    peers: list[Peer] = []

    class Ready(Peer):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            peers.append(self)

        def data_received(self, data: bytes) -> None:
            self.send(answer(b"", b"Connection: close"))

    server = await asyncio.get_running_loop().create_server(Ready, "127.0.0.1", 0)
    worker = at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    fetch, count = Fetch(), 500

    async def some() -> None:
        for _ in range(count // 10):
            assert (await fetch(worker, "GET", "/health", timeout_s=5)).ok

    began = time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(some())
    per_question = (time.process_time() - began) / count
    server.close()
    await hang_up(*peers)
    print(f"{per_question * 1e6:.0f} µs of CPU a question, the answering side included")
    assert per_question < 0.005


async def test_workers_over_tls_are_asked_and_proxied_to_and_their_certificates_checked() -> None:
    if which("openssl") is None:
        pytest.skip("makes its certificate with openssl")
    with TemporaryDirectory() as folder:
        key, cert = Path(folder, "key.pem"), Path(folder, "cert.pem")
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert)]
        command += ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221 - nothing else runs yet
        here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        here.load_cert_chain(cert, key)
        trusting = ssl.create_default_context(cafile=str(cert))
    peers: list[Peer] = []

    class Tls(Peer):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            peers.append(self)

        def data_received(self, data: bytes) -> None:
            self.send(answer(b"x" * 300_000))

    server = await asyncio.get_running_loop().create_server(Tls, "127.0.0.1", 0, ssl=here)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = ProxySettings(worker_tls=lambda: trusting)
    assert (await Fetch(settings)(at(url), "GET", "/", timeout_s=5)).status == 200
    with pytest.raises(Unreachable, match=r"^TLS: .*self.signed"):
        await Fetch()(at(url), "GET", "/", timeout_s=5)
    async with world(workers=0, settings=settings) as w:
        add_ready(w.registry, url, "m")
        client = await w.client()
        asked_before = len(peers)
        for _ in range(3):
            client.send(post())
            assert len((await client.message()).body) == 300_000
        assert len(peers) == asked_before + 1
    server.close()
    await hang_up(*peers)


async def test_a_worker_with_an_ipv6_address_is_asked_and_proxied_to_with_its_address_in_brackets() -> None:
    peers: list[Peer] = []

    def connected() -> Peer:
        peers.append(Peer())
        return peers[-1]

    try:
        server = await asyncio.get_running_loop().create_server(connected, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = server.sockets[0].getsockname()[1]
    async with world(workers=0) as w:
        add_ready(w.registry, f"http://[::1]:{port}", "m")
        client = await w.client()
        client.send(post())
        await until(lambda: bool(peers))
        assert (await peers[0].message()).fields[b"host"] == b"[::1]:%d" % port
        peers[0].send(answer(b"six"))
        assert (await client.message()).body == b"six"
    server.close()
    await hang_up(*peers)
