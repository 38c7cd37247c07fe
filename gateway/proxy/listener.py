"""A client's connection: hands requests to exchanges, one after the other, and writes answers in that order.

Reading is `reader`'s; workers are the exchanges'. Here are the turns, the deadlines (a slow head, a body that
stalls, an idle connection, a request that takes too long) and flow control in both directions.
"""

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import cast

from gateway.proxy.answers import error_answer
from gateway.proxy.control import ControlExchange, Nowhere
from gateway.proxy.deadline import Deadline
from gateway.proxy.exchange import Exchange
from gateway.proxy.front import Front
from gateway.proxy.intake import Refused
from gateway.proxy.messages import Request, write_to
from gateway.proxy.opening import open_exchange
from gateway.proxy.reader import RequestReader
from gateway.proxy.relay import Relay
from gateway.proxy.routes import CONTROL, is_data
from gateway.proxy.tunnel import Tunnel
from gateway.proxy.upstream import Upstream
from gateway.workers.model import WorkerId

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
QUEUED_BYTES = 256 * 1024
"""Pipelined bytes kept behind the request under way; beyond them the connection is not read."""
LINGER_S = 5.0
"""How long what a client still sends is read and dropped after a last answer: closing at once would reset the
connection and take the answer away from it."""
_EXTRA = ("peername", "sockname", "sslcontext", "ssl_object")


