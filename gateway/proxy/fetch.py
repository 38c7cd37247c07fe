"""The control loops' way to ask a worker something: one request on a connection of its own.

Each question dials anew, deliberately: a kept connection may outlive the listener it once reached, and a
probe over it would call a worker healthy that takes no new connections. Never retries.
"""

import asyncio

from gateway.proxy.messages import AnswerHead, Headers
from gateway.proxy.pool import Target, connect
from gateway.proxy.settings import ProxySettings
from gateway.proxy.upstream import Upstream, UpstreamError
from gateway.workers.ask import Answer, Unreachable
from gateway.workers.model import Worker


class Fetch:
    """Implements `gateway.workers.ask.Ask`."""

    def __init__(self, settings: ProxySettings | None = None) -> None:
        self._settings = settings or ProxySettings()

    async def __call__(
        self,
        worker: Worker,
        method: str,
        path: str,
        *,
        timeout_s: float,
        body: bytes = b"",
        max_bytes: int = 8 * 1024 * 1024,
    ) -> Answer:
        """One request with the worker's own key. Raises Unreachable; `timeout_s` holds for the whole."""
        target = Target(worker.url)
        upstream: Upstream | None = None
        try:
            async with asyncio.timeout(timeout_s):
                upstream = await connect(target, self._settings, Upstream, timeout_s)
                whole = _Whole(asyncio.get_running_loop().create_future(), max_bytes)
                upstream.send(method.encode(), (_head(worker, target, method, path, body), body), whole)
                return await whole.answer
        except TimeoutError:
            raise Unreachable(f"no answer within {timeout_s:g} s") from None
        except UpstreamError as error:
            raise Unreachable(f"no answer within {timeout_s:g} s" if error.timeout else str(error)) from None
        finally:
            if upstream is not None:
                upstream.abandon()


def _head(worker: Worker, target: Target, method: str, path: str, body: bytes) -> bytes:
    lines = [
        b"%b %b HTTP/1.1\r\nhost: %b\r\naccept: */*\r\nconnection: close\r\n"
        % (method.encode(), path.encode(), target.authority)
    ]
    if worker.spec.api_key is not None:
        lines.append(b"authorization: Bearer %b\r\n" % worker.spec.api_key.reveal().encode())
    if body:
        lines.append(b"content-type: application/json\r\n")
    if body or method not in ("GET", "HEAD"):
        lines.append(b"content-length: %d\r\n" % len(body))
    lines.append(b"\r\n")
    return b"".join(lines)


class _Whole:
    """Collects an answer."""

    def __init__(self, answer: asyncio.Future[Answer], max_bytes: int) -> None:
        self.answer = answer
        self._max_bytes = max_bytes
        self._status = 0
        self._headers: Headers = []
        self._body = bytearray()

    def on_head(self, head: AnswerHead, length: int | None) -> None:
        self._status = head.status
        self._headers = head.headers

    def on_body(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._max_bytes:
            self._body.clear()
            self.on_error(UpstreamError(f"the answer is larger than {self._max_bytes} bytes"))

    def on_flush(self) -> None:
        """Nothing goes out in parts."""

    def on_end(self) -> None:
        if not self.answer.done():
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._headers}
            self.answer.set_result(Answer(self._status, headers, bytes(self._body)))

    def on_error(self, error: UpstreamError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def on_upstream_slow(self, slow: bool) -> None:
        """Questions are short."""
