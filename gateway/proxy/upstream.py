"""A connection to a worker (or to the control API): one request at a time, its answer as it arrives.

Bytes in, bytes out; whoever sends a request gets the answer through a `Sink`. Which worker, what an outcome
means and who is told is the exchange's; opening and keeping connections is the pool's.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import httptools

from gateway.proxy.known import KnownHeads, Pattern, parted
from gateway.proxy.messages import AnswerHead, Headers, bodiless, write_to

_NO_HEAD = -1
"""In place of a body's length, while the head has not come."""


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
        "_done",
        "_ends",
        "_headers",
        "_known",
        "_last",
        "_learning",
        "_length",
        "_method",
        "_parser",
        "_reason",
        "_sink",
        "_status",
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
    _parser: httptools.HttpResponseParser | None

    def __init__(
        self,
        when_free: Callable[["Upstream"], None] | None = None,
        when_lost: Callable[["Upstream"], None] | None = None,
        known: KnownHeads[AnswerHead] | None = None,
    ) -> None:
        self._known = KnownHeads[AnswerHead](1) if known is None else known
        self._learning = b""
        """The answer that is being read, if it came in one piece."""
        self._last: Pattern[AnswerHead] | None = None
        self._status = 0
        self.when_free = when_free
        self.when_lost = when_lost
        self.reused = False
        self.answered = False
        """Whether any byte of the present answer has come."""
        self.idle_since = 0.0
        self._sink: Sink | None = None
        self._closed = True
        self._parser = httptools.HttpResponseParser(self)
        self._method = b""
        self._headers: Headers = []
        self._reason = b""
        self._length: int | None = _NO_HEAD
        self._done = False
        self._ends = False
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
        self.answered = self._done = self._ends = False
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
        parser = self._parser
        if self._sink is None or parser is None:  # an idle connection has nothing to say: never use it again
            self.abandon()
            return
        if self._switched:
            self._sink.on_body(data)
            self._sink.on_flush()
            return
        if self.answered:
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
        self._learning = data
        self._feed(data)
        self._learning = b""

    def _whole(self, head: AnswerHead, data: bytes, start: int, length: int) -> None:
        """An answer that came in one piece, with a head that is known."""
        assert self._sink is not None
        self._sink.on_head(head, length)
        if length and self._sink is not None:  # by now it may be another sink, or none
            self._sink.on_body(data[start:])
        self._complete(reusable=True)

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        assert parser is not None
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch_to(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self._done:
                self._fail(f"the answer is not HTTP: {error.__context__ or error}")
            else:
                self._complete(reusable=False)
        else:
            if self._done:
                if self._learning and self._sink is not None and not self._ends and self._length:
                    self._learn(self._learning)
                self._complete(reusable=not self._ends)
            elif self._sink is not None:
                self._sink.on_flush()

    def _switch_to(self, rest: bytes) -> None:
        """The worker speaks another protocol from here on."""
        switch = self._switch
        offered = [value.lower() for name, value in self._headers if name == b"upgrade"]
        if switch is None or offered != [b"websocket"]:
            self._fail("the worker switched protocols unasked")
            return
        self._switched = True
        self._length = None  # as an answer that lasts until the connection ends
        switch.on_switch(AnswerHead(101, self._reason, self._headers))
        if rest and self._sink is not None:
            self._sink.on_body(rest)
            self._sink.on_flush()

    def _learn(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 %d " % self._status):  # else an interim answer stood before this one
            headers = [pair for pair in self._headers if pair[0] != b"content-length"]
            self._last = self._known.learn(data, AnswerHead(self._status, self._reason, headers))

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
        self._parser = None  # it refers back to this object
        self.when_free = self.when_lost = self._switch = None

    def _lost_during_answer(self, exc: Exception | None) -> None:
        if self._switched:
            self._fail("connection reset" if exc is not None else "connection closed", ended=exc is None)
            return
        began = self._length != _NO_HEAD
        if exc is None and began and self._length is None and not self._chunked():
            self._complete(reusable=False)  # a body that ends with its connection
            return
        text = "connection reset" if exc is not None else "connection closed"
        self._fail(f"{text} in the middle of an answer" if self.answered else f"{text} before an answer")

    def _chunked(self) -> bool:
        codings = [value for name, value in self._headers if name == b"transfer-encoding"]
        return bool(codings) and codings[-1].lower().rstrip().endswith(b"chunked")

    def _fail(self, text: str, *, ended: bool = False) -> None:
        sink = self._sink
        self.abandon()
        if sink is not None:
            sink.on_error(UpstreamError(text, ended=ended))

    def _complete(self, *, reusable: bool) -> None:
        sink, self._sink = self._sink, None
        self._length = _NO_HEAD
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

    # --- httptools callbacks, from within feed_data: nothing may start a new request here ---

    def on_message_begin(self) -> None:
        if self._done:
            self._ends = True
            return
        self._headers = []
        self._reason = b""
        self._length = _NO_HEAD

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._length == _NO_HEAD:  # else a trailer, which ends here
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser, sink = self._parser, self._sink
        if parser is None or sink is None or self._done:
            return
        status = parser.get_status_code()
        if status < 200:  # an interim answer; the real one follows
            return
        length = None
        for name, value in self._headers:
            if name == b"content-length":
                length = int(value)
        self._status = status
        empty = bodiless(status, self._method)
        self._length = 0 if empty else length
        sink.on_head(AnswerHead(status, self._reason, self._headers), length if not empty else 0)
        if empty and self._method == b"HEAD":  # the parser cannot be told that no body follows
            self._done = self._ends = True

    def on_body(self, data: bytes) -> None:
        if self._sink is not None and not self._done:
            self._sink.on_body(data)

    def on_message_complete(self) -> None:
        if self._length != _NO_HEAD and not self._done and self._parser is not None:
            self._done = True
            self._ends = not self._parser.should_keep_alive()  # llhttp forgets it once this returns
