"""Pictures of a discovery for tests: in order, blind, without a permission."""

from dataclasses import replace

from gateway.kubernetes.status import Counts, DiscoveryStatus, ReflectorStatus, SharingStatus, permission_words

SKIPPED = {
    "llm/sglang-7f9c6d5b8-x2x9p": "not ready: containers with unready status: [engine]",
    "llm/sglang-7f9c6d5b8-q8k4w": "no pod IP yet",
    "llm/qwen-decode-0": (
        "annotation smg.ai/worker-ports: given '80o0', expected ports from 1 to 65535 or names of container ports, "
        "joined by commas"
    ),
}
FORBIDDEN = (
    'pods is forbidden: User "system:serviceaccount:llm:gateway" cannot watch resource "pods" in API group "" in the '
    'namespace "llm"'
)


def seen(now: float) -> DiscoveryStatus:
    """Eight pods, three of them not in service; all is watched."""
    watch = ReflectorStatus(
        namespace="llm",
        selector="app=sglang,tier in (big,gpu)",
        source="service account in /var/run/secrets/kubernetes.io/serviceaccount",
        synced=True,
        pods=8,
        watching=True,
        watch_age_s=187.0,
        heard_at=now - 12,
        blind_since=None,
        blind_why="",
        next_try_s=None,
        last_relist_at=now - 187,
        last_relist_why="the watch ended: resourceVersion too old (410)",
        last_relist_s=0.084,
        last_drift="",
        missing_permission=None,
        counts=Counts(added=11, modified=240, deleted=3, bookmarks=19, lists=4, watches=5, failures=1),
    )
    return DiscoveryStatus(
        watch=watch,
        matched=8,
        ready=5,
        registered=6,
        skipped=SKIPPED,
        notes={"llm/sglang-7f9c6d5b8-4kz7h": "annotation smg.ai/priority: given 'high', expected a whole number"},
        passes=57,
        last_pass_at=now - 4,
        sharing=SharingStatus(waiting=1, problem=""),
    )


def blind(now: float, for_s: float = 185.0) -> DiscoveryStatus:
    """The API server cannot be reached."""
    found = seen(now)
    why = "cannot reach https://10.96.0.1:443: connection refused"
    watch = replace(
        found.watch, watching=False, watch_age_s=None, blind_since=now - for_s, blind_why=why, next_try_s=4.0
    )
    return replace(found, watch=watch)


def forbidden(now: float) -> DiscoveryStatus:
    """Watching is not allowed."""
    found = blind(now)
    words = permission_words("watch", "llm", FORBIDDEN)
    return replace(found, watch=replace(found.watch, blind_why=words, missing_permission=words))
