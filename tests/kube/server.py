"""A small, faithful Kubernetes API server for tests: pods over HTTP or TLS on a loopback socket.

What it does was seen on a real kube-apiserver: lists in pages of one snapshot, watches with bookmarks and time
limits, 410 as an ERROR line of a 200, a watch from the future that stays silent, 403 in the API server's own words.
Tests hold the `Cluster` behind it, restart it, take its rights away and make its watches misbehave.
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

from aiohttp import web

from tests.kube.cluster import Cluster, Json, Refused, Stored, seen_as
from tests.kube.faults import Faults, Unruly
from tests.kube.query import Lists, version_asked, wanted

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
USER = "system:serviceaccount:llm:gateway"
PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


class Server:
    """Enter it to serve. `port` stays the same over `stop` and `start`, as a restarted server's does."""

    def __init__(
        self,
        cluster: Cluster | None = None,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        bookmark_s: float = 60.0,
    ) -> None:
        self.cluster = cluster or Cluster()
        self.token = token
        self.bookmark_s = bookmark_s
        self.port = port
        self.faults = Faults()
        self.forbidden: set[str] = set()
        """Verbs that the Role lacks, of every resource or of one (`get secrets`)."""
        self.role_namespaces: set[str] | None = None
        """The namespaces with a Role; None: a ClusterRole, good for all."""
        self.requests: list[tuple[str, str | None, dict[str, str]]] = []
        """Verb, namespace and query of every request, in order."""
        self.watches: set[_Watch] = set()
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._lists = Lists(self.cluster)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=2**22)
        for prefix in ("/api/v1", "/api/v1/namespaces/{namespace}"):
            app.router.add_get(f"{prefix}/pods", self._list_or_watch)
        app.router.add_post("/api/v1/namespaces/{namespace}/pods", self._create)
        one = "/api/v1/namespaces/{namespace}/pods/{name}"
        app.router.add_get(one, self._get)
        app.router.add_patch(one, self._patch)
        app.router.add_patch(f"{one}/status", self._patch)
        app.router.add_delete(one, self._delete)
        app.router.add_get("/api/v1/namespaces/{namespace}/secrets/{name}", self._secret)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """As a killed process: connections are reset, nothing is said."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def restart(self) -> None:
        """Gone and back on the same port, over the same etcd: every earlier resourceVersion is 410."""
        await self.stop()
        self.cluster.forget()
        await self.start()

    def cut(self, *, mid_line: bool = False) -> None:
        """Drop the connections of all watches, if asked in the middle of a line."""
        for watch in list(self.watches):
            watch.cut(mid_line=mid_line)

    def expire(self) -> None:
        """The running watches fell behind: each gets the 410 line."""
        for watch in list(self.watches):
            watch.expire()

    @property
    def holds(self) -> bool:
        """Some watch has events that are delayed and not sent yet."""
        return any(watch.holds for watch in self.watches)

    def count(self, verb: str) -> int:
        return sum(1 for asked, *_ in self.requests if asked == verb)

    # --- every request ---

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        verb, namespace = _verb(request), request.match_info.get("namespace")
        self.requests.append((verb, namespace, dict(request.query)))
        try:
            if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
                raise Refused(401, "Unauthorized", "Unauthorized")
            self._check_role(verb, namespace, _resource(request.path))
            if (refusal := self.faults.refusal(verb)) is not None:
                return web.json_response(
                    Refused(refusal[0], "", "as the test asked").status(), status=refusal[0], headers=refusal[1]
                )
            return await handler(request)
        except Refused as refused:
            return web.json_response(refused.status(), status=refused.code)

    def _check_role(self, verb: str, namespace: str | None, what: str) -> None:
        in_scope = self.role_namespaces is None or namespace in self.role_namespaces
        if in_scope and not self.forbidden & {verb, f"{verb} {what}"}:
            return
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        raise Refused(
            403,
            "Forbidden",
            f'{what.partition("/")[0]} is forbidden: User "{USER}" cannot {verb} resource "{what}" in API group "" '
            + where,
        )

    # --- verbs ---

    async def _list_or_watch(self, request: web.Request) -> web.StreamResponse:
        namespace = request.match_info.get("namespace")
        if request.query.get("watch") not in ("1", "true"):
            body = self._lists.answer(namespace, request.query)
            return web.Response(body=body, content_type="application/json")
        watch = _Watch(self, request, wanted(namespace, request.query))
        self.watches.add(watch)
        try:
            return await watch.run()
        finally:
            self.watches.discard(watch)

    async def _create(self, request: web.Request) -> web.Response:
        return _pod(self.cluster.create(await request.json(), request.match_info["namespace"]), 201)

    async def _get(self, request: web.Request) -> web.Response:
        return _pod(self.cluster.get(request.match_info["namespace"], request.match_info["name"]))

    async def _secret(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        data = self.cluster.secrets.get((namespace, name))
        if data is None:
            raise Refused(404, "NotFound", f'secrets "{name}" not found')
        meta = {"name": name, "namespace": namespace}
        return web.json_response(
            {"kind": "Secret", "apiVersion": "v1", "metadata": meta, "type": "Opaque", "data": data}
        )

    async def _patch(self, request: web.Request) -> web.Response:
        if request.content_type not in PATCHES:
            raise Refused(415, "UnsupportedMediaType", f"the body of the request was in an unknown format - {PATCHES}")
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        status = request.path.endswith("/status")
        return _pod(self.cluster.patch(namespace, name, json.loads(await request.read()), status=status))

    async def _delete(self, request: web.Request) -> web.Response:
        body: Json = json.loads(await request.read() or b"{}")
        grace = body.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        return _pod(self.cluster.delete(namespace, name, None if grace is None else int(grace)))


def _verb(request: web.Request) -> str:
    if request.method == "GET" and request.path.endswith("/pods"):
        return "watch" if request.query.get("watch") in ("1", "true") else "list"
    return request.method.lower() if request.method != "POST" else "create"


def _resource(path: str) -> str:
    if "/secrets/" in path:
        return "secrets"
    return "pods/status" if path.endswith("/status") else "pods"


def _pod(pod: Stored, status: int = 200) -> web.Response:
    return web.Response(body=pod.text, status=status, content_type="application/json")


class _Watch:
    """One watch under way."""

    def __init__(self, server: Server, request: web.Request, wants: Callable[[Json], bool]) -> None:
        query = request.query
        self._server = server
        self._cluster = server.cluster
        self._request = request
        self._wants = wants
        self._asked = version_asked(query)
        self._bookmarks = query.get("allowWatchBookmarks") in ("1", "true")
        self._initial = query.get("sendInitialEvents") in ("1", "true")
        if self._initial and not (query.get("resourceVersionMatch") == "NotOlderThan" and self._bookmarks):
            message = "sendInitialEvents needs resourceVersionMatch=NotOlderThan and allowWatchBookmarks"
            raise Refused(422, "Invalid", message)
        self._timeout_s = float(query.get("timeoutSeconds") or 1800)
        self._news = asyncio.Event()
        self._way = Unruly(server.faults)
        self._expired = False
        self._response = web.StreamResponse(headers={"Content-Type": "application/json"})

    def cut(self, *, mid_line: bool = False) -> None:
        transport = self._request.transport
        if transport is None:
            return
        if mid_line and self._response.prepared:
            half = b'{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"na'
            transport.write(b"%x\r\n%s\r\n" % (len(half), half))
            transport.close()
        else:
            transport.abort()

    @property
    def holds(self) -> bool:
        return self._way.holds

    def expire(self) -> None:
        self._expired = True
        self._news.set()

    async def run(self) -> web.StreamResponse:
        await self._response.prepare(self._request)
        self._cluster.listeners.add(self._news.set)
        try:
            with suppress(ConnectionError):
                await self._stream()
        finally:
            self._cluster.listeners.discard(self._news.set)
        return self._response

    async def _stream(self) -> None:
        loop = asyncio.get_running_loop()
        end, at = loop.time() + self._timeout_s, self._asked or 0
        if self._server.faults.silent:
            await asyncio.sleep(self._timeout_s)
            return
        if at and at < self._cluster.cache_from:
            await self._say_expired(at)
            return
        if not at or self._initial:
            at = await self._say_present_state()
        next_bookmark = loop.time() + self._server.bookmark_s
        while (now := loop.time()) < end:
            self._news.clear()
            if self._expired:
                await self._say_expired(at)
                return
            at = await self._say_changes(at)
            for line in self._way.due():
                await self._response.write(line)
            if self._bookmarks and now >= next_bookmark and not self._server.faults.silent:
                await self._say_bookmark(max(at, self._cluster.version))
                next_bookmark = now + self._server.bookmark_s
            pause = min(end, next_bookmark if self._bookmarks else end) - loop.time()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(pause, 0.005) if self._way.holds else pause)):
                    await self._news.wait()

    async def _say_changes(self, at: int) -> int:
        for change in self._cluster.since(at):
            at = change.version
            seen = seen_as(change, self._wants)
            if seen is None or self._server.faults.silent:
                continue
            for line in self._way.passed(_line(*seen)):
                await self._response.write(line)
        return at

    async def _say_present_state(self) -> int:
        version = self._cluster.version
        for pod in self._cluster.snapshot(self._wants):
            await self._response.write(_line("ADDED", pod))
        if self._initial:
            await self._say_bookmark(version, {"k8s.io/initial-events-end": "true"})
        return version

    async def _say_bookmark(self, version: int, annotations: dict[str, str] | None = None) -> None:
        meta: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        body = {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": {"containers": None}, "status": {}}
        await self._response.write(json.dumps({"type": "BOOKMARK", "object": body}).encode() + b"\n")

    async def _say_expired(self, at: int) -> None:
        status = Refused(410, "Expired", f"too old resource version: {at} ({self._cluster.cache_from})").status()
        await self._response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")


def _line(kind: str, pod: Stored) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), pod.text)
