"""A gateway reached over its control API, by URL or Unix socket: readings, commands and the event stream.

What goes wrong is a `GatewayError` with the gateway's own code and sentence, or `Unreachable` when there was no
answer. Reading JSON is here; what it means is the callers'. Where gateways are found is `targets`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from gateway.errors import BadRequest, Conflict, GatewayError, ReadOnly, WorkerExists, WorkerNotFound
from smg_console.targets import Target

TIMEOUT_S = 15.0
SILENCE_S = 45.0
"""A stream that has not even said that it is still there, every 15 s, is taken for lost."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0
LARGEST_EVENT = 64 * 1024 * 1024

Params = Mapping[str, str | int | float]


class Unreachable(GatewayError):
    """There was no answer: nobody listens, the connection broke, or it took too long."""

    code = "GATEWAY_UNREACHABLE"
    status = 503


class Unauthorized(GatewayError):
    """The gateway wants a key, or another one."""

    code = "UNAUTHORIZED"
    status = 401


class Refused(GatewayError):
    """Any other refusal; `code` and `status` are the gateway's."""

    def __init__(self, message: str, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


_KINDS: dict[str, type[GatewayError]] = {
    kind.code: kind for kind in (BadRequest, WorkerNotFound, WorkerExists, Conflict, ReadOnly, Unauthorized)
}


@dataclass(frozen=True, slots=True)
class Received:
    """One event of the stream. `data` is its JSON; `id` is empty for what is not in the journal (meters)."""

    name: str
    id: str
    data: Any


class GatewayClient:
    """A gateway's control API. An async context manager.

    `actor` is who the gateway's journal names for commands, such as `cli:anna`; `api_key` is sent as a Bearer token.
    """

    def __init__(
        self, target: Target, *, api_key: str | None = None, actor: str = "", timeout_s: float = TIMEOUT_S
    ) -> None:
        self.target = target
        self._api_key = api_key
        self._actor = actor
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"User-Agent": "smg-console"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        if self._actor:
            headers["X-SMG-Actor"] = self._actor
        connector = aiohttp.UnixConnector(self.target.path) if self.target.path else aiohttp.TCPConnector()
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def get_json(self, path: str, params: Params | None = None) -> Any:
        """The JSON that a reading is answered with. Raises GatewayError."""
        return await self._asked("GET", path, None, params)

    async def command(self, method: str, path: str, body: object = None, params: Params | None = None) -> Any:
        """The JSON that a command (POST, PUT, PATCH, DELETE) is answered with. Raises GatewayError."""
        return await self._asked(method, path, body, params)

    async def _asked(self, method: str, path: str, body: object, params: Params | None) -> Any:
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._open().request(
                method, self.target.base + path, data=data, params=params, headers=_JSON, allow_redirects=False
            ) as answer:
                raw = await answer.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{self.target} {_why(error)}") from None
        value = _decoded(raw)
        if answer.status >= 300:
            raise refusal(answer.status, value, self.target)
        if value is None and raw.strip() != b"null":
            raise Unreachable(f"{self.target} answered something that is not JSON; is it a gateway?")
        return value

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client inside `async with`")
        return self._session

    async def events(
        self, *, after: str = "", params: Params | None = None, silence_s: float = SILENCE_S
    ) -> AsyncIterator[Received]:
        """One connection to the event stream, until it ends. Raises GatewayError, `Unreachable` when it is lost.

        `after` is the id of the last event seen: what followed it comes next. A `snapshot` comes first without it,
        if the gateway was restarted since, and in between whenever this reader was too slow for the journal. A
        normal end means that the gateway is stopping.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout.total, sock_read=silence_s)
        try:
            async with self._open().get(
                f"{self.target.base}/events", params=params, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise refusal(answer.status, _decoded(await answer.read()), self.target)
                async for message in _messages(answer.content):
                    yield message
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{self.target} {_why(error)}") from None

    async def follow(self, *, after: str = "", params: Params | None = None) -> AsyncIterator[Received]:
        """The event stream for ever: lost connections are taken up again where they ended, with growing pauses.

        Raises GatewayError for a refusal, which would only be repeated.
        """
        pauses = Pauses(Random())
        while True:
            try:
                async for message in self.events(after=after, params=params):
                    pauses.begin_again()
                    after = message.id or after
                    yield message
            except Unreachable:
                pass
            await asyncio.sleep(pauses.next())


class Pauses:
    """How long to wait before each further attempt: doubling, spread by chance, until one succeeds. In seconds."""

    def __init__(self, rng: Random, first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S) -> None:
        self._rng = rng
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def next(self) -> float:
        pause_s = self._next_s
        self._next_s = min(pause_s * 2, self._longest_s)
        return pause_s * self._rng.uniform(0.75, 1.0)

    def begin_again(self) -> None:
        """It worked: the next failure is the first."""
        self._next_s = self._first_s


_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


def refusal(status: int, body: object, target: Target) -> GatewayError:
    """The error that an answer stands for: control routes say `error` and `code`, others say it as OpenAI does."""
    found: Any = body if isinstance(body, dict) else {}
    inner = found.get("error")
    if isinstance(inner, dict):
        text, code = inner.get("message"), inner.get("code") or inner.get("type")
    else:
        text, code = inner or found.get("message") or found.get("reason"), found.get("code")
    text = text if isinstance(text, str) and text else f"{target} answered {status}"
    code = code if isinstance(code, str) and code else Unauthorized.code if status in (401, 403) else f"HTTP_{status}"
    kind = _KINDS.get(code)
    return kind(text) if kind is not None else Refused(text, code, status)


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _why(error: Exception) -> str:
    """Why there was no answer, as the end of a sentence that begins with who was asked."""
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError | ConnectionResetError):
        return "broke the connection off"
    cause = error.os_error if isinstance(error, aiohttp.ClientOSError) and hasattr(error, "os_error") else error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "cannot be reached: the name does not resolve"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return f"cannot be trusted: {error}"
    if isinstance(cause, ConnectionRefusedError):
        return "cannot be reached: connection refused"
    if isinstance(cause, FileNotFoundError):
        return "cannot be reached: there is no such socket"
    if isinstance(cause, PermissionError):
        return "cannot be opened: it belongs to another user"
    if isinstance(cause, OSError) and cause.strerror:
        return f"cannot be reached: {cause.strerror.lower()}"
    return f"cannot be reached: {error or type(error).__name__}"


async def _messages(content: aiohttp.StreamReader) -> AsyncIterator[Received]:
    """The stream's events; comments, which say that it is still there, are left out."""
    kept = bytearray()
    async for piece in content.iter_any():
        seen = max(0, len(kept) - 1)
        kept += piece
        if len(kept) > LARGEST_EVENT:
            raise aiohttp.ClientPayloadError("an event is larger than any gateway's")
        if kept.find(b"\n\n", seen) < 0:
            continue
        *blocks, rest = bytes(kept).split(b"\n\n")
        kept = bytearray(rest)
        for block in blocks:
            if (message := _message(block)) is not None:
                yield message


def _message(block: bytes) -> Received | None:
    name = event_id = ""
    data = b""
    for line in block.split(b"\n"):
        member, _, value = line.partition(b": ")
        if member == b"event":
            name = value.decode()
        elif member == b"id":
            event_id = value.decode()
        elif member == b"data":
            data = value
    return Received(name, event_id, msgspec.json.decode(data)) if data else None
