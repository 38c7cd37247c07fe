"""Fixed workers: fast answers that never vary, on many ports of one process, so that only gateways differ.

`python -m tests.bench.workers --ports N` prints one line of JSON with its ports and serves until a signal comes.
What a gateway asks of an SGLang engine at registration is answered; a chat request gets 600 bytes of JSON, or with
"stream": true 64 server-sent events, each a write of its own: one right after the other, or with the user `apart` in
steps of the loop, so that many streams take turns. The user `fails` is answered 400. GET /_bench/hits tells the
requests that each port got. How engines behave (queues, batches, caches) is `gateway.simulator`'s.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import cast

import httptools

MODEL = "bench-model"
ANSWER_BYTES = 600
CHUNKS = 64
_STREAMS = (b'"stream":true', b'"stream": true')
APART, FAILS = "apart", "fails"
_APART, _FAILS = (f'"user":"{user}"'.encode() for user in (APART, FAILS))


def _json(status: int, value: object) -> bytes:
    body = json.dumps(value, separators=(",", ":")).encode()
    reason = {200: b"OK", 400: b"Bad Request", 404: b"Not Found"}[status]
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, reason, len(body)) + body


def answer_body(size: int = ANSWER_BYTES) -> bytes:
    """The answer to every chat request: exactly `size` bytes of JSON."""

    def body(text: str) -> bytes:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 256, "completion_tokens": 100, "total_tokens": 356}
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": MODEL}
        return json.dumps({**answer, "choices": [choice], "usage": usage}, separators=(",", ":")).encode()

    return body("a" * (size - len(body(""))))


def stream_chunks(count: int = CHUNKS) -> list[bytes]:
    """The events of every stream as chunks of a chunked body; the last one closes it."""
    start = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": MODEL}
    events = [
        {**start, "choices": [{"index": 0, "delta": {"content": f"token{n:03d} "}, "finish_reason": None}]}
        for n in range(count)
    ]
    texts = [b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n" for event in events]
    framed = [b"%x\r\n%b\r\n" % (len(text), text) for text in texts]
    framed[-1] += b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    return framed


_BODY = answer_body()
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNKS = stream_chunks()
_FAILURE = _json(400, {"error": {"type": "invalid_request_error", "message": "as asked", "code": None, "param": None}})
_INFO = {"version": "0.5.10", "tp_size": 1, "dp_size": 1, "served_model_name": MODEL, "max_total_tokens": 100000}
_LOAD = {"running": 0, "waiting": 0, "num_reqs": 0, "num_waiting_reqs": 0, "num_tokens": 0, "dp_rank": 0}
_ASKED = {
    b"/health": _json(200, {}),
    b"/health_generate": _json(200, {}),
    b"/v1/models": _json(200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "sglang"}]}),
    b"/server_info": _json(200, _INFO),
    b"/get_server_info": _json(200, _INFO),
    b"/model_info": _json(200, {"is_generation": True, "served_model_name": MODEL}),
    b"/get_model_info": _json(200, {"is_generation": True, "served_model_name": MODEL}),
    b"/get_load": _json(200, [_LOAD]),
    b"/v1/loads": _json(200, {"loads": [_LOAD]}),
}
_UNKNOWN = _json(404, {"error": "not here"})


class Place:
    """One port, and the chat requests it got."""

    def __init__(self) -> None:
        self.port = 0
        self.hits = 0


class FixedWorker(asyncio.Protocol):
    """One connection of a gateway."""

    __slots__ = ("_body", "_left", "_loop", "_parser", "_place", "_places", "_transport", "_url")

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, place: Place, places: Sequence[Place]) -> None:
        self._loop = loop
        self._place = place
        self._places = places
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left = 0

    # --- httptools callbacks ---

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        url, self._url = self._url, b""
        if not self._body:
            hits = {place.port: place.hits for place in self._places}
            self._transport.write(_json(200, hits) if url == b"/_bench/hits" else _ASKED.get(url, _UNKNOWN))
            return
        body, self._body = b"".join(self._body), []
        self._place.hits += 1
        if any(mark in body for mark in _STREAMS):
            self._transport.write(_STREAM_HEAD)
            self._left = CHUNKS
            self._loop.call_soon(self._say_more if _APART in body else self._say_all)
        else:
            self._transport.write(_FAILURE if _FAILS in body else _ANSWER)

    def _say_all(self) -> None:
        """Every event is a packet of its own, as fast as they go: the loop would make one of all."""
        descriptor = self._transport.get_extra_info("socket").fileno()
        try:
            while self._left and self._transport.get_write_buffer_size() == 0:
                event = _CHUNKS[CHUNKS - self._left]
                sent = os.write(descriptor, event)
                self._left -= 1
                if sent < len(event):
                    self._transport.write(event[sent:])
        except BlockingIOError:
            pass
        except OSError:
            self._transport.abort()
            return
        if self._left:
            self._loop.call_later(0.001, self._say_more)

    def _say_more(self) -> None:
        """One event in each step of the loop: a gateway sees them come one by one, as from an engine."""
        if self._left:
            self._transport.write(_CHUNKS[CHUNKS - self._left])
            self._left -= 1
            self._loop.call_soon(self._say_more)


async def serve(ports: int) -> None:
    """Listen on so many free ports of the loopback interface, tell them on stdout, and serve until a signal."""
    loop = asyncio.get_running_loop()
    places = [Place() for _ in range(ports)]
    for place in places:
        server = await loop.create_server(
            lambda place=place: FixedWorker(loop, place, places),  # type: ignore[misc]
            "127.0.0.1",
            0,
            backlog=1024,
        )
        place.port = server.sockets[0].getsockname()[1]
    print(json.dumps({"ports": [place.port for place in places]}), flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    import uvloop

    parser = argparse.ArgumentParser("python -m tests.bench.workers", description=__doc__)
    parser.add_argument("--ports", type=int, default=2)
    options = parser.parse_args(arguments)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(serve(options.ports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
