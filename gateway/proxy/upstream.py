"""A connection to a worker (or to the control API): one request at a time, its answer as it arrives.

Bytes in, bytes out; whoever sends a request gets the answer through a `Sink`. Which worker, what an outcome
means and who is told is the exchange's; opening and keeping connections is the pool's.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from gateway.proxy.known import KnownHeads, Pattern, parted
from gateway.proxy.messages import AnswerHead, write_to
from gateway.proxy.replies import SWITCHING, BadReply, Reply


class UpstreamError(Exception):
    """No whole answer came. The message is for people.

    `timeout`: it took too long, rather than breaking; `ended`: the connection was closed, rather than lost.
    """

    def __init__(self, message: str, *, timeout: bool = False, ended: bool = False) -> None:
        super().__init__(message)
        self.timeout = timeout
        self.ended = ended


class Sink(Protocol):
    """Receives one answer. After `on_end` or `on_error` nothing more comes."""

    def on_head(self, head: AnswerHead, length: int | None) -> None:
        """The head came; `length` of the body where it was announced or there is none."""

    def on_body(self, data: bytes) -> None: ...

    def on_flush(self) -> None:
        """All that was read so far has been handed over: a good moment to write."""

    def on_end(self) -> None:
        """The answer is complete, and this connection free for others."""

    def on_error(self, error: UpstreamError) -> None: ...

    def on_upstream_slow(self, slow: bool) -> None:
        """The worker takes the request's body more slowly than it is written; then again not."""


class Answering(Protocol):
    """One who gives an answer to a `Sink`."""

    @property
    def reused(self) -> bool:
        """It is a connection that was kept, and may have been closed meanwhile."""
        ...

    @property
    def answered(self) -> bool:
        """Whether any of the answer has come."""
        ...

    def pause(self) -> None:
        """Hand over no more until `resume`."""

    def resume(self) -> None: ...

    def divert(self, sink: Sink) -> None:
        """What still comes goes to another sink."""

    def abandon(self) -> None:
        """Nobody wants the rest."""


class SwitchSink(Sink, Protocol):
    """One who asks the worker for another protocol. After `on_switch` the bytes of that come by `on_body`."""

    def on_switch(self, head: AnswerHead) -> None:
        """The worker answered 101."""

    def on_worker_ended(self) -> bool:
        """The worker sends no more. Whether the connection stays, to be written to."""


