"""The reflector and an API server that is slow, torn, from the future, or in the way of leaving it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.kubernetes.access import Credentials, Tls
from tests.integration.kube_world import HURRIED, Fixed, names, reflector, truth, until, versions, watching
from tests.kube.cluster import Json
from tests.kube.pods import pod
from tests.kube.server import Server
from tests.kube.wire import Wire, event, say


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server() as running_server:
        yield running_server


def add(server: Server, name: str, namespace: str = "llm", app: str = "sglang", **metadata: Any) -> str:
    """Create a running pod; its uid."""
    body = pod(name, "10.0.0.1", {"app": app}, **metadata)
    uid: str = server.cluster.create(body, namespace).json["metadata"]["uid"]
    return uid


def made(name: str, version: int, **metadata: Any) -> Json:
    """A pod as it stands in an answer."""
    metadata |= {"namespace": "llm", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return pod(name, "10.0.0.1", **metadata)


# --- bytes ---


async def test_lines_and_characters_may_be_torn_anywhere() -> None:
    async with Wire() as wire, reflector(Fixed(wire.url)) as watcher:
        watch = await wire.watch()
        said = "träge — 東京 🚀"
        text = event("ADDED", made("a", 101, annotations={"why": said}))
        await say(watch, *(text[at : at + 1] for at in range(len(text))))
        both = event("ADDED", made("b", 102, annotations={"why": said})) + event("DELETED", made("a", 103))
        await say(watch, both[:-40], both[-40:-1], both[-1:])
        await until(lambda: names(watcher) == {"llm/b"}, watcher)
        assert watcher.store["uid-b"].metadata.annotations == {"why": said}
        assert (watcher.counts.added, watcher.counts.deleted, watcher.counts.unreadable) == (2, 1, 0)


async def test_a_pod_of_a_megabyte_comes_through_a_watch_and_a_list(server: Server) -> None:
    async with watching(server) as watcher:
        uid = add(server, "fat", annotations={"fat": "x" * 1_000_000})
        await until(lambda: uid in watcher.store, watcher)
        assert len(watcher.store[uid].metadata.annotations["fat"]) == 1_000_000
        server.cluster.patch("llm", "fat", {"metadata": {"labels": {"more": "so"}}})
        await until(lambda: versions(watcher) == truth(server.cluster), watcher)
        assert (server.count("list"), watcher.counts.failures) == (1, 0)
    async with watching(server) as another:
        assert versions(another) == truth(server.cluster)


async def test_a_watch_that_speaks_no_json_is_begun_anew_where_it_was() -> None:
    async with Wire(made("a", 90)) as wire, reflector(Fixed(wire.url)) as watcher:
        watch = await wire.watch()
        await say(watch, event("ADDED", made("b", 101)), b"<html>gateway timeout</html>\n")
        await until(lambda: "spoke no sense" in watcher.status.blind_why, watcher)
        assert names(watcher) == {"llm/a", "llm/b"}
        again = await wire.watch()
        await say(again, event("ADDED", made("c", 102)))
        await until(lambda: names(watcher) == {"llm/a", "llm/b", "llm/c"}, watcher)
        assert wire.lists == 1
        assert watcher.status.blind_since is None


async def test_one_pod_that_makes_no_sense_hides_no_other() -> None:
    async with Wire() as wire, reflector(Fixed(wire.url)) as watcher:
        watch = await wire.watch()
        odd = made("odd", 101) | {"spec": "none"}
        await say(watch, event("ADDED", odd) + event("ADDED", made("a", 102)))
        await until(lambda: names(watcher) == {"llm/a"}, watcher)
        assert watcher.counts.unreadable == 1
        assert watcher.counts.watches == 1


# --- order ---


async def test_of_one_pods_events_the_newest_holds_in_whatever_order_they_come() -> None:
    async with Wire(made("a", 90)) as wire, reflector(Fixed(wire.url)) as watcher:
        watch = await wire.watch()
        newer, older = made("a", 110, annotations={"n": "2"}), made("a", 105, annotations={"n": "1"})
        await say(watch, event("MODIFIED", newer), event("MODIFIED", older), event("DELETED", made("a", 104)))
        await until(lambda: watcher.counts.stale == 2, watcher)
        assert watcher.store["uid-a"].metadata.annotations == {"n": "2"}
        await say(watch, event("DELETED", made("a", 120)), event("MODIFIED", made("a", 115)))
        await until(lambda: watcher.counts.stale == 3, watcher)
        assert not watcher.store, "a late event brings nobody back"
        assert wire.lists == 1


async def test_an_addition_told_twice_is_one_pod_and_one_change(server: Server) -> None:
    server.faults.duplicate = 1.0
    async with watching(server) as watcher:
        heard: list[str] = []
        watcher.store.listen(lambda uid, old, new: heard.append(uid))
        uid = add(server, "a")
        await until(lambda: watcher.counts.added == 2, watcher)
        assert heard == [uid]
        assert (watcher.counts.stale, watcher.counts.gaps, server.count("list")) == (1, 0, 1)


# --- long quiet ---


async def test_a_watch_of_bookmarks_alone_outlives_many_silences(server: Server) -> None:
    server.bookmark_s = 0.05
    async with watching(server, pace=replace(HURRIED, silence_s=0.4)) as watcher:
        await until(lambda: watcher.counts.bookmarks >= 40, watcher)
        assert (watcher.counts.watches, watcher.counts.lists, watcher.counts.failures) == (1, 1, 0)
        assert watcher.status.blind_since is None
        add(server, "a")
        await until(lambda: names(watcher) == {"llm/a"}, watcher)
        assert watcher.counts.watches == 1


async def test_a_watch_from_the_future_is_silent_and_the_restored_cluster_is_found_by_a_list(server: Server) -> None:
    kept = add(server, "kept")
    backup, version = dict(server.cluster.pods), server.cluster.version
    for number in range(20):
        add(server, f"lost-{number}")
    async with watching(server, pace=replace(HURRIED, silence_s=0.3)) as watcher:
        assert len(watcher.store) == 21
        await server.stop()
        server.cluster.pods, server.cluster.version = backup, version
        server.cluster.forget()
        await server.start()
        await until(lambda: set(watcher.store) == {kept}, watcher)
        await until(lambda: watcher.status.watching, watcher)
        new = add(server, "new")
        await until(lambda: set(watcher.store) == {kept, new}, watcher)


# --- refusals ---


@pytest.mark.parametrize(
    ("code", "message"), [(410, "too old resource version: 1 (9)"), (504, "Too large resource version: 9, current: 1")]
)
async def test_a_watch_refused_for_its_version_lists_anew_and_is_not_called_blind(
    server: Server, code: int, message: str
) -> None:
    add(server, "a")
    pace = replace(HURRIED, watch_s=(1.0, 1.2), first_backoff_s=20, most_backoff_s=30)
    async with watching(server, pace=pace) as watcher:
        server.faults.refuse_next("watch", code, message=message)
        server.faults.drop = 1.0
        add(server, "b")
        await until(lambda: server.faults.dropped == 1)
        server.faults.drop = 0.0
        await until(lambda: watcher.counts.lists == 2 and watcher.status.watching, watcher)
        assert message in watcher.status.last_relist_why
        assert watcher.status.blind_since is None
        add(server, "c")
        await until(lambda: names(watcher) == {"llm/a", "llm/b", "llm/c"}, watcher)


async def test_a_list_told_of_a_version_too_large_is_asked_again_without_any(server: Server) -> None:
    add(server, "a")
    server.faults.refuse_next("list", 504, message="Too large resource version: 9, current: 1")
    async with watching(server) as watcher:
        assert names(watcher) == {"llm/a"}
    assert all("resourceVersion" not in query for verb, _, query in server.requests if verb == "list")


@pytest.mark.parametrize("times", [1, 2])
async def test_a_list_overtaken_by_a_compaction_between_its_pages_is_read_anew(server: Server, times: int) -> None:
    for number in range(600):
        add(server, f"pod-{number:04}")
    left = times

    async def compacted(verb: str, query: Mapping[str, str]) -> None:
        nonlocal left
        if "continue" in query and left:
            left -= 1
            add(server, f"between-{left}")
            server.cluster.compact()

    server.before = compacted
    async with watching(server) as watcher:
        assert versions(watcher) == truth(server.cluster)
        assert len(watcher.store) == 600 + times
        assert watcher.counts.lists == 1
    limits = [query.get("limit") for verb, _, query in server.requests if verb == "list"]
    assert (None in limits) is (times == 2), "after two that grew too old, all at once"


async def test_a_list_older_than_the_watch_beside_it_takes_nothing_back(server: Server) -> None:
    for number in range(300):
        add(server, f"pod-{number:04}")
    async with watching(server) as watcher:
        heard: list[tuple[bool, bool]] = []
        watcher.store.listen(lambda uid, old, new: heard.append((old is not None, new is not None)))

        async def meanwhile(verb: str, query: Mapping[str, str]) -> None:
            if "continue" in query:
                add(server, "new")
                server.cluster.delete("llm", "pod-0000", 0)
                server.cluster.patch("llm", "pod-0001", {"metadata": {"labels": {"x": "y"}}})
                await until(lambda: versions(watcher) == truth(server.cluster), watcher)

        server.before = meanwhile
        watcher.relist("the test asked")
        await until(lambda: watcher.counts.lists == 2, watcher)
        assert versions(watcher) == truth(server.cluster)
        # added; the deleted one marked as terminating, and gone; the other one changed
        assert sorted(heard) == [(False, True), (True, False), (True, True), (True, True)]
        assert (watcher.counts.drifted, watcher.status.last_drift) == (0, "")


async def test_a_server_that_ends_between_the_pages_leaves_no_half_of_a_list(server: Server) -> None:
    for number in range(600):
        add(server, f"pod-{number:04}")
    async with watching(server) as watcher:
        before = dict(watcher.store)
        server.faults.silent = True
        server.cluster.delete("llm", "pod-0000", 0)
        down = False

        async def ends(verb: str, query: Mapping[str, str]) -> None:
            nonlocal down
            if "continue" in query and not down:
                down = True
                server.faults.refuse_next("list", 503)

        server.before = ends
        watcher.relist("the test asked")
        await until(lambda: down and watcher.counts.failures > 0, watcher)
        assert dict(watcher.store) == before
        server.faults.silent = False
        await until(lambda: versions(watcher) == truth(server.cluster), watcher)


async def test_patience_asked_for_by_a_watch_is_given(server: Server) -> None:
    async with watching(server, pace=replace(HURRIED, most_backoff_s=30)) as watcher:
        server.faults.refuse_next("watch", 429, headers={"Retry-After": "20"})
        server.cut()
        await until(lambda: (watcher.status.next_try_s or 0) > 10, watcher)
        assert "429" in watcher.status.blind_why
        asked = server.count("watch")
        add(server, "a")
        watcher.relist("the operator would not wait")
        await until(lambda: names(watcher) == {"llm/a"} and watcher.status.watching, watcher)
        assert server.count("watch") == asked + 1


async def test_a_right_to_list_lost_under_a_living_watch_is_named_and_the_watch_goes_on(server: Server) -> None:
    async with watching(server, pace=replace(HURRIED, audit_s=0.05)) as watcher:
        server.forbidden = {"list"}
        await until(lambda: watcher.status.missing_permission is not None, watcher)
        assert (watcher.status.missing_permission or "").startswith("cannot list pods in all namespaces")
        assert watcher.status.blind_since is None
        add(server, "a")
        await until(lambda: names(watcher) == {"llm/a"}, watcher)
        assert watcher.counts.watches == 1
        server.forbidden = set()
        await until(lambda: watcher.status.missing_permission is None, watcher)


# --- namespaces ---


async def test_a_namespace_that_comes_later_is_waited_for(server: Server) -> None:
    server.role_namespaces = set()
    async with reflector(Fixed(server.url), namespace="later") as watcher:
        await until(lambda: watcher.status.missing_permission is not None, watcher)
        assert "cannot list pods in namespace later" in (watcher.status.missing_permission or "")
        server.role_namespaces = {"later"}
        await until(lambda: watcher.status.watching, watcher)
        assert not watcher.store
        uid = add(server, "a", "later")
        add(server, "a", "other")
        await until(lambda: set(watcher.store) == {uid}, watcher)
        assert watcher.status.missing_permission is None


async def test_pods_of_one_name_in_two_namespaces_are_two_and_end_apart(server: Server) -> None:
    async with watching(server) as watcher:
        one, two = add(server, "a", "one"), add(server, "a", "two")
        await until(lambda: set(watcher.store) == {one, two}, watcher)
        server.cluster.delete("one", "a", 0)
        await until(lambda: set(watcher.store) == {two}, watcher)


# --- leaving ---


class Secured(Fixed):
    async def load(self, *, again: bool) -> Credentials:
        return replace(await super().load(again=again), tls=Tls())


@pytest.mark.parametrize("where", ["in the handshake", "before the answer", "in a list", "in a watch", "in a burst"])
async def test_leaving_is_at_once_wherever_the_reflector_is(where: str) -> None:
    loop = asyncio.get_running_loop()
    mute = where in ("in the handshake", "before the answer")
    async with Wire(mute=mute, half_lists=where == "in a list") as wire:
        secured = where == "in the handshake"
        source = Secured(wire.url.replace("http:", "https:")) if secured else Fixed(wire.url)
        async with reflector(source) as watcher:
            await until(lambda: wire.connections > 0 and (mute or wire.lists > 0), watcher)
            if where in ("in a watch", "in a burst"):
                watch = await wire.watch()
                await say(watch, event("ADDED", made("a", 101)))
                await until(lambda: bool(watcher.store), watcher)
            if where == "in a burst":
                watch.write(b"%x\r\n" % 10**9)
                watch.write(event("MODIFIED", made("a", 102)) * 5000)
            began = loop.time()
        assert loop.time() - began < 0.5
        await until(lambda: not wire.open, f"{len(wire.open)} connections are open")


async def test_leaving_while_the_network_swallows_the_connection_is_at_once() -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):  # the queue of those not accepted is full: further ones get no answer at all
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        async with reflector(Fixed(f"http://127.0.0.1:{full.getsockname()[1]}")) as watcher:
            await until(lambda: _connecting(full.getsockname()[1]) > 0, watcher)
            began = loop.time()
        assert loop.time() - began < 0.5
        assert "first list" in watcher.status.blind_why


def _connecting(port: int) -> int:
    """Connections to a port that nobody has answered (SYN_SENT)."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows)
