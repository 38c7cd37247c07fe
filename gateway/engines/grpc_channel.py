"""One worker's gRPC channel: how it is opened, how calls go over it, and what their failures are called.

The only module of the client side that touches gRPC itself, and it is imported by the first gRPC worker: a
gateway without one never loads the library (20 MB and a tenth of a second). Which messages go over a channel is
the adapters' affair. gRPC core keeps one connection for a channel, dials it again with backoff, and sends pings
that find a dead peer; retries are left to the data plane, which knows other workers.
"""

import ssl
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio

from gateway.engines.generation import EngineError, ErrorKind
from gateway.engines.grpc_errors import error_of

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""Of one message, as the engines' own servers allow: a prompt of a million tokens with its text takes 8 MB, its
log probabilities with twenty alternatives 200 MB."""
OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A peer that vanished is found within 40 s. Two pings at most while it is silent, and none without a call:
    # servers that were not told otherwise hang up on the third ping in five minutes.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 2),
    ("grpc.keepalive_permit_without_calls", 0),
    # A worker that is back serves within two seconds; a dead one costs a SYN every two.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # two registrations of one address share no connection
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),  # workers are reached directly, as over HTTP
)
HEALTH_METHOD = "/grpc.health.v1.Health/Check"
SERVING = 1
CLOSED = "its connection was closed: the worker was removed, or is connected to anew"


def target_of(url: str) -> tuple[str, bool]:
    """`host:port` and whether it is TLS, from a worker's URL."""
    parts = urlsplit(url)
    tls = parts.scheme in ("grpcs", "https")
    host = parts.hostname or ""
    port = parts.port or (443 if tls else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", tls


class Channel:
    """A channel to one worker. Made on the loop it is used on."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url
        self._target, self._tls = target_of(url)
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self.raw = self._open()

    def __repr__(self) -> str:
        return f"<Channel {self._target}{' TLS' if self._tls else ''}>"

    def _open(self) -> Any:
        if self._tls:
            return grpc.aio.secure_channel(self._target, grpc.ssl_channel_credentials(_trusted()), options=OPTIONS)
        return grpc.aio.insecure_channel(self._target, options=OPTIONS)

    @property
    def broken(self) -> bool:
        """Whether calls fail at once because the last attempt to connect failed, and the next is yet to come."""
        return bool(self.raw.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE)

    async def unary(self, method: Any, request: object, *, timeout_s: float, doing: str) -> Any:
        """The one answer. Raises EngineError."""
        try:
            return await method(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise error_of(error.code().name, error.details(), doing=doing) from None
        except grpc.aio.UsageError:
            raise EngineError(ErrorKind.UNAVAILABLE, CLOSED) from None

    async def stream(self, method: Any, request: object, *, timeout_s: float, doing: str) -> AsyncGenerator[Any, None]:
        """The answers as they come. Closing the iterator early cancels the call. Raises EngineError."""
        try:
            call = method(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.UsageError:
            raise EngineError(ErrorKind.UNAVAILABLE, CLOSED) from None
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise error_of(error.code().name, error.details(), doing=doing) from None
        finally:
            call.cancel()  # nothing happens where it has ended

    async def serving(self, service: str, *, timeout_s: float) -> bool:
        """What grpc.health.v1 says of a service. Raises EngineError, INVALID where it does not know the service."""
        check = self.raw.unary_unary(HEALTH_METHOD, request_serializer=_health_request, response_deserializer=bytes)
        answer = await self.unary(check, service, timeout_s=timeout_s, doing="grpc.health.v1")
        return health_status(answer) == SERVING

    async def close(self, grace_s: float | None = None) -> None:
        """Take no more calls, and close the connection when those under way have ended, at the latest after
        `grace_s` (None: at once; they fail)."""
        await self.raw.close(grace_s)


def _health_request(service: str) -> bytes:
    """`HealthCheckRequest{service = 1}`; written out, as the package that holds its stubs has nothing else."""
    name = service.encode()
    return b"\x0a%c%b" % (len(name), name) if name else b""


def health_status(answer: bytes) -> int:
    """`HealthCheckResponse{status = 1}`, an enum below 128; 0 (unknown) where there is none."""
    return answer[1] if len(answer) >= 2 and answer[0] == 0x08 else 0


def _trusted() -> bytes | None:
    """The system's certificates, as over HTTPS; gRPC core's own where the system names no file."""
    file = ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file else None
