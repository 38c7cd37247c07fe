"""Keeps the store in step with the cluster's pods: lists, watches, and lists again whenever it must or should.

The watch makes it quick, the list makes it true. A list is read at the start, when the watch's version is too
old (410), when an event tells of a missed one, and every minute or so beside a living watch: what the watch
should have told and did not is put right then, and the watch is begun anew. A list read beside a watch never
takes the store back, because the store believes versions and not the order of arrival.

What is lost while the API server cannot be reached is nothing: the store stays as it is, the status says since
when it is blind, and why. What pods mean is for others to say; they read `store` and wait for `changed`.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

import msgspec
from aiohttp import StreamReader

from gateway.kubernetes.access import Access
from gateway.kubernetes.api import ApiError, Lines, PodsApi, refusal
from gateway.kubernetes.backoff import Backoff
from gateway.kubernetes.lister import SLICE, Lister, version_of
from gateway.kubernetes.objects import Pod
from gateway.kubernetes.sight import Sight
from gateway.kubernetes.status import Counts, ReflectorStatus, permission_words
from gateway.kubernetes.store import Drift, Seen, Store
from gateway.kubernetes.trouble import TROUBLE, Silent, Unread, Unsteady, words
from gateway.tasks import Scope, first_of, supervise

logger = logging.getLogger(__name__)

STEADY_S = 5.0
"""A watch that lived this long was a good one: the next failure begins with a short pause again."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. The defaults suit a real cluster; tests are in a hurry."""

    watch_s: tuple[float, float] = (240.0, 480.0)
    """The API server ends a watch after a time drawn from this range, so that replicas do not come back together."""
    silence_s: float = 100.0
    """A watch that says nothing for so long is given up: bookmarks come about once a minute."""
    audit_s: float = 60.0
    """A list is read beside the watch this often, or less often where lists take long (2 % of the time)."""
    settle_s: float = 1.0
    """How long the watch may take to tell what such a list has found."""
    first_backoff_s: float = 0.2
    most_backoff_s: float = 30.0


AUDIT_SHARE = 50


