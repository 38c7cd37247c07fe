"""Connections to workers: opening them, keeping idle ones, and letting go when a worker leaves.

A pool holds idle connections only; those in use belong to their requests and come back by themselves. It is
made on the first request to a worker and closed when the worker leaves or is registered anew; what is in
flight then goes on to its end.
"""

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable
from functools import cache
from typing import Protocol
from urllib.parse import urlsplit

from gateway.proxy.known import KnownHeads
from gateway.proxy.messages import AnswerHead
from gateway.proxy.settings import ProxySettings
from gateway.proxy.upstream import Upstream, UpstreamError
from gateway.tasks import Scope
from gateway.workers.facts import Event, RegistrationRestarted, StateChanged
from gateway.workers.model import State, Worker, WorkerId


class Target:
    """Where a worker is: its address and TLS, taken from its URL once."""

    __slots__ = ("authority", "host", "port", "tls")

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.tls else 80)
        self.authority = parts.netloc.encode("latin-1", "replace")


_ERRNO = re.compile(r"\[Errno (\d+)\]")
"""asyncio puts the failures of several addresses into one text."""


@cache
def system_tls() -> ssl.SSLContext:
    """TLS by the system's trust store; made once, as loading that takes tens of milliseconds."""
    return ssl.create_default_context()


async def connect(target: Target, settings: ProxySettings, make: Callable[[], Upstream], timeout_s: float) -> Upstream:
    """Open a connection. Raises UpstreamError with a short reason."""
    loop = asyncio.get_running_loop()
    try:
        tls = (settings.worker_tls or system_tls)() if target.tls else None
        async with asyncio.timeout(timeout_s):
            _, upstream = await loop.create_connection(make, target.host, target.port, ssl=tls)
    except TimeoutError:
        raise UpstreamError(f"no connection within {timeout_s:g} s", timeout=True) from None
    except (OSError, ssl.SSLError, UnicodeError) as error:
        raise UpstreamError(connect_text(error, target.host)) from None
    return upstream


def connect_text(error: Exception, host: str) -> str:
    """Why no connection came about, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(getattr(error, 'reason', None) or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"cannot resolve host: {host}"
    code = getattr(error, "errno", None)
    codes = [int(number) for number in _ERRNO.findall(str(error))] if code is None else [int(code)]
    return ", ".join(os.strerror(code).lower() for code in sorted(set(codes))) or str(error) or type(error).__name__


ANSWER_HEADS = 8
"""Kept per worker: they hold a date, so each is good for a second."""


class Dial(Protocol):
    """An attempt to connect that can be called off."""

    def cancel(self) -> object: ...


class Pool:
    """Idle connections to one worker; the one used last is used next, so that spare ones age and go."""

    __slots__ = (
        "_closed",
        "_idle",
        "_known",
        "_loop",
        "_scope",
        "_settings",
        "_timer",
        "authority",
        "revision",
        "target",
    )

    def __init__(self, worker: Worker, settings: ProxySettings, scope: Scope) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._scope = scope
        self._idle: dict[Upstream, None] = {}  # ordered by when they came back, the oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._known = KnownHeads[AnswerHead](ANSWER_HEADS)
        self.revision = worker.revision
        self.target = Target(worker.url)
        self.authority = self.target.authority

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> Upstream | None:
        """An idle connection that looks alive."""
        while self._idle:
            upstream, _ = self._idle.popitem()
            if upstream.usable:
                return upstream
        return None

    def dial(self, opened: Callable[[Upstream], None], failed: Callable[[UpstreamError], None]) -> Dial:
        """Open a connection and call `opened` or `failed`; neither is called once the dial was cancelled."""
        return self._scope.spawn(self._dial(opened, failed), name=f"dial {self.target.host}:{self.target.port}")

    async def _dial(self, opened: Callable[[Upstream], None], failed: Callable[[UpstreamError], None]) -> None:
        make = lambda: Upstream(self._give_back, self._forget, self._known)  # noqa: E731 - a factory, as create_connection wants
        try:
            upstream = await connect(self.target, self._settings, make, self._settings.connect_timeout_s)
        except UpstreamError as error:
            failed(error)
        else:
            opened(upstream)

    def _give_back(self, upstream: Upstream) -> None:
        if self._closed or len(self._idle) >= self._settings.pool_max_idle:
            upstream.abandon()
            return
        upstream.idle_since = self._loop.time()
        self._idle[upstream] = None
        if self._timer is None:
            self._timer = self._loop.call_later(self._settings.pool_idle_timeout_s, self._expire)

    def _forget(self, upstream: Upstream) -> None:
        self._idle.pop(upstream, None)

    def _expire(self) -> None:
        """Close what has been idle for too long, and come back for the next."""
        self._timer = None
        now, most = self._loop.time(), self._settings.pool_idle_timeout_s
        for upstream in list(self._idle):
            left = upstream.idle_since + most - now
            if left > 0:
                self._timer = self._loop.call_later(left + 0.001, self._expire)
                return
            del self._idle[upstream]
            upstream.abandon()

    def close(self) -> None:
        """Close the idle ones and keep no more; those in use go on to the end of their answers."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for upstream in self._idle:
            upstream.abandon()
        self._idle.clear()


class Pools:
    """The pool of each worker that got a request. Give `heed` to `Registry.watch`."""

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._pools: dict[WorkerId, Pool] = {}
        self._scope = Scope("upstream")

    def __len__(self) -> int:
        return len(self._pools)

    def of(self, worker: Worker) -> Pool:
        """The pool for this revision of a listed worker."""
        pool = self._pools.get(worker.id)
        if pool is None or pool.revision != worker.revision:
            if pool is not None:
                pool.close()
            pool = self._pools[worker.id] = Pool(worker, self._settings, self._scope)
        return pool

    def heed(self, event: Event) -> None:
        """Close the pool of a worker that left or is registered anew."""
        fact = event.fact
        if isinstance(fact, RegistrationRestarted) or (isinstance(fact, StateChanged) and fact.new is State.GONE):
            pool = self._pools.pop(fact.worker, None)
            if pool is not None:
                pool.close()

    async def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        await self._scope.close()
