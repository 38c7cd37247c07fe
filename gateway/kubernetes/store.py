"""What discovery believes the cluster's pods to be: one map by uid, and the rules by which it follows the cluster.

Pure. A watch may bring events twice, late or out of order, or lose some, and a list may be older than what a
watch has brought meanwhile; so nothing is believed because it came last, only because its resourceVersion is
newer (versions of one resource compare as integers, which Kubernetes has promised since 1.35 and kept before).
A pod that was deleted is remembered by its last version, lest a late event bring it back.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from gateway.kubernetes.objects import Pod

GRAVES = 20_000

OnChange = Callable[[str, Pod | None, Pod | None], None]
"""Called with uid, the pod before and the pod after; None where there is none."""


class Seen(Enum):
    """What an event was."""

    NEWS = "news"
    STALE = "stale"
    """Twice or late: what is known is as new."""
    GAP = "gap"
    """News that tells of a missed event before it: the store should be listed anew."""


@dataclass(frozen=True, slots=True)
class Drift:
    """What a list found that the watch should have told: counts of pods."""

    missing: int = 0
    stale: int = 0
    ghosts: int = 0

    def __bool__(self) -> bool:
        return bool(self.missing or self.stale or self.ghosts)

    def __str__(self) -> str:
        counts = {"missing": self.missing, "out of date": self.stale, "gone but still known": self.ghosts}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none"


class Store(Mapping[str, Pod]):
    """Pods by uid. Read it at will; only the reflector writes. Listeners are called at once, and must not raise."""

    def __init__(self) -> None:
        self._pods: dict[str, Pod] = {}
        self._graves: dict[str, int] = {}
        self._graves_from = 0
        """Deletions up to this version may have been forgotten: there were too many since the last list."""
        self._listed_at = 0
        """The last list's version: whatever is not known and not newer was gone by then."""
        self._listeners: list[OnChange] = []
        self.newest = 0
        """The newest version heard of, from events, bookmarks and lists: where a watch goes on."""

    def __getitem__(self, uid: str) -> Pod:
        return self._pods[uid]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pods)

    def __len__(self) -> int:
        return len(self._pods)

    def __repr__(self) -> str:
        return f"<Store {len(self)} pods at {self.newest}>"

    def listen(self, listener: OnChange) -> Callable[[], None]:
        """Hear of every change from now on, until the returned function is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # --- from a watch ---

    def heard(self, version: int) -> None:
        """A bookmark: everything up to this version has been said."""
        self.newest = max(self.newest, version)

    def upsert(self, pod: Pod, *, added: bool) -> Seen:
        """ADDED or MODIFIED."""
        uid, version = pod.uid, version_of(pod)
        known = self._pods.get(uid)
        if known is not None:
            stale = version <= version_of(known)
            lost = False
        else:
            stale = version <= max(self._graves.get(uid, 0), self._listed_at)
            if not stale and version <= self._graves_from:
                return Seen.GAP  # it may have been deleted since: only a list can tell
            lost = not added
        self.newest = max(self.newest, version)
        if stale:
            return Seen.STALE
        self._put(uid, known, pod)
        return Seen.GAP if lost else Seen.NEWS

    def delete(self, pod: Pod) -> Seen:
        """DELETED, or left the selector."""
        uid, version = pod.uid, version_of(pod)
        known = self._pods.get(uid)
        self.newest = max(self.newest, version)
        if version <= (version_of(known) if known is not None else max(self._graves.get(uid, 0), self._listed_at)):
            return Seen.STALE
        self._bury(uid, version)
        if known is None:
            return Seen.GAP  # we never knew it
        self._drop(uid)
        return Seen.NEWS

    # --- from a list ---

    def listed(self, pod: Pod) -> bool:
        """One pod of a list: True if it was news."""
        uid, version = pod.uid, version_of(pod)
        known = self._pods.get(uid)
        if version <= (version_of(known) if known is not None else self._graves.get(uid, 0)):
            return False
        self._put(uid, known, pod)
        return True

    def unlisted(self, uid: str, version: int) -> bool:
        """A known pod that a list of this version does not have: True if it was removed, False if it is newer."""
        known = self._pods.get(uid)
        if known is None or version_of(known) > version:
            return False
        self._bury(uid, version)
        self._drop(uid)
        return True

    def list_done(self, version: int) -> None:
        """All of a list of this version has been told: deletions before it need no remembering."""
        self._listed_at = version
        self.newest = max(self.newest, version)
        self._graves = {uid: at for uid, at in self._graves.items() if at > version}

    def replace(self, pods: Mapping[str, Pod], version: int) -> None:
        """Believe this list whatever the versions say: they went back (a restored backup, another cluster), so
        nothing known compares any more. No watch may be under way."""
        self.newest = self._listed_at = version
        self._graves.clear()
        self._graves_from = 0
        for uid in [uid for uid in self._pods if uid not in pods]:
            self._drop(uid)
        for uid, pod in pods.items():
            if (known := self._pods.get(uid)) != pod:
                self._put(uid, known, pod)

    # --- writing ---

    def _put(self, uid: str, old: Pod | None, pod: Pod) -> None:
        self._pods[uid] = pod
        self._graves.pop(uid, None)
        self._tell(uid, old, pod)

    def _drop(self, uid: str) -> None:
        self._tell(uid, self._pods.pop(uid), None)

    def _bury(self, uid: str, version: int) -> None:
        self._graves.pop(uid, None)
        self._graves[uid] = version
        while len(self._graves) > GRAVES:
            oldest = next(iter(self._graves))
            self._graves_from = max(self._graves_from, self._graves.pop(oldest))

    def _tell(self, uid: str, old: Pod | None, new: Pod | None) -> None:
        for listener in tuple(self._listeners):
            listener(uid, old, new)


def version_of(pod: Pod) -> int:
    """The pod's resourceVersion as a number; 0 if it is none, so that it never counts as newer."""
    text = pod.metadata.resource_version
    return int(text) if text.isdecimal() else 0
