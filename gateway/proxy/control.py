"""The control API on the data plane's port: aiohttp's own server protocol, reached through memory.

To the proxy it is one more upstream, with streamed uploads and without a worker's accounts. aiohttp is told
of a client that left by a lost connection, and of a slow one by `pause_writing`, so a handler is cancelled or
waits in `await response.write()` as it would on a socket.

`request.remote` and `get_extra_info("peername")` are the real client's; the header `x-request-id` of each
request is the one the client gets back.
"""

from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from gateway.proxy.memory import connect_in_memory
from gateway.proxy.messages import LAST_CHUNK, AnswerHead, Request, chunk, request_head
from gateway.proxy.relay import Client, Relay
from gateway.proxy.routes import CONTROL
from gateway.proxy.traffic import Traffic
from gateway.proxy.upstream import Upstream, UpstreamError

if TYPE_CHECKING:
    from aiohttp import web


class ControlDoor(Protocol):
    """A way to the control API for one client connection."""

    def open(self, extra: dict[str, Any]) -> Upstream:
        """A new connection; `extra` is what handlers find as `get_extra_info` of their transport."""
        ...


class ControlApp:
    """Runs an aiohttp application without a socket. An async context manager; a `ControlDoor` while open."""

    def __init__(self, app: "web.Application") -> None:
        self._app = app
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        from aiohttp import web

        self._runner = web.AppRunner(self._app, handler_cancellation=True, access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def open(self, extra: dict[str, Any]) -> Upstream:
        if self._runner is None or self._runner.server is None:
            raise RuntimeError("the control API is not running")
        upstream = Upstream(when_free=_stay)
        connect_in_memory(upstream, self._runner.server, extra)
        return upstream


def _stay(upstream: Upstream) -> None:
    """The client's connection keeps its way to the control API."""


class ControlExchange(Relay):
    """One request to the control API. It may begin while the request's body is still coming."""

    __slots__ = ("_upstream",)

    def __init__(self, traffic: Traffic, client: Client, request: Request, upstream: Upstream) -> None:
        super().__init__(traffic, client, request, CONTROL)
        self._upstream: Upstream | None = upstream

    def begin(self) -> None:
        request, upstream = self.request, self._upstream
        assert upstream is not None
        self.client.set_deadline(inf)
        if not request.complete:
            request.taker = self
            self.client.set_deadline(self.traffic.mono() + self.traffic.settings.idle_timeout_s)
        head = request_head(request, request.fields.get(b"host", b""))
        upstream.send(request.method, (head,), self, more=not request.complete)
        if kept := request.taken():
            self.on_upload(kept)
        if request.complete:
            self.on_upload_end()

    def upload_broken(self, status: int, code: str, message: str) -> None:
        """The rest of the body will not come."""
        if not self.over:
            self._let_go()
            self.keep = False
            self._break(status, code, message)

    def on_upload(self, data: bytes) -> None:
        if self._upstream is not None:
            self._upstream.write(data if self.request.length is not None else chunk(data))

    def on_upload_end(self) -> None:
        if self._upstream is not None:
            if self.request.length is None:
                self._upstream.write(LAST_CHUNK)
            self._upstream.finish()
        self.client.set_deadline(inf)

    def client_slow(self, slow: bool) -> None:
        if self._upstream is not None:
            if slow:
                self._upstream.pause()
            else:
                self._upstream.resume()

    def on_upstream_slow(self, slow: bool) -> None:
        if not (slow and self.request.complete):
            self.client.hold_upload(slow)

    def on_head(self, head: AnswerHead, length: int | None) -> None:
        self._open(head, length, b"x-request-id: %b\r\n" % self.request.request_id)

    def _settled(self) -> None:
        self._upstream = None
        self.keep = self.keep and self.request.complete

    def on_error(self, error: UpstreamError) -> None:
        if not self.over:
            self._let_go()
            self._break(500, "internal_error", f"the control API did not answer: {error}")

    def _let_go(self) -> None:
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None


class Nowhere(Relay):
    """A request for which there is neither a worker's route nor a control API."""

    __slots__ = ()

    def __init__(self, traffic: Traffic, client: Client, request: Request) -> None:
        super().__init__(traffic, client, request, CONTROL)

    def begin(self) -> None:
        request = self.request
        url = f"{request.method.decode()} {request.route[:200].decode('latin-1')}"
        self.keep = self.keep and request.complete
        self._refuse(404, "unknown_url", f"Invalid URL ({url})")

    def client_slow(self, slow: bool) -> None:
        """The answer is short, and already written."""

    def on_error(self, error: UpstreamError) -> None:
        """There is no upstream that could fail."""

    def _let_go(self) -> None:
        """Nothing was begun."""
