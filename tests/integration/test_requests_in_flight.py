"""The requests that a data plane has under way, over real sockets: none is kept track of, all are found."""

from gateway.proxy.flights import Stage
from gateway.workers.model import WorkerId
from tests.integration.proxy_world import BODY, STREAM_HEAD, chunk, post, until, world
from tests.integration.test_proxy_websocket import connected

EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


async def test_a_stream_is_found_with_its_worker_and_its_tokens_until_it_ends() -> None:
    async with world(workers=2) as w:
        assert w.plane.flights(10) == []
        client = await w.client()
        client.send(post(BODY))
        idle = await w.client()
        await until(lambda: len(w.plane.flights(10)) == 1)
        (waiting,) = w.plane.flights(10)
        entry = next(entry for entry in w.entries if entry.meters.in_flight)
        peer = await next(worker for worker in w.workers if worker.url == entry.worker.url).accept()
        await peer.message()
        peer.send(STREAM_HEAD)
        for _ in range(3):
            peer.send(chunk(EVENT))
            await client.take_until(EVENT)
        (streaming,) = w.plane.flights(10, entry.worker.id)
        assert (waiting.worker, waiting.tokens) == (entry.worker.id, 0)
        assert waiting.stage in (Stage.CONNECTING, Stage.WAITING)
        assert (streaming.stage, streaming.tokens, streaming.model) == (Stage.ANSWERING, 3, "m")
        assert 0 <= waiting.age_s <= streaming.age_s < 5
        assert w.plane.flights(10, WorkerId("another")) == []
        assert w.plane.flights(0) == []
        peer.send(chunk(b""))
        await until(lambda: not w.plane.flights(10))
        assert not idle.closed


async def test_a_websocket_is_a_request_under_way() -> None:
    async with world() as w:
        await connected(w)
        (told,) = w.plane.flights(10, w.entry.worker.id)
        assert (told.route, told.stage, told.model, told.attempts) == ("/v1/realtime", Stage.ANSWERING, "m", 1)
