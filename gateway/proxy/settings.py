"""What can be set about the proxy: sizes in bytes, times in seconds. Values only; flags are `gateway.settings`'."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.proxy.admission import AdmissionSettings
from gateway.proxy.retry import RETRY_STATUSES, RetrySettings

REQUEST_ID_HEADERS = ("x-request-id", "x-correlation-id", "x-trace-id", "request-id")


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Limits and timeouts of the data plane."""

    max_payload_bytes: int = 512 * 1024 * 1024
    """Largest request body; a larger one is answered 413."""
    max_head_bytes: int = 64 * 1024
    """Largest request line and headers together; a larger head is answered 431."""
    header_read_timeout_s: float = 30.0
    """From the first byte of a request until the end of its headers; stops clients that drip."""
    idle_timeout_s: float = 90.0
    """A client connection without a request, and a request body of which nothing comes, is closed after this."""
    request_timeout_s: float = 1800.0
    """The whole request, from its last byte in until the answer's last byte out."""
    connect_timeout_s: float = 10.0
    """Opening a connection to a worker, TLS included."""
    pool_max_idle: int = 256
    """Idle connections kept per worker; fewer than the usual concurrency means dialling on every burst."""
    pool_idle_timeout_s: float = 3.0
    """An idle worker connection is closed after this: less than the 5 s after which uvicorn closes its end."""
    request_id_headers: tuple[str, ...] = REQUEST_ID_HEADERS
    """Where a client's own request id is looked for; the first that is present and sound counts."""
    worker_tls: Callable[[], ssl.SSLContext] | None = None
    """Makes the TLS context for https workers; None: the system's trust store."""
    first_byte_timeout_s: float = 0.0
    """From sending a request until the worker's first byte, after which another worker is asked; 0: any time.
    An answer that is not streamed comes as a whole, so this would have to be longer than the longest of them."""
    stream_idle_timeout_s: float = 300.0
    """Between two pieces of an answer."""
    websocket_idle_timeout_s: float = 0.0
    """A WebSocket over which nothing goes in either direction is closed after this; 0: never."""
    worker_stall_s: float = 5.0
    """A worker with requests in flight of which nothing comes for this long is probed; 0: never."""
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    retry_statuses: frozenset[int] = RETRY_STATUSES
    """Statuses of a worker that send the request to another one."""
