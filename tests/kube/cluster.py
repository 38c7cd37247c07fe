"""A cluster's pods as an API server keeps them: objects, versions, and the events a watch is made of.

Plain state without sockets; `server.py` speaks HTTP over it. Objects are replaced, never changed, so that a list
under way (a snapshot at one version) and a watch that lags both go on seeing what they should.
"""

import copy
import datetime
import json
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str]


class Refused(Exception):
    """What the API server answers instead: HTTP code, reason and message of a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message

    def status(self) -> Json:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }


class Stored:
    """One version of a pod, with its JSON made once."""

    __slots__ = ("_text", "json", "version")

    def __init__(self, json_: Json, version: int) -> None:
        self.json = json_
        self.version = version
        self._text: bytes | None = None
        json_["metadata"]["resourceVersion"] = str(version)

    @property
    def text(self) -> bytes:
        if self._text is None:
            self._text = json.dumps(self.json, separators=(",", ":")).encode()
        return self._text

    def at(self, version: int) -> "Stored":
        """The same pod under another version: how a watch shows a pod that left its selector."""
        return Stored({**self.json, "metadata": dict(self.json["metadata"])}, version)


@dataclass(frozen=True, slots=True)
class Change:
    version: int
    old: Stored | None
    new: Stored | None
    """None: deleted; `old` is then its last state."""


class Cluster:
    """Pods of all namespaces. Every write takes a new version; versions skip, as other resources have writes too."""

    def __init__(self, rng: Random | None = None, first_version: int = 1000) -> None:
        self.rng = rng or Random(1)
        self.version = first_version
        self.cache_from = first_version
        """A watch or a list from before this version is 410: the watch cache does not reach back that far."""
        self.compacted = 0
        """A list cannot be continued from before this version."""
        self.pods: dict[Key, Stored] = {}
        self.secrets: dict[Key, dict[str, str]] = {}
        """Base64 texts by key."""
        self.changes: list[Change] = []
        self.listeners: set[Callable[[], None]] = set()

    # --- writing ---

    def create(self, body: Json, namespace: str) -> Stored:
        body = copy.deepcopy(body)
        meta = body.setdefault("metadata", {})
        name = meta.get("name") or meta.get("generateName", "pod-") + uuid.uuid4().hex[:5]
        if (namespace, name) in self.pods:
            raise Refused(409, "AlreadyExists", f'pods "{name}" already exists')
        meta |= {"name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
        body |= {"kind": "Pod", "apiVersion": "v1"}
        body.setdefault("spec", {}).setdefault("terminationGracePeriodSeconds", 30)
        body["status"] = {"phase": "Pending", "qosClass": "BestEffort"} | body.get("status", {})
        return self._write((namespace, name), body)

    def get(self, namespace: str, name: str) -> Stored:
        try:
            return self.pods[namespace, name]
        except KeyError:
            raise Refused(404, "NotFound", f'pods "{name}" not found') from None

    def patch(self, namespace: str, name: str, patch: Json, *, status: bool = False) -> Stored:
        """A merge patch; `status` patches only the status, otherwise the status stays. Conditions merge by type."""
        old = self.get(namespace, name)
        if (asked := patch.get("metadata", {}).get("resourceVersion")) not in (None, str(old.version)):
            raise Refused(409, "Conflict", f'Operation cannot be fulfilled on pods "{name}": asked for {asked}')
        if (uid := patch.get("metadata", {}).get("uid")) not in (None, old.json["metadata"]["uid"]):
            raise Refused(
                409, "Conflict", f"Precondition failed: UID in precondition: {uid}, UID in object meta: other"
            )
        parts = {"status": patch.get("status", {})} if status else {k: v for k, v in patch.items() if k != "status"}
        body: Json = _merged(copy.deepcopy(old.json), parts)
        for fixed in ("uid", "name", "namespace"):
            body["metadata"][fixed] = old.json["metadata"][fixed]
        body["metadata"]["resourceVersion"] = str(old.version)
        if body == old.json:
            return old  # a patch that changes nothing is no write
        return self._write((namespace, name), body)

    def delete(self, namespace: str, name: str, grace_s: int | None = None) -> Stored:
        """With grace: marked as terminating, and there until deleted again with grace 0 (which a kubelet does)."""
        old = self.get(namespace, name)
        if grace_s is None:
            grace_s = old.json["spec"]["terminationGracePeriodSeconds"]
        bound = bool(old.json["spec"].get("nodeName"))
        terminating = "deletionTimestamp" in old.json["metadata"]
        if bound and not (terminating and grace_s > 0):
            body = copy.deepcopy(old.json)
            body["metadata"] |= {"deletionTimestamp": now(grace_s), "deletionGracePeriodSeconds": grace_s}
            old = self._write((namespace, name), body)
        if grace_s == 0 or not bound:
            self._remove((namespace, name))
        return old

    def compact(self) -> None:
        """etcd forgets: lists cannot be continued from before. Watches can, while the cache has the events."""
        self.compacted = self.version

    def forget(self) -> None:
        """The watch cache begins anew, as after a restart of the API server: every earlier version is 410."""
        self.compacted = self.cache_from = self.version
        self.changes.clear()

    def _write(self, key: Key, body: Json) -> Stored:
        old, self.pods[key] = self.pods.get(key), Stored(body, self._next_version())
        self._changed(Change(self.version, old, self.pods[key]))
        return self.pods[key]

    def _remove(self, key: Key) -> None:
        old = self.pods.pop(key)
        self._changed(Change(self._next_version(), old, None))

    def _next_version(self) -> int:
        self.version += self.rng.choice((1, 1, 1, 2, 5))
        return self.version

    def _changed(self, change: Change) -> None:
        self.changes.append(change)
        for listener in list(self.listeners):
            listener()

    # --- reading ---

    def snapshot(self, wanted: Callable[[Json], bool]) -> list[Stored]:
        return [pod for _, pod in sorted(self.pods.items()) if wanted(pod.json)]

    def since(self, version: int) -> Iterator[Change]:
        """The changes after a version. Look anew after every pause: it is over when nothing is there any more."""
        at = bisect_right(self.changes, version, key=lambda change: change.version)
        while at < len(self.changes):
            yield self.changes[at]
            at += 1


def seen_as(change: Change, wanted: Callable[[Json], bool]) -> tuple[str, Stored] | None:
    """The event a watch with this selector sees: leaving the selector is DELETED, entering it ADDED."""
    before = change.old is not None and wanted(change.old.json)
    after = change.new is not None and wanted(change.new.json)
    if after:
        assert change.new is not None
        return ("MODIFIED" if before else "ADDED"), change.new
    if before:
        assert change.old is not None
        return "DELETED", change.old.at(change.version)
    return None


def now(plus_s: float = 0) -> str:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=plus_s)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7386, and pod conditions by their type, as the API server's own strategic merge does."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif key == "conditions" and isinstance(value, list):
            known = {one["type"]: one for one in merged.get(key, [])}
            merged[key] = list((known | {one["type"]: one for one in value}).values())
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
