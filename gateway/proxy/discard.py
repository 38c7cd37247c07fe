"""Takes the rest of an answer that nobody will see, so that its connection can be used again; not of a long one."""

from gateway.proxy.messages import AnswerHead
from gateway.proxy.upstream import Answering, UpstreamError

MOST_BYTES = 64 * 1024


class Discard:
    """A Sink."""

    def __init__(self, upstream: Answering) -> None:
        self._upstream = upstream
        self._left = MOST_BYTES

    def on_head(self, head: AnswerHead, length: int | None) -> None:
        """The head was what it was discarded for."""

    def on_body(self, data: bytes) -> None:
        self._left -= len(data)

    def on_flush(self) -> None:
        if self._left < 0:
            self._upstream.abandon()

    def on_end(self) -> None:
        """The connection is free."""

    def on_error(self, error: UpstreamError) -> None:
        """It would have been thrown away in any case."""

    def on_upstream_slow(self, slow: bool) -> None:
        """The body was whole when it was sent."""
