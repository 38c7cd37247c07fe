"""A reflector watching the test API server over a socket, and waiting for what it should come to know."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from gateway.kubernetes.access import Access, Credentials, Source
from gateway.kubernetes.reflector import Pace, Reflector
from tests.kube.cluster import Cluster
from tests.kube.server import Server

HURRIED = Pace(
    watch_s=(20.0, 30.0), silence_s=10.0, audit_s=600.0, settle_s=0.1, first_backoff_s=0.02, most_backoff_s=0.1
)
"""Lists only when something asks for one: what a test sees then is the watch's work."""


class Fixed:
    """Credentials that a test changes."""

    description = "the test"

    def __init__(self, server: str, token: str | None = None) -> None:
        self.server = server
        self.token = token
        self.loads = 0

    async def load(self, *, again: bool) -> Credentials:
        self.loads += 1
        return Credentials(self.server, "the test", f"Bearer {self.token}" if self.token else None)


def reflector(
    source: Source, *, namespace: str | None = None, selector: str = "app=sglang", pace: Pace = HURRIED
) -> Reflector:
    access = Access(source, mono=time.monotonic, wall=time.time)
    return Reflector(
        access,
        namespace=namespace,
        selector=selector,
        mono=time.monotonic,
        wall=time.time,
        rng=Random(1),
        pace=pace,
    )


@asynccontextmanager
async def watching(
    server: Server, *, namespace: str | None = None, selector: str = "app=sglang", pace: Pace = HURRIED
) -> AsyncIterator[Reflector]:
    """A reflector that has its first list and its watch."""
    async with reflector(Fixed(server.url, server.token), namespace=namespace, selector=selector, pace=pace) as watcher:
        await until(lambda: watcher.status.watching, watcher)
        yield watcher


async def until(holds: Callable[[], bool], about: object = "", within_s: float = 10.0) -> None:
    """Wait until something holds; what it is about tells why it never did."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(
                f"waited {within_s} s: {about() if callable(about) else getattr(about, 'status', about)}"
            )
        await asyncio.sleep(0.002)


def names(watcher: Reflector) -> set[str]:
    return {pod.full_name for pod in watcher.store.values()}


def versions(watcher: Reflector) -> dict[str, str]:
    """What the reflector believes: version by uid."""
    return {uid: pod.metadata.resource_version for uid, pod in watcher.store.items()}


def truth(cluster: Cluster, app: str = "sglang") -> dict[str, str]:
    """What is: version by uid of the pods that the tests' selector matches."""
    metas = [pod.json["metadata"] for pod in cluster.pods.values()]
    return {meta["uid"]: meta["resourceVersion"] for meta in metas if meta["labels"].get("app") == app}
