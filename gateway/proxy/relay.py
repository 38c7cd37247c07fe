"""Writing one answer to a client while it arrives: its head, its framing, and how it ends or breaks.

Knows no sockets: the client is a small interface, so that this is tested without them. What the answer means
for a worker is `exchange`'s, and the control API's part is `control`'s.

A piece leaves in the same step of the loop it came in: all that one read brought is one write (and one chunk).
"""

from collections.abc import Sequence
from typing import Protocol

from gateway.proxy.answers import error_answer, sse_error
from gateway.proxy.messages import LAST_CHUNK, AnswerHead, Request, bodiless
from gateway.proxy.traffic import Traffic
from gateway.proxy.upstream import UpstreamError


class Client(Protocol):
    """The side of the one who asked. It calls nothing back after `done` or `cut`."""

    def writelines(self, pieces: Sequence[bytes]) -> None: ...

    def done(self, *, keep: bool) -> None:
        """The answer is complete; `keep`: the connection may carry another request."""

    def cut(self, *, reset: bool) -> None:
        """Close, since the answer cannot be completed. `reset`: a plain close would look like its end."""

    def set_deadline(self, at: float) -> None:
        """Call `overdue` at this monotonic time; `math.inf`: never."""

    def hold_upload(self, hold: bool) -> None:
        """Read no more of the request's body; then again do."""


class Relay:
    """One request's answer on its way to the client. The client's side calls the methods without underscore."""

    __slots__ = (
        "_chunked",
        "_delimited",
        "_head",
        "_mid_event",
        "_pieces",
        "client",
        "keep",
        "over",
        "request",
        "route_name",
        "sent",
        "status",
        "streams",
        "traffic",
    )

    def __init__(self, traffic: Traffic, client: Client, request: Request, route_name: str) -> None:
        self.traffic = traffic
        self.client = client
        self.request = request
        self.route_name = route_name
        self.status = 0
        self.keep = request.keep_alive
        self.streams = False
        """The answer is a stream of server-sent events."""
        self.sent = False
        """Part of the answer has gone out: it can no longer become another one."""
        self.over = False
        self._head = b""
        self._pieces: list[bytes] = []
        self._chunked = False
        self._delimited = False
        self._mid_event = False

    # --- the client's side ---

    def begin(self) -> None:
        raise NotImplementedError

    def client_left(self) -> None:
        """Nobody waits for the answer any more."""
        if not self.over:
            self.over = True
            self.traffic.tally.client_left += 1
            self._let_go()

    def client_slow(self, slow: bool) -> None:
        """The client reads more slowly than the answer comes; then again not."""
        raise NotImplementedError

    def overdue(self) -> None:
        """The deadline passed."""
        seconds = self.traffic.settings.request_timeout_s
        self.on_error(UpstreamError(f"no complete answer within {seconds:g} s", timeout=True))

    def shut_down(self) -> None:
        """The gateway stops now: end the answer as well as can be done."""
        if not self.over:
            self._let_go()
            self._break(503, "gateway_stopping", "the gateway is shutting down")

    # --- the answer ---

    def _open(self, head: AnswerHead, length: int | None, own: bytes) -> None:
        """Make the head; it goes out with the first piece of the body, or with the next flush."""
        request = self.request
        self.status = head.status
        if self.traffic.stopping:
            self.keep = False
        if length:
            own += b"content-length: %d\r\n" % length
        elif bodiless(head.status, request.method):
            announced = [value for name, value in head.headers if name == b"content-length"]
            if announced and head.status != 204:
                own += b"content-length: %b\r\n" % announced[0]
        elif length is not None:
            own += b"content-length: 0\r\n"
        elif request.http10:
            self._delimited, self.keep = True, False
        else:
            self._chunked = True
            own += b"transfer-encoding: chunked\r\n"
        if not self.keep:
            own += b"connection: close\r\n"
        elif request.http10:
            own += b"connection: keep-alive\r\n"
        self._head = b"%b%b\r\n" % (head.passing, own)

    def _start_over(self) -> None:
        """What was opened will not be the answer; nothing of it has gone out."""
        self._head, self._pieces = b"", []
        self._chunked = self._delimited = self._mid_event = self.streams = False
        self.keep = self.request.keep_alive

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_flush(self) -> None:
        if self._head or self._pieces:
            self.sent = True
            self.client.writelines(self._framed())

    def _framed(self) -> list[bytes]:
        """What is to go out now."""
        pieces = self._pieces
        out = [self._head] if self._head else []
        self._head = b""
        if pieces:
            self._pieces = []
            if self.streams:
                self._mid_event = not _ends_event(pieces[-1])
            if self._chunked:
                out.append(b"%x\r\n" % (len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))))
                out += pieces
                out.append(b"\r\n")
            else:
                out += pieces
        return out

    def on_end(self) -> None:
        """The worker's answer is complete."""
        if self.over:
            return
        self.over = self.sent = True
        out = self._framed()
        if self._chunked:
            out.append(LAST_CHUNK)
        self.traffic.tally.answer(self.route_name, self.status)
        self._settled()
        if out:
            self.client.writelines(out)
        self.client.done(keep=self.keep)

    def on_error(self, error: UpstreamError) -> None:
        raise NotImplementedError

    def _settled(self) -> None:
        """The answer is complete: do the accounts."""

    def _let_go(self) -> None:
        """Stop what was begun for this request, without a word to the client."""
        raise NotImplementedError

    # --- answers of the gateway's own ---

    def _refuse(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        worker: bytes = b"",
        retry_after: bytes = b"",
    ) -> None:
        """Answer with an error; nothing has gone out so far."""
        self.over = self.sent = True
        self.keep = self.keep and not self.traffic.stopping
        self.traffic.tally.answer(self.route_name, status)
        self.traffic.tally.refusal(code)
        answer = error_answer(
            status,
            code,
            message,
            param=param,
            request_id=self.request.request_id,
            worker=worker,
            retry_after=retry_after,
            keep_alive=self.keep,
            head_only=self.request.method == b"HEAD",
        )
        self.client.writelines((answer,))
        self.client.done(keep=self.keep)

    def _break(self, status: int, code: str, message: str, worker: bytes = b"") -> None:
        """The answer will not be completed: refuse while that is possible, else make sure the client notices."""
        if not self.sent:
            self._start_over()
            self._refuse(status, code, message, worker=worker)
            return
        self.over = True
        self.traffic.tally.answer(self.route_name, status)
        self.traffic.tally.refusal(code)
        if self.streams and (self._chunked or self._delimited):
            mid_event = not _ends_event(self._pieces[-1]) if self._pieces else self._mid_event
            event = sse_error(status, code, message, mid_event=mid_event, route=self.request.route)
            self._pieces.append(event)
            self.client.writelines((*self._framed(), LAST_CHUNK) if self._chunked else self._framed())
            self.client.done(keep=self.keep)
        else:
            self.client.cut(reset=self._delimited)


def _ends_event(piece: bytes) -> bool:
    return piece.endswith((b"\n\n", b"\r\n\r\n"))
