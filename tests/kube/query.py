"""What a list or watch request asks for, checked as the API server checks it."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.kubernetes import selectors
from tests.kube.cluster import Cluster, Json, Refused, Stored

FIELDS: dict[str, Callable[[Json], str]] = {
    "metadata.name": lambda pod: pod["metadata"]["name"],
    "metadata.namespace": lambda pod: pod["metadata"]["namespace"],
    "spec.nodeName": lambda pod: pod["spec"].get("nodeName", ""),
    "spec.restartPolicy": lambda pod: pod["spec"].get("restartPolicy", ""),
    "status.phase": lambda pod: pod["status"].get("phase", ""),
    "status.podIP": lambda pod: pod["status"].get("podIP", ""),
}


@dataclass(frozen=True, slots=True)
class Page:
    """Where a paged list goes on: at this place of the snapshot of this version."""

    version: int
    start: int

    def token(self) -> str:
        return base64.urlsafe_b64encode(json.dumps([self.version, self.start]).encode()).decode()


def page_of(token: str) -> Page:
    try:
        version, start = json.loads(base64.urlsafe_b64decode(token))
        return Page(int(version), int(start))
    except (ValueError, TypeError):
        raise Refused(400, "BadRequest", "continue key is not valid") from None


def wanted(namespace: str | None, query: Mapping[str, str]) -> Callable[[Json], bool]:
    """Which pods a request is about."""
    try:
        labels = selectors.parse(query.get("labelSelector", ""))
    except ValueError as error:
        raise Refused(400, "BadRequest", f"unable to parse requirement: {error}") from None
    fields = _fields(query.get("fieldSelector", ""))

    def wants(pod: Json) -> bool:
        meta = pod["metadata"]
        return (
            namespace in (None, meta["namespace"])
            and labels.matches(meta.get("labels") or {})
            and all((FIELDS[name](pod) == value) is equal for name, value, equal in fields)
        )

    return wants


def _fields(text: str) -> list[tuple[str, str, bool]]:
    found = []
    for part in filter(None, text.split(",")):
        equal = "!=" not in part
        name, sign, value = part.partition("!=" if not equal else "==" if "==" in part else "=")
        if not sign:
            raise Refused(400, "BadRequest", f"invalid selector: '{text}'; can't understand '{part}'")
        if name not in FIELDS:
            raise Refused(400, "BadRequest", f"field label not supported: {name}")
        found.append((name, value, equal))
    return found


def version_asked(query: Mapping[str, str]) -> int | None:
    """The resourceVersion of a request; None for any of the forms that mean the newest, 0 for any at all."""
    text = query.get("resourceVersion", "")
    if text and not text.isdigit():
        raise Refused(400, "BadRequest", f"Invalid value: {text!r}: resourceVersion")
    return int(text) if text else None


class Lists:
    """Answers lists; snapshots are kept for their pages until etcd forgets their version."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._snapshots: dict[tuple[int, str], list[Stored]] = {}

    def answer(self, namespace: str | None, query: Mapping[str, str]) -> bytes:
        cluster, limit = self._cluster, int(query.get("limit") or 0)
        asked = f"{namespace} {query.get('labelSelector')} {query.get('fieldSelector')}"
        if token := query.get("continue"):
            page = page_of(token)
            pods = self._snapshots.get((page.version, asked))
            if page.version < cluster.compacted or pods is None:
                raise Refused(410, "Expired", "The provided continue parameter is too old to display a consistent list")
        else:
            self._refuse_future(version_asked(query))
            page, pods = Page(cluster.version, 0), cluster.snapshot(wanted(namespace, query))
        end = page.start + limit if limit else len(pods)
        meta: Json = {"resourceVersion": str(page.version)}
        if end < len(pods):
            self._snapshots[page.version, asked] = pods
            meta |= {"continue": Page(page.version, end).token(), "remainingItemCount": len(pods) - end}
        head = json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": meta})[:-1].encode()
        return head + b',"items":[' + b",".join(_bare(pod) for pod in pods[page.start : end]) + b"]}"

    def _refuse_future(self, version: int | None) -> None:
        if version is not None and version > self._cluster.version:
            refused = Refused(
                504, "Timeout", f"Too large resource version: {version}, current: {self._cluster.version}"
            )
            raise refused


def _bare(pod: Stored) -> bytes:
    """Items of a list carry neither kind nor apiVersion."""
    return pod.text.replace(b',"kind":"Pod","apiVersion":"v1"', b"", 1)
