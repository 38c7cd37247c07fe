"""The reflector against an API server on a socket: it comes to know the cluster, whatever happens on the way."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.kubernetes.api import ApiError
from tests.integration.kube_world import HURRIED, Fixed, names, reflector, truth, until, versions, watching
from tests.kube.pods import pod, running
from tests.kube.server import Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server() as running_server:
        yield running_server


def add(server: Server, name: str, namespace: str = "llm", app: str = "sglang") -> str:
    """Create a running pod; its uid."""
    uid: str = server.cluster.create(pod(name, "10.0.0.1", {"app": app}), namespace).json["metadata"]["uid"]
    return uid


async def test_pods_that_were_there_and_pods_that_come_are_known_with_their_fields(server: Server) -> None:
    before = add(server, "before")
    async with watching(server) as watcher:
        assert set(watcher.store) == {before}
        after = add(server, "after")
        await until(lambda: after in watcher.store, watcher)
        known = watcher.store[after]
        assert known.full_name == "llm/after"
        assert (known.status.phase, known.status.pod_ip, known.status.pod_ips[0].ip) == ("Running", *["10.0.0.1"] * 2)
        assert [(one.type, one.status) for one in known.status.conditions] == [("Ready", "True")]
        assert known.spec.containers[0].ports[0].container_port == 30000
        assert watcher.changed.is_set()


async def test_a_change_of_ip_is_the_same_pod_changed(server: Server) -> None:
    uid = add(server, "a")
    async with watching(server) as watcher:
        heard = []
        watcher.store.listen(lambda uid, old, new: heard.append((uid, old, new)))
        server.cluster.patch("llm", "a", {"status": running("fd00::7")}, status=True)
        await until(lambda: watcher.store[uid].status.pod_ip == "fd00::7", watcher)
        assert [(one[0], one[1].status.pod_ip, one[2].status.pod_ip) for one in heard] == [(uid, "10.0.0.1", "fd00::7")]


async def test_a_label_that_leaves_the_selector_and_comes_back(server: Server) -> None:
    uid = add(server, "a")
    async with watching(server) as watcher:
        server.cluster.patch("llm", "a", {"metadata": {"labels": {"app": "other"}}})
        await until(lambda: not watcher.store, watcher)
        server.cluster.patch("llm", "a", {"metadata": {"labels": {"app": "sglang"}}})
        await until(lambda: uid in watcher.store, watcher)


async def test_a_pod_being_deleted_is_terminating_at_once_and_gone_when_the_kubelet_says_so(server: Server) -> None:
    uid = add(server, "a")
    async with watching(server) as watcher:
        server.cluster.delete("llm", "a", 30)
        await until(lambda: watcher.store[uid].terminating, watcher)
        assert watcher.store[uid].metadata.deletion_grace_period_seconds == 30
        server.cluster.delete("llm", "a", 0)
        await until(lambda: uid not in watcher.store, watcher)


async def test_a_name_used_again_is_another_pod(server: Server) -> None:
    old = add(server, "engine-0")
    async with watching(server) as watcher:
        server.cluster.delete("llm", "engine-0", 0)
        new = add(server, "engine-0")
        assert new != old
        await until(lambda: set(watcher.store) == {new}, watcher)
        assert watcher.store[new].status.pod_ip == "10.0.0.1"


async def test_one_namespace_hears_nothing_of_another_and_all_hear_of_both(server: Server) -> None:
    add(server, "a", "one")
    async with watching(server, namespace="one") as narrow, watching(server) as wide:
        add(server, "b", "two")
        add(server, "c", "one")
        await until(lambda: names(wide) == {"one/a", "two/b", "one/c"}, wide)
        await until(lambda: names(narrow) == {"one/a", "one/c"}, narrow)
    asked = {namespace for verb, namespace, _ in server.requests if verb in ("list", "watch")}
    assert asked == {"one", None}


async def test_a_set_based_selector_is_sent_to_the_server_as_it_is(server: Server) -> None:
    for app in ("a", "b", "c"):
        add(server, app, app=app)
    async with watching(server, selector="app in (a,b),app!=b") as watcher:
        assert names(watcher) == {"llm/a"}


async def test_a_long_list_comes_in_pages_of_one_version(server: Server) -> None:
    for number in range(620):
        add(server, f"pod-{number:04}")
    async with watching(server) as watcher:
        assert versions(watcher) == truth(server.cluster)
        pages = [query for verb, _, query in server.requests if verb == "list"]
        assert len(pages) == 3
        assert all("resourceVersion" not in query for query in pages)


async def test_a_list_whose_pages_grew_too_old_on_the_way_is_read_anew(server: Server) -> None:
    for number in range(300):
        add(server, f"pod-{number:04}")
    server.faults.refuse_next("list", 410)
    async with watching(server) as watcher:
        assert versions(watcher) == truth(server.cluster)


# --- the watch and its troubles ---


async def test_a_watch_told_410_in_its_midst_lists_anew_and_goes_on(server: Server) -> None:
    add(server, "a")
    async with watching(server) as watcher:
        server.faults.silent = True
        add(server, "b")
        server.faults.silent = False
        server.expire()
        await until(lambda: names(watcher) == {"llm/a", "llm/b"}, watcher)
        await until(lambda: watcher.status.watching, watcher)
        assert "too old resource version" in watcher.status.last_relist_why
        add(server, "c")
        await until(lambda: "llm/c" in names(watcher), watcher)
        assert server.count("list") == 2


async def test_bookmarks_alone_carry_the_version_over_an_expiry(server: Server) -> None:
    server.bookmark_s = 0.02
    add(server, "a")
    async with watching(server) as watcher:
        for number in range(5):
            add(server, f"other-{number}", app="other")
        await until(lambda: watcher.store.newest >= server.cluster.version, watcher)
        assert watcher.counts.events == 0
        server.cluster.cache_from = watcher.store.newest  # from before the bookmark it would be 410
        server.cut()
        await until(lambda: watcher.counts.watches == 2, watcher)
        add(server, "b")
        await until(lambda: "llm/b" in names(watcher), watcher)
        assert server.count("list") == 1


async def test_a_silent_watch_is_given_up_and_what_it_kept_back_is_found(server: Server) -> None:
    uid = add(server, "a")
    server.faults.silent = True
    async with watching(server, pace=replace(HURRIED, silence_s=0.2)) as watcher:
        server.cluster.delete("llm", "a", 0)
        new = add(server, "b")
        await until(lambda: set(watcher.store) == {new}, watcher)
        assert uid not in watcher.store
        assert "said nothing for 0.2 s" in watcher.status.last_relist_why


async def test_a_watch_that_ends_in_its_time_goes_on_where_it_was_and_is_not_called_blind(server: Server) -> None:
    async with watching(server, pace=replace(HURRIED, watch_s=(1.0, 1.2))) as watcher:
        add(server, "a")
        await until(lambda: watcher.counts.watches >= 3, watcher)
        add(server, "b")
        await until(lambda: names(watcher) == {"llm/a", "llm/b"}, watcher)
        assert server.count("list") == 1
        assert watcher.counts.failures == 0
        assert watcher.status.blind_since is None


@pytest.mark.parametrize("mid_line", [False, True])
async def test_a_dropped_connection_goes_on_where_it_was(server: Server, mid_line: bool) -> None:
    async with watching(server) as watcher:
        for number in range(5):
            add(server, f"before-{number}")
            server.cut(mid_line=mid_line)
            add(server, f"after-{number}")
            await until(lambda: versions(watcher) == truth(server.cluster), watcher)
            await until(lambda: watcher.status.watching, watcher)
        assert server.count("list") == 1


async def test_events_twice_and_out_of_order_leave_the_store_right(server: Server) -> None:
    server.faults.duplicate, server.faults.delay, server.faults.delay_s = 0.5, 0.5, 0.05
    async with watching(server) as watcher:
        for turn in range(8):
            for name in ("a", "b", "c"):
                add(server, name)
                server.cluster.patch("llm", name, {"status": running(f"10.1.{turn}.1")}, status=True)
            await asyncio.sleep(0)
            for name in ("a", "b", "c"):
                server.cluster.delete("llm", name, 0)
        last = add(server, "last")
        server.faults.delay = 0
        await until(lambda: set(watcher.store) == {last}, watcher)
        assert watcher.counts.stale > 0
        await until(lambda: watcher.counts.events >= 50, watcher)
        assert set(watcher.store) == {last}


async def test_an_event_of_an_unknown_pod_tells_of_a_missed_one_and_a_list_is_read_at_once(server: Server) -> None:
    async with watching(server) as watcher:
        server.faults.drop = 1.0
        missed, gone = add(server, "missed"), add(server, "gone")
        await until(lambda: server.faults.dropped == 2)
        server.faults.drop = 0.0
        server.cluster.patch("llm", "missed", {"metadata": {"labels": {"new": "label"}}})
        await until(lambda: versions(watcher) == truth(server.cluster), watcher)
        assert {missed, gone} == set(watcher.store)
        assert watcher.counts.gaps == 1
        assert "a gap: MODIFIED of llm/missed" in watcher.status.last_relist_why


async def test_a_watch_that_loses_events_is_found_out_by_the_list_beside_it(server: Server) -> None:
    add(server, "ghost")
    async with watching(server, pace=replace(HURRIED, audit_s=0.1, settle_s=0.05)) as watcher:
        server.faults.drop = 1.0
        server.cluster.delete("llm", "ghost", 0)
        add(server, "hole")
        await until(lambda: names(watcher) == {"llm/hole"}, watcher)
        assert "1 missing" in watcher.status.last_drift
        assert "1 gone but still known" in watcher.status.last_drift
        server.faults.drop = 0.0
        await until(lambda: watcher.counts.watches >= 2, watcher)


async def test_a_restarted_server_is_found_again_with_what_changed_meanwhile(server: Server) -> None:
    old = add(server, "a")
    async with watching(server) as watcher:
        await server.stop()
        server.cluster.delete("llm", "a", 0)
        new = add(server, "b")
        server.cluster.forget()
        await until(lambda: watcher.status.blind_since is not None, watcher)
        assert set(watcher.store) == {old}, "what is known stays while the server cannot be reached"
        assert "cannot be reached" in watcher.status.blind_why
        assert watcher.status.synced
        await server.start()
        await until(lambda: set(watcher.store) == {new}, watcher)
        await until(lambda: watcher.status.blind_since is None, watcher)
        add(server, "c")
        await until(lambda: names(watcher) == {"llm/b", "llm/c"}, watcher)


async def test_a_cluster_restored_from_a_backup_is_believed_though_its_versions_went_back(server: Server) -> None:
    kept = add(server, "kept")
    old_version, restored = server.cluster.version, dict(server.cluster.pods)
    for number in range(20):
        add(server, f"lost-{number}")
    async with watching(server) as watcher:
        assert len(watcher.store) == 21
        await server.stop()
        server.cluster.pods, server.cluster.version = restored, old_version
        server.cluster.forget()
        await server.start()
        watcher.relist("the operator asked")
        await until(lambda: set(watcher.store) == {kept}, watcher)
        new = add(server, "new")
        await until(lambda: set(watcher.store) == {kept, new}, watcher)


async def test_a_watch_that_is_ended_at_once_again_and_again_is_not_hammered(server: Server) -> None:
    async with watching(server, pace=replace(HURRIED, first_backoff_s=0.1, most_backoff_s=5)) as watcher:
        server.faults.refuse_next("watch", 503, times=4)
        server.cut()
        await until(lambda: watcher.counts.failures >= 3, watcher)
        assert "503" in watcher.status.blind_why
        assert watcher.status.next_try_s is not None
        await until(lambda: watcher.status.watching, watcher)
        assert server.count("watch") <= 7


async def test_a_server_that_asks_for_patience_gets_it(server: Server) -> None:
    pace = replace(HURRIED, most_backoff_s=30)
    server.faults.refuse_next("list", 429, headers={"Retry-After": "20"})
    async with reflector(Fixed(server.url), pace=pace) as watcher:
        await until(lambda: (watcher.status.next_try_s or 0) > 10, watcher)
        watcher.relist("the operator would not wait")
        await until(lambda: watcher.status.synced, watcher)


# --- rights ---


async def test_a_missing_right_to_list_is_named_and_found_when_it_is_given(server: Server) -> None:
    uid = add(server, "a", "x")
    server.forbidden = {"list"}
    async with reflector(Fixed(server.url), namespace="x") as watcher:
        await until(lambda: watcher.status.missing_permission is not None, watcher)
        status = watcher.status
        assert status.missing_permission == (
            "cannot list pods in namespace x as system:serviceaccount:llm:gateway: "
            "the Role needs get, list, watch on pods, and a RoleBinding to it"
        )
        assert status.blind_why == status.missing_permission
        assert not status.synced
        server.forbidden = set()
        await until(lambda: uid in watcher.store and watcher.status.watching, watcher)
        assert watcher.status.missing_permission is None
        assert watcher.status.blind_since is None


async def test_without_the_right_to_watch_lists_keep_the_store_fresh_and_the_right_is_named(server: Server) -> None:
    add(server, "a")
    server.forbidden = {"watch"}
    async with reflector(Fixed(server.url)) as watcher:
        await until(lambda: names(watcher) == {"llm/a"}, watcher)
        server.cluster.delete("llm", "a", 0)
        add(server, "b")
        await until(lambda: names(watcher) == {"llm/b"}, watcher)
        assert (watcher.status.missing_permission or "").startswith("cannot watch pods in all namespaces")
        assert "ClusterRole" in (watcher.status.missing_permission or "")
        assert watcher.status.blind_since is not None
        server.forbidden = set()
        await until(lambda: watcher.status.watching and watcher.status.missing_permission is None, watcher)


async def test_a_role_for_one_namespace_does_not_do_for_all(server: Server) -> None:
    server.role_namespaces = {"llm"}
    async with reflector(Fixed(server.url)) as wide, watching(server, namespace="llm"):
        await until(lambda: wide.status.missing_permission is not None, wide)
        assert "cannot list pods in all namespaces" in (wide.status.missing_permission or "")


async def test_a_rotated_token_goes_unnoticed(server: Server) -> None:
    server.token = "first"
    source = Fixed(server.url, "first")
    async with reflector(source) as watcher:
        await until(lambda: watcher.status.watching, watcher)
        server.token = source.token = "second"
        server.cut()
        await until(lambda: watcher.counts.watches == 2, watcher)
        add(server, "a")
        await until(lambda: names(watcher) == {"llm/a"}, watcher)
        assert source.loads == 2


async def test_a_token_that_is_no_good_is_said_and_tried_again(server: Server) -> None:
    server.token = "right"
    source = Fixed(server.url, "wrong")
    async with reflector(source) as watcher:
        await until(lambda: "401 Unauthorized" in watcher.status.blind_why, watcher)
        source.token = "right"
        await until(lambda: watcher.status.watching, watcher)


# --- annotations ---


async def test_annotations_are_set_and_taken_away_and_come_back_through_the_watch(server: Server) -> None:
    uid = add(server, "a")
    async with watching(server) as watcher:
        answered = await watcher.patch_annotations("llm", "a", str(uid), {"smg.ai/cordoned": "yes", "x": "y"})
        assert answered.metadata.annotations == {"smg.ai/cordoned": "yes", "x": "y"}
        await until(lambda: watcher.store[uid].metadata.annotations == answered.metadata.annotations, watcher)
        await watcher.patch_annotations("llm", "a", str(uid), {"x": None})
        await until(lambda: watcher.store[uid].metadata.annotations == {"smg.ai/cordoned": "yes"}, watcher)


async def test_a_patch_that_is_refused_says_which_right_is_missing(server: Server) -> None:
    uid = add(server, "a")
    server.forbidden = {"patch"}
    async with watching(server) as watcher:
        with pytest.raises(ApiError, match="cannot patch resource"):
            await watcher.patch_annotations("llm", "a", str(uid), {"x": "y"})
        assert "cannot patch pods in namespace llm" in (watcher.status.missing_permission or "")
        assert "the Role needs patch on pods" in (watcher.status.missing_permission or "")
        server.forbidden = set()
        with pytest.raises(ApiError) as refused:
            await watcher.patch_annotations("llm", "nobody", "u", {"x": "y"})
        assert refused.value.code == 404


# --- the end ---


async def test_leaving_is_at_once_in_every_state(server: Server) -> None:
    loop = asyncio.get_running_loop()
    server.faults.silent = True
    async with watching(server):
        began = loop.time()
    assert loop.time() - began < 1
    server.faults.refuse_next("list", 500, times=9)
    async with reflector(Fixed(server.url), pace=replace(HURRIED, first_backoff_s=30, most_backoff_s=60)) as waiting:
        await until(lambda: waiting.status.next_try_s is not None, waiting)
        began = loop.time()
    assert loop.time() - began < 1
    await until(lambda: not server.watches)
