"""What the reflector sees, since when, and what keeps it from seeing more: the changing side of its status."""

import logging
from collections.abc import Callable
from dataclasses import replace

from gateway.kubernetes.api import PodsApi
from gateway.kubernetes.status import Counts, ReflectorStatus

logger = logging.getLogger(__name__)


class Sight:
    """Times are `mono` seconds. `changed` is called when the picture is another one."""

    def __init__(self, mono: Callable[[], float], changed: Callable[[], None]) -> None:
        self._mono = mono
        self._changed = changed
        self.watching_since: float | None = None
        self.heard_at: float | None = None
        self.next_try: float | None = None
        self.blind_since: float | None = mono()
        self.blind_why = "the first list has not been read yet"
        self.relisted_at: float | None = None
        self.relist_why = ""
        self.relist_s = 0.0
        self.drift = ""
        self._missing: dict[str, str] = {}
        """What is forbidden, by verb, in words."""

    def watching(self) -> None:
        """A watch is open."""
        now = self._mono()
        self.watching_since = self.heard_at = now
        self.allowed("watch")
        if self.blind_since is not None:
            logger.info("discovery_sees", extra={"fields": {"blind_s": now - self.blind_since}})
            self.blind_since, self.blind_why = None, ""
            self._changed()

    def blind(self, since: float, why: str) -> None:
        """Nothing is heard of the cluster."""
        if self.blind_since is None:
            self.blind_since = since
        if why != self.blind_why:
            logger.warning("discovery_blind", extra={"fields": {"why": why}})
            self.blind_why = why
            self._changed()

    def listed(self, why: str, took_s: float) -> None:
        """A complete list was read."""
        self.relisted_at, self.relist_why, self.relist_s = self._mono(), why, took_s
        self.allowed("list")

    def forbidden(self, verb: str, words: str) -> None:
        if self._missing.get(verb) != words:
            self._missing[verb] = words
            self._changed()

    def allowed(self, verb: str) -> None:
        if self._missing.pop(verb, None) is not None:
            self._changed()

    def status(self, api: PodsApi, counts: Counts, *, synced: bool, pods: int, wall: float) -> ReflectorStatus:
        """A moment's picture. `wall`: now, in seconds since the epoch."""
        now = self._mono()

        def at(moment: float | None) -> float | None:
            return None if moment is None else wall - (now - moment)

        since = self.watching_since
        return ReflectorStatus(
            namespace=api.namespace,
            selector=api.selector,
            source=api.access.description,
            synced=synced,
            pods=pods,
            watching=since is not None,
            watch_age_s=None if since is None else now - since,
            heard_at=at(self.heard_at),
            blind_since=at(self.blind_since),
            blind_why=self.blind_why,
            next_try_s=None if self.next_try is None else max(0.0, self.next_try - now),
            last_relist_at=at(self.relisted_at),
            last_relist_why=self.relist_why,
            last_relist_s=self.relist_s,
            last_drift=self.drift,
            missing_permission="; ".join(self._missing.values()) or None,
            counts=replace(counts),
        )