class Upstream(asyncio.Protocol):
    """One connection. `when_free` gets it back after an answer it can be used again after; None: it closes."""

    __slots__ = (
        "_closed",
        "_known",
        "_last",
        "_method",
        "_reply",
        "_sink",
        "_switch",
        "_switched",
        "_uploading",
        "answered",
        "idle_since",
        "reused",
        "transport",
        "when_free",
        "when_lost",
    )

    transport: asyncio.Transport

    def __init__(
        self,
        when_free: Callable[["Upstream"], None] | None = None,
        when_lost: Callable[["Upstream"], None] | None = None,
        known: KnownHeads[AnswerHead] | None = None,
    ) -> None:
        self._known = KnownHeads[AnswerHead](1) if known is None else known
        self._last: Pattern[AnswerHead] | None = None
        self.when_free = when_free
        self.when_lost = when_lost
        self.reused = False
        self.answered = False
        """Whether any byte of the present answer has come."""
        self.idle_since = 0.0
        self._sink: Sink | None = None
        self._closed = True
        self._method = b""
        self._reply: Reply | None = None
        """The answer that is being read, unless it came whole with a head that is known."""
        self._uploading = False
        self._switch: SwitchSink | None = None
        """Who asked for another protocol."""
        self._switched = False
        """Bytes pass as they are."""

    def __repr__(self) -> str:
        doing = "closed" if self._closed else "busy" if self._sink is not None else "idle"
        return f"<Upstream {doing}>"

    @property
    def usable(self) -> bool:
        return not self._closed and not self.transport.is_closing()

    def send(self, method: bytes, pieces: Sequence[bytes], sink: Sink, *, more: bool = False) -> None:
        """Send a request; its answer goes to `sink`. `more`: the body goes on with `write`, until `finish`."""
        self._sink = sink
        self._switch = None
        self._method = method
        self._reply = None
        self.answered = False
        self._uploading = more
        write_to(self.transport, pieces)

    def send_switch(self, head: bytes, sink: SwitchSink) -> None:
        """Send a request (without a body) for another protocol; once the worker agrees, `write` speaks that."""
        self.send(b"GET", (head,), sink)
        self._switch = sink

    def write(self, data: bytes) -> None:
        if self.usable:
            self.transport.write(data)

    def finish(self) -> None:
        """The request's body is complete."""
        self._uploading = False

    def pause(self) -> None:
        """Read no more until `resume`: the client is slower than the worker."""
        if self.usable and self.transport.is_reading():
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.usable and not self.transport.is_reading():
            self.transport.resume_reading()

    def end_writing(self) -> bool:
        """Nothing more will be written. False: this connection cannot say so and stay open."""
        if not self.usable or not self.transport.can_write_eof():
            return False
        self.transport.write_eof()
        return True

    def end(self) -> None:
        """Close, once what was written has left."""
        self._sink = None
        if not self._closed:
            self.transport.close()

    def divert(self, sink: Sink) -> None:
        """What still comes of the answer under way goes to another sink."""
        self._sink = sink

    def abandon(self) -> None:
        """Nobody wants the rest: close at once, so that the worker stops working on it."""
        self._sink = None
        if not self._closed:
            self._closed = True
            self.transport.abort()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._closed = False

    def data_received(self, data: bytes) -> None:
        if self._sink is None:  # an idle connection has nothing to say: never use it again
            self.abandon()
            return
        if self._switched:
            self._sink.on_body(data)
            self._sink.on_flush()
            return
        if self.answered:
            reply = self._reply
            if reply is not None and reply.chunks is not None and (piece := reply.chunks.whole(data)) is not None:
                self._sink.on_body(piece)
                if self._sink is not None:
                    self._sink.on_flush()
            else:
                self._feed(data)
            return
        self.answered = True
        last = self._last
        if last is not None and self._method != b"HEAD":
            body = last.body_of(data)
            if body is not None and len(data) == body[0] + body[1]:
                self._whole(last.meaning, data, *body)
                return
        parts = parted(data)
        if parts is None or len(data) != parts[1] + parts[2] or self._method == b"HEAD":
            self._feed(data)
            return
        known = self._known.find(parts[0])
        if known is not None:
            self._last = known
            self._whole(known.meaning, data, *parts[1:])
            return
        self._feed(data, learn=True)

    def _whole(self, head: AnswerHead, data: bytes, start: int, length: int) -> None:
        """An answer that came in one piece, with a head that is known."""
        assert self._sink is not None
        self._sink.on_head(head, length)
        if length and self._sink is not None:  # by now it may be another sink, or none
            self._sink.on_body(data[start:])
        self._complete(reusable=True)

    def _feed(self, data: bytes, *, learn: bool = False) -> None:
        """Read on. `learn`: it is a whole answer."""
        reply = self._reply
        if reply is None:
            reply = self._reply = Reply(self._method)
        rest = data
        try:
            if reply.head is None:
                rest = reply.read_head(data)
                if reply.head is None:
                    return
                if reply.head.status == SWITCHING:
                    self._switch_to(reply.head, rest)
                    return
                if self._sink is not None:
                    self._sink.on_head(reply.head, reply.length)
            if rest:
                reply.read_body(rest, self._take)
        except BadReply as bad:
            self._fail(f"the answer is not HTTP: {bad}")
            return
        if reply.done:
            if learn and not reply.closes and reply.length and not reply.interim:
                self._learn(data, reply.head)
            self._complete(reusable=not reply.closes)
        elif self._sink is not None:
            self._sink.on_flush()

    def _take(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.on_body(data)

    def _learn(self, data: bytes, head: AnswerHead) -> None:
        headers = [pair for pair in head.headers if pair[0] != b"content-length"]
        self._last = self._known.learn(data, AnswerHead(head.status, head.reason, headers))

    def _switch_to(self, head: AnswerHead, rest: bytes) -> None:
        """The worker speaks another protocol from here on."""
        switch = self._switch
        offered = [value.lower() for name, value in head.headers if name == b"upgrade"]
        if switch is None or offered != [b"websocket"]:
            self._fail("the worker switched protocols unasked")
            return
        self._switched = True
        switch.on_switch(head)
        if rest and self._sink is not None:
            self._sink.on_body(rest)
            self._sink.on_flush()

    def eof_received(self) -> bool:
        return self._switched and self._switch is not None and self._sink is not None and self._switch.on_worker_ended()

    def pause_writing(self) -> None:
        if self._sink is not None:
            self._sink.on_upstream_slow(True)

    def resume_writing(self) -> None:
        if self._sink is not None:
            self._sink.on_upstream_slow(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        if self._sink is not None:
            self._lost_during_answer(exc)
        elif self.when_lost is not None:
            self.when_lost(self)
        self.when_free = self.when_lost = self._switch = None

    def _lost_during_answer(self, exc: Exception | None) -> None:
        if self._switched:
            self._fail("connection reset" if exc is not None else "connection closed", ended=exc is None)
            return
        if exc is None and self._reply is not None and self._reply.until_closed:
            self._complete(reusable=False)
            return
        text = "connection reset" if exc is not None else "connection closed"
        self._fail(f"{text} in the middle of an answer" if self.answered else f"{text} before an answer")

    def _fail(self, text: str, *, ended: bool = False) -> None:
        sink = self._sink
        self.abandon()
        if sink is not None:
            sink.on_error(UpstreamError(text, ended=ended))

    def _complete(self, *, reusable: bool) -> None:
        sink, self._sink = self._sink, None
        self._reply = None
        if not reusable or self.when_free is None or self._uploading or not self.usable:
            self.abandon()
        elif self.transport.get_write_buffer_size():
            self.abandon()  # it answered before it had read the request: the rest would meet the next one
        else:
            if not self.transport.is_reading():
                self.transport.resume_reading()
            self.reused = True
            self.when_free(self)
        if sink is not None:
            sink.on_end()
