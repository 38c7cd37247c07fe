"""API keys of workers from Secrets beside their pods, for pods that name one (`smg.ai/api-key-secret`).

A Secret is read when a pod asks for it and every minute after that, so a rotated key reaches the worker without a
restart. What was read once counts until something else is read: a Secret that cannot be read for a while, or was
deleted, takes no worker out of service. A worker whose key was never read takes no traffic, and its pod says why.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from gateway.kubernetes.pods import PodView, SecretKey
from gateway.tasks import Scope, supervise
from gateway.workers.model import Secret

REFRESH_S = 60.0
AGAIN_S = 5.0
"""After a failure."""

Read = Callable[[str, str], Awaitable[Mapping[str, bytes]]]
"""The data of a Secret by namespace and name. Raises what `trouble` names, with words for operators."""


@dataclass(slots=True)
class _Known:
    data: Mapping[str, bytes] = field(default_factory=dict)
    why: str = "not read yet"
    """Why it could not be read the last time; empty: it was."""


class ApiKeys:
    """Enter it to begin. `changed` is called when a pass over the pods would come out differently."""

    def __init__(self, read: Read, trouble: tuple[type[Exception], ...], changed: Callable[[], None]) -> None:
        self._read = read
        self._trouble = trouble
        self._changed = changed
        self._scope = Scope("api keys")
        self._known: dict[tuple[str, str], _Known] = {}
        self._wanted = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._scope.spawn(supervise("api keys from secrets", self._run), name="secrets")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()

    def given(self, views: Iterable[PodView]) -> list[PodView]:
        """The pods with their keys; Secrets that none asks for any more are forgotten."""
        found: list[PodView] = []
        asked: set[tuple[str, str]] = set()
        for view in views:
            where = view.key_from
            if where is not None:
                place = (where.namespace, where.name)
                asked.add(place)
                if place not in self._known:
                    self._known[place] = _Known()
                    self._wanted.set()
                view = with_key(view, where, self._known[place].data, self._known[place].why)
            found.append(view)
        for place in self._known.keys() - asked:
            del self._known[place]
        return found

    async def _run(self) -> None:
        while True:
            self._wanted.clear()
            for place in list(self._known):
                await self._refresh(place)
            failed = any(known.why for known in self._known.values())
            try:
                async with asyncio.timeout(AGAIN_S if failed else REFRESH_S):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _refresh(self, place: tuple[str, str]) -> None:
        try:
            now = _Known(await self._read(*place), "")
        except self._trouble as error:
            before = self._known.get(place)
            now = _Known(before.data if before else {}, str(error) or type(error).__name__)
        if place in self._known and self._known[place] != now:
            self._known[place] = now
            self._changed()


def with_key(view: PodView, where: SecretKey, data: Mapping[str, bytes], why: str) -> PodView:
    """The pod with its workers' key, or not ready for want of it. Pure."""
    raw = data.get(where.key)
    if raw is None:
        there = f"it has {', '.join(sorted(data)[:5])}" if data else "it is empty"
        return replace(view, not_ready=view.not_ready or f"no api key from {where}: {why or there}")
    text = raw.decode("latin-1").strip()
    if not text or not text.isascii() or not text.isprintable():
        return replace(view, not_ready=view.not_ready or f"no api key from {where}: not visible ASCII characters")
    return replace(view, specs=tuple(replace(spec, api_key=Secret(text)) for spec in view.specs))
