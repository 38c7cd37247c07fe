"""How the control loops ask a worker something over HTTP: the port they need, without the sockets behind it.

The data plane's upstream client implements `Ask`, so probes, discovery and load polls take the way that
requests take (address, TLS, key), and tests pass a function.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from gateway.workers.model import Worker


class Unreachable(Exception):
    """No HTTP answer came: refused, reset, timed out, not HTTP. The message is short and for people."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a repeated header the last."""
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> object:
        """The decoded body. Raises ValueError where it is not JSON, or nested deeper than anybody means."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ValueError("not JSON") from None


class Ask(Protocol):
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
        """One request to the worker with its own key. Raises `Unreachable`; never retries."""
        ...