class Reflector:
    """Pods of one namespace or of all (None) that match a selector. Enter it to begin; it never ends by itself.

    `store` maps uid to pod; `changed` is set whenever the store or the status has changed, and cleared by whoever
    acts on it; `synced` is set once a complete list has been read.
    """

    def __init__(
        self,
        access: Access,
        *,
        namespace: str | None,
        selector: str,
        mono: Callable[[], float],
        wall: Callable[[], float],
        rng: Random,
        pace: Pace | None = None,
    ) -> None:
        self.store = Store()
        self.changed = asyncio.Event()
        self.synced = asyncio.Event()
        self.counts = Counts()
        self._api = PodsApi(access, namespace, selector)
        self._lister = Lister(self._api, self.store, self.counts)
        self._mono = mono
        self._wall = wall
        self._rng = rng
        self._pace = pace or Pace()
        self._backoff = Backoff(rng, self._pace.first_backoff_s, self._pace.most_backoff_s)
        self._scope = Scope("kubernetes")
        self._wanted = ""
        """Why a list is wanted; empty if none is."""
        self._poked = asyncio.Event()
        self._sight = Sight(mono, self.changed.set)
        self.store.listen(self._on_change)

    async def __aenter__(self) -> Self:
        await self._api.__aenter__()
        self._scope.spawn(supervise("kubernetes reflector", self._run), name="reflector")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()
        await self._api.__aexit__(kind, error, trace)

    # --- for others ---

    def relist(self, why: str) -> None:
        """Have a list read as soon as possible; one that waits to try again tries now."""
        self._wanted = self._wanted or why
        self._poked.set()

    async def patch_annotations(
        self, namespace: str, name: str, uid: str, annotations: Mapping[str, str | None]
    ) -> Pod:
        """As `PodsApi.patch_annotations`; a missing right shows in the status too."""
        try:
            pod = await self._api.patch_annotations(namespace, name, uid, annotations)
        except ApiError as error:
            if error.code == 403:
                self._sight.forbidden("patch", permission_words("patch", namespace, error.message, "patch"))
            raise
        self._sight.allowed("patch")
        return pod

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """As `PodsApi.secret`; what went wrong is told in words (Unread)."""
        try:
            return await self._api.secret(namespace, name)
        except ApiError as error:
            why = "the Role needs get on secrets" if error.code == 403 else error.message or error.reason
            raise Unread(f"{error.code}: {why}") from None
        except TROUBLE as error:
            raise Unread(words(error)) from None

    @property
    def status(self) -> ReflectorStatus:
        return self._sight.status(
            self._api, self.counts, synced=self.synced.is_set(), pods=len(self.store), wall=self._wall()
        )

    # --- the loop ---

    async def _run(self) -> None:
        self._wanted = self._wanted or "start"
        while True:
            try:
                if self._wanted:
                    await self._list()
                await first_of(self._follow(), self._audit())
            except (*TROUBLE, Unsteady) as error:
                await self._recover(error)
            finally:
                self._sight.watching_since = None

    async def _recover(self, error: Exception) -> None:
        """Wait as long as the trouble asks for, and decide whether the watch can go on from where it was."""
        self.counts.failures += 1
        since, why = self._mono(), words(error)
        if isinstance(error, ApiError) and error.expired:
            self._wanted = f"the watch could not go on: {error.message}"
            if self._backoff.failures == 0:
                self._backoff.failures = 1
                return  # the ordinary case: nothing is wrong with the server
        elif isinstance(error, ApiError) and error.code == 403:
            why = permission_words(error.verb, self._api.namespace, error.message)
            self._sight.forbidden(error.verb, why)
            self._wanted = self._wanted or f"{error.verb} is forbidden"  # where only watching is, lists must do
        elif isinstance(error, Silent):
            self._wanted = self._wanted or why
            since = self._sight.heard_at or since
        self._sight.blind(since, why)
        pause = max(self._backoff.failed(), self._asked_to_wait(error))
        self._sight.next_try = self._mono() + pause
        await self._pause(pause)
        self._sight.next_try = None

    def _asked_to_wait(self, error: Exception) -> float:
        asked = error.retry_after_s if isinstance(error, ApiError) else None
        return min(asked or 0.0, self._pace.most_backoff_s)

    async def _pause(self, pause: float) -> None:
        """Wait, or until a list is asked for."""
        self._poked.clear()
        try:
            async with asyncio.timeout(pause):
                await self._poked.wait()
        except TimeoutError:
            pass

    # --- watching ---

    async def _follow(self) -> None:
        """One watch, from where the store is. Returns when the server ends it in good order."""
        pace, began = self._pace, self._mono()
        timeout_s = self._rng.uniform(*pace.watch_s)
        lines, spoke = Lines(), False
        try:
            async with self._api.watch(self.store.newest, timeout_s, pace.silence_s) as content:
                self.counts.watches += 1
                self._sight.watching()
                while chunk := await self._next(content):
                    self._sight.heard_at = self._mono()
                    spoke = True
                    await self._take(lines.feed(chunk))
        except ValueError as error:
            raise Unsteady(f"the watch spoke no sense: {error}") from None
        finally:
            if self._sight.watching_since is not None and self._mono() - began > min(STEADY_S, timeout_s / 2):
                self._backoff.reset()
        if not spoke and self._mono() - began < min(1.0, timeout_s / 2):
            raise Unsteady("the API server ended the watch at once")

    async def _next(self, content: StreamReader) -> bytes:
        try:
            return await content.readany()
        except TimeoutError:
            raise Silent(f"the watch said nothing for {self._pace.silence_s:g} s") from None

    async def _take(self, lines: list[bytes]) -> None:
        for number, line in enumerate(lines, 1):
            self._event(line)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)  # a burst is read without waiting: let the others in

    def _event(self, line: bytes) -> None:
        event = _event_decoder.decode(line)
        if event.type == "ERROR":
            raise refusal("watch", 0, event.object)
        self._backoff.reset()
        if event.type == "BOOKMARK":
            self.counts.bookmarks += 1
            self.store.heard(version_of(event.object))
            return
        if (pod := self._lister.decoded(event.object)) is None:
            return
        if event.type == "DELETED":
            self.counts.deleted += 1
            seen = self.store.delete(pod)
        else:
            added = event.type == "ADDED"
            self.counts.added += added
            self.counts.modified += not added
            seen = self.store.upsert(pod, added=added)
        if seen is Seen.STALE:
            self.counts.stale += 1
        elif seen is Seen.GAP:
            self.counts.gaps += 1
            self.relist(f"a gap: {event.type} of {pod.full_name}, which was not known")

    # --- listing ---

    async def _audit(self) -> None:
        """Lists beside the watch: when asked for, and from time to time. Returns if the watch must begin anew."""
        retry = Backoff(self._rng, self._pace.first_backoff_s, self._pace.most_backoff_s)
        while True:
            pause = max(self._pace.audit_s, AUDIT_SHARE * self._sight.relist_s) * (0.8 + 0.4 * self._rng.random())
            if not self._wanted:
                await self._pause(pause)
            asked = bool(self._wanted)
            try:
                if await self._list(beside_watch=True, at_once=asked):
                    return
            except TROUBLE as error:
                self.counts.failures += 1
                if isinstance(error, ApiError) and error.code == 403:
                    self._sight.forbidden("list", permission_words("list", self._api.namespace, error.message))
                logger.warning("pods_relist_failed", extra={"fields": {"why": words(error)}})
                await asyncio.sleep(retry.failed())
            else:
                retry.reset()
                if asked:
                    await asyncio.sleep(self._pace.first_backoff_s)  # gaps in a row are one list's work

    async def _list(self, *, beside_watch: bool = False, at_once: bool = True) -> bool:
        """Read a complete list into the store. True if it shows that the watch beside it is not to be trusted."""
        why = self._wanted or "routine"
        self._wanted = ""
        began, newest = self._mono(), self.store.newest
        try:
            version, pods = await self._lister.read()
            if version < newest:
                if beside_watch:
                    self._wanted = f"versions went back from {newest} to {version}: restored, or another cluster"
                    return True
                self.store.replace(pods, version)
                drift = Drift()
            else:
                if not at_once and self._lister.differs(version, pods):
                    await asyncio.sleep(self._pace.settle_s)
                drift = await self._lister.merge(version, pods)
        except BaseException:
            if why != "routine":
                self._wanted = self._wanted or why  # still to be done
            raise
        self._listed(why, self._mono() - began)
        if not beside_watch or at_once or not drift:
            return False
        self.counts.drifted += drift.missing + drift.stale + drift.ghosts
        self._sight.drift = str(drift)
        logger.warning("discovery_drifted", extra={"fields": {"found": str(drift)}})
        return True

    def _listed(self, why: str, took_s: float) -> None:
        self.counts.lists += 1
        self._sight.listed(why, took_s)
        if not self.synced.is_set():
            self.synced.set()
        if why != "routine":
            logger.info("pods_listed", extra={"fields": {"why": why, "pods": len(self.store), "took_s": took_s}})
        self.changed.set()

    def _on_change(self, uid: str, old: Pod | None, new: Pod | None) -> None:
        self.changed.set()


class _Event(msgspec.Struct, frozen=True, gc=False):
    type: str
    object: msgspec.Raw


_event_decoder = msgspec.json.Decoder(_Event)