class ClientConnection(asyncio.Protocol):
    """One connection of a client."""

    __slots__ = (
        "_advancing",
        "_closing",
        "_control",
        "_deadline",
        "_exchange",
        "_front",
        "_idle_s",
        "_mono",
        "_paused",
        "_pipeline_held",
        "_reader",
        "_transport",
        "_upload_held",
    )

    _transport: asyncio.Transport

    def __init__(self, front: Front) -> None:
        self._front = front
        self._mono = front.traffic.mono
        self._idle_s = front.traffic.settings.idle_timeout_s
        self._reader = RequestReader(front.traffic.settings, self._mono, front.known)
        self._deadline = Deadline(front.loop, self._mono, self._overdue)
        self._exchange: Relay | None = None
        self._control: Upstream | None = None
        self._advancing = self._closing = self._paused = self._pipeline_held = self._upload_held = False

    def __repr__(self) -> str:
        doing = "closing" if self._closing else "busy" if self._exchange is not None else "idle"
        return f"<ClientConnection {doing} · {len(self._reader.queue)} queued>"

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._front.connections.add(self)
        self._rest()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return  # lingering: read and drop
        request = self._reader.feed(data)
        if request is not None:
            if self._exchange is None and not self._paused and not self._advancing:
                self._begin(request)
                return
            self._reader.put_back(request)
        if self._exchange is not None and not self._exchange.request.complete:
            self._deadline.move(self._mono() + self._idle_s)
        self._advance()

    def eof_received(self) -> bool:
        """Whether the connection stays. A client that stops sending is taken to have left, but in a websocket."""
        return isinstance(self._exchange, Tunnel) and self._exchange.client_ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._deadline.drop()
        self._reader.stop()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_left()
        control, self._control = self._control, None
        if control is not None:
            control.abandon()
        self._front.left(self)

    def pause_writing(self) -> None:
        self._paused = True
        if self._exchange is not None:
            self._exchange.client_slow(True)

    def resume_writing(self) -> None:
        self._paused = False
        if self._exchange is not None:
            self._exchange.client_slow(False)
        else:
            self._advance()

    # --- one request at a time ---

    def _advance(self) -> None:
        """Begin what can begin, and see to reading and the deadline."""
        if self._advancing:
            return
        reader = self._reader
        self._advancing = True
        while self._exchange is None and reader.queue and not self._paused and not self._closing:
            request = reader.queue[0]
            if request.wants_continue and not request.complete:
                request.wants_continue = False
                self.writelines((CONTINUE,))
            if not request.complete and is_data(request.method, request.route):
                break
            self._begin(reader.take())
        self._advancing = False
        if self._closing:
            return
        if self._exchange is not None:
            self._hold(pipeline=bool(reader.queue) and reader.queued_bytes > QUEUED_BYTES)
            return
        if reader.refused is not None and not reader.queue:
            self._say_last(reader.refused)
            return
        self._hold(pipeline=False)
        self._rest()

    def _begin(self, request: Request) -> None:
        request.request_id = self._front.identify(request)
        if request.tunnel:
            self._exchange = Tunnel(self._front.traffic, self, request)
        elif is_data(request.method, request.route):
            request.length = len(request.gathered())
            self._exchange = open_exchange(self._front.traffic, self, request)
        elif self._front.control is None:
            self._exchange = Nowhere(self._front.traffic, self, request)
        else:
            if self._control is None or not self._control.usable:
                extra = {name: self._transport.get_extra_info(name) for name in _EXTRA}
                self._control = self._front.control.open(extra)
            self._exchange = ControlExchange(self._front.traffic, self, request, self._control)
        self._exchange.begin()

    def _say_last(self, refused: Refused) -> None:
        tally = self._front.traffic.tally
        tally.answer(CONTROL, refused.status)
        tally.refusal(refused.code)
        self.writelines((error_answer(refused.status, refused.code, refused.message),))
        self._close(linger=True)

    # --- the client as the exchange sees it (relay.Client) ---

    def writelines(self, pieces: Sequence[bytes]) -> None:
        if not self._transport.is_closing():
            write_to(self._transport, pieces)

    def done(self, *, keep: bool) -> None:
        exchange, self._exchange = self._exchange, None
        complete = exchange is None or exchange.request.complete
        if self._upload_held:
            self.hold_upload(False)
        if not (keep and complete):
            self._close(linger=not complete)
        elif self._reader.queue or self._reader.refused is not None or self._pipeline_held:
            self._advance()
        elif not self._advancing:
            self._rest()

    def cut(self, *, reset: bool) -> None:
        self._exchange = None
        if not reset:
            self._close(linger=False)
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._closing = True
        self._transport.abort()

    def end_writing(self) -> None:
        """A websocket's worker says no more (tunnel.TunnelClient)."""
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def set_deadline(self, at: float) -> None:
        self._deadline.move(at)

    def hold_upload(self, hold: bool) -> None:
        self._upload_held = hold
        self._read()

    def _hold(self, *, pipeline: bool) -> None:
        if pipeline != self._pipeline_held:
            self._pipeline_held = pipeline
            self._read()

    def _read(self) -> None:
        """Read, or do not."""
        if self._transport.is_closing():
            return
        if (self._upload_held or self._pipeline_held) and not self._closing:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # --- silence and ends ---

    def _rest(self) -> None:
        """Nothing is under way: set the deadline for what should come next."""
        reader = self._reader
        if reader.in_head:
            self._deadline.move(reader.head_began + self._front.traffic.settings.header_read_timeout_s)
        else:
            self._deadline.move(self._mono() + self._idle_s)

    def _overdue(self) -> None:
        reader = self._reader
        if self._closing or self._paused:
            self._transport.abort()
        elif self._exchange is not None and self._exchange.request.complete:
            self._exchange.overdue()
        elif reader.in_head or reader.incoming is not None:
            what = "headers" if reader.in_head else "body"
            reader.refuse(Refused(408, "request_timeout", f"the request's {what} did not arrive in time"))
            self._advance()
        else:
            self._close(linger=False)

    def _close(self, *, linger: bool) -> None:
        """Close once everything is written. `linger`: the client may still be sending."""
        self._closing = True
        self._reader.stop()
        if self._transport.is_closing():
            return
        if linger and self._transport.can_write_eof():
            self._read()
            self._transport.write_eof()
            self._deadline.move(self._mono() + LINGER_S)
        else:
            self._deadline.move(self._mono() + self._idle_s)
            self._transport.close()

    @property
    def under_way(self) -> Exchange | Tunnel | None:
        """The request on a data route that this connection has under way."""
        return self._exchange if isinstance(self._exchange, Exchange | Tunnel) else None

    def worker_silent(self, worker_id: WorkerId) -> None:
        """A worker is unhealthy and silent: move on, if it is waited for here."""
        if isinstance(self._exchange, Exchange | Tunnel):
            self._exchange.worker_silent(worker_id)

    def close_if_idle(self) -> None:
        """The gateway is stopping: close unless a request is under way or has begun to arrive."""
        reader = self._reader
        if self._exchange is None and not reader.queue and not reader.in_head and not self._closing:
            self._close(linger=False)

    def shut_down(self) -> None:
        """End now, telling the client as well as can be done."""
        if self._exchange is not None:
            self._exchange.shut_down()
        if not self._closing:
            self._close(linger=False)

    def abort(self) -> None:
        """Close without waiting for what is not yet written."""
        self._transport.abort()
