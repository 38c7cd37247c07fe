"""`GET /discovery`: what discovery sees of the cluster, what it made of it, and since when it is blind."""

from aiohttp import web

from gateway.api.app import PARTS, Route, json_response
from gateway.api.schemas import timestamp
from gateway.api.shapes import BlindJson, DiscoveryJson, DiscoveryOffJson, SharingJson, SkippedPodJson
from gateway.kubernetes.status import DiscoveryStatus

SHOWN = 1000
"""Pods named with a reason."""


async def discovery(request: web.Request) -> web.Response:
    status = request.app[PARTS].discovery
    if status is None:
        off: DiscoveryOffJson = {"enabled": False}
        return json_response(off)
    return json_response(discovery_json(status()))


def blind_json(status: DiscoveryStatus) -> BlindJson | None:
    """None while it hears of every change."""
    watch = status.watch
    if watch.blind_since is None:
        return None
    since = timestamp(watch.blind_since)
    assert since is not None
    return {"since": since, "why": watch.blind_why, "next_try_secs": watch.next_try_s}


def sharing_json(status: DiscoveryStatus) -> SharingJson | None:
    found = status.sharing
    return None if found is None else {"waiting": found.waiting, "problem": found.problem}


def discovery_json(status: DiscoveryStatus) -> DiscoveryJson:
    watch, counts = status.watch, status.watch.counts
    skipped: list[SkippedPodJson] = [
        {"pod": pod, "because": because} for pod, because in list(status.skipped.items())[:SHOWN]
    ]
    notes: list[SkippedPodJson] = [
        {"pod": pod, "because": because} for pod, because in list(status.notes.items())[:SHOWN]
    ]
    return {
        "enabled": True,
        "provider": "kubernetes",
        "credentials": watch.source,
        "namespace": watch.namespace,
        "selector": watch.selector,
        "synced": watch.synced,
        "watching": watch.watching,
        "watch_age_secs": watch.watch_age_s,
        "last_heard": timestamp(watch.heard_at),
        "blind": blind_json(status),
        "missing_permission": watch.missing_permission,
        "last_relist": timestamp(watch.last_relist_at),
        "last_relist_why": watch.last_relist_why,
        "last_relist_secs": watch.last_relist_s,
        "last_drift": watch.last_drift,
        "pods_known": watch.pods,
        "pods_matched": status.matched,
        "pods_ready": status.ready,
        "workers_registered": status.registered,
        "skipped": skipped,
        "notes": notes,
        "sharing": sharing_json(status),
        "passes": status.passes,
        "last_pass": timestamp(status.last_pass_at),
        "events": {
            "added": counts.added,
            "modified": counts.modified,
            "deleted": counts.deleted,
            "bookmarks": counts.bookmarks,
            "stale": counts.stale,
            "gaps": counts.gaps,
            "unreadable": counts.unreadable,
        },
        "lists": counts.lists,
        "watches": counts.watches,
        "failures": counts.failures,
    }


ROUTES = [
    Route(
        "GET",
        "/discovery",
        discovery,
        "What service discovery sees of the cluster, and what it made of it",
        answer=DiscoveryJson | DiscoveryOffJson,
    )
]
