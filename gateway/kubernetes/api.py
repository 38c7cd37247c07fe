"""The pods of an API server over HTTP: pages of a list, watches as raw bytes, annotation patches.

Answers are read as raw JSON: the client library's models cost ten times the CPU and memory, and a list of 10,000
pods must not hold the loop. A 401 is answered by reading the credentials anew and asking once more, so that a
rotated token goes unnoticed. What the answers mean for the store is the reflector's.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec

from gateway.kubernetes.access import Access, NoAccess
from gateway.kubernetes.objects import Pod, decode_pod

CONNECT_S = 10.0
ANSWER_S = 15.0
"""Until the head of an answer. A watch's comes at once; everything else in this time too."""
LIST_S = 60.0
BUFFER_BYTES = 2**17
MAX_LINE_BYTES = 2**24
"""No pod is larger: etcd takes 1.5 MiB."""
UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError)


class ApiError(Exception):
    """The API server refused, in its own words. `code` is the HTTP code, `reason` Kubernetes' word for it."""

    def __init__(self, verb: str, code: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{verb} pods: {code} {reason}: {message}")
        self.verb = verb
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def expired(self) -> bool:
        """The version or the continue token is too old, or too new after a restore: only a fresh list helps."""
        return self.code == 410 or self.reason in ("Expired", "Gone") or "Too large resource version" in self.message


class _Status(msgspec.Struct, frozen=True):
    message: str = ""
    reason: str = ""
    code: int = 0


class _PageMetadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, frozen=True):
    """Part of a list: all parts are of the one version in `metadata`. `items` are undecoded pods."""

    metadata: _PageMetadata
    items: list[msgspec.Raw] | None = None


class _SecretData(msgspec.Struct, frozen=True):
    data: dict[str, bytes] = {}
    """Base64 in the JSON."""


_secret_decoder = msgspec.json.Decoder(_SecretData)
_page_decoder = msgspec.json.Decoder(Page)
_status_decoder = msgspec.json.Decoder(_Status)


def refusal(verb: str, code: int, body: bytes | msgspec.Raw, retry_after: str = "") -> ApiError:
    """The error of a Status body; anything else that answers (a proxy, a load balancer) is quoted."""
    try:
        status = _status_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = _Status(bytes(body)[:200].decode(errors="replace"))
    wait = float(retry_after) if retry_after.isdecimal() else None
    return ApiError(verb, status.code or code, status.reason, status.message, wait)


class PodsApi:
    """Pods of one namespace, or of all (None), that match a selector (canonical text). Enter it to use it."""

    def __init__(self, access: Access, namespace: str | None, selector: str) -> None:
        self.access = access
        self.namespace = namespace
        self.selector = selector
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # Compression costs the API server and us more than a network inside a cluster does.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "smg-console"},
            read_bufsize=BUFFER_BYTES,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def page(self, limit: int, continue_: str = "") -> Page:
        """One page of the newest state; `limit` 0 asks for all at once. Raises ApiError, NoAccess, UNREACHABLE, and
        msgspec.DecodeError if it is no list."""
        query = {"limit": str(limit)} if limit else {}
        if continue_:
            query["continue"] = continue_
        async with asyncio.timeout(LIST_S):
            async with self._asked("list", "GET", _path(self.namespace), self._query(query)) as response:
                return _page_decoder.decode(await response.read())

    @asynccontextmanager
    async def watch(self, version: int, timeout_s: float, silence_s: float) -> AsyncIterator[aiohttp.StreamReader]:
        """Changes after a version, as bytes. The server ends it after `timeout_s`; TimeoutError is raised if
        nothing, not even a bookmark, came for `silence_s`."""
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(version),
            "timeoutSeconds": str(max(1, round(timeout_s))),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=silence_s)
        async with self._asked("watch", "GET", _path(self.namespace), self._query(query), timeout=timeout) as response:
            yield response.content

    async def patch_annotations(
        self, namespace: str, name: str, uid: str, annotations: Mapping[str, str | None]
    ) -> Pod:
        """Set annotations of a pod, or take those away whose value is None; the pod as it is then. Raises ApiError
        (404: it is gone; 409: another has its name; 403: the Role lacks `patch`), NoAccess and UNREACHABLE."""
        body = msgspec.json.encode({"metadata": {"uid": uid, "annotations": dict(annotations)}})
        headers = {"Content-Type": "application/merge-patch+json"}
        path = f"{_path(namespace)}/{quote(name, safe='')}"
        async with asyncio.timeout(ANSWER_S):
            async with self._asked("patch", "PATCH", path, {}, headers=headers, data=body) as response:
                return decode_pod(await response.read())

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """The data of a Secret. Raises ApiError, NoAccess, UNREACHABLE, and msgspec.DecodeError if it is none."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets/{quote(name, safe='')}"
        async with asyncio.timeout(ANSWER_S):
            async with self._asked("get", "GET", path, {}) as response:
                return _secret_decoder.decode(await response.read()).data

    def _query(self, more: dict[str, str]) -> dict[str, str]:
        return more | ({"labelSelector": self.selector} if self.selector else {})

    @asynccontextmanager
    async def _asked(
        self, verb: str, method: str, path: str, query: dict[str, str], **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer's response, closed at the end."""
        response = await self._answer(method, path, query, options)
        if response.status == 401:
            response.close()
            self.access.refused()
            response = await self._answer(method, path, query, options)
        try:
            if response.status >= 300:
                body = await response.content.read(MAX_LINE_BYTES)
                raise refusal(verb, response.status, body, response.headers.get("Retry-After", ""))
            yield response
        finally:
            response.close()  # of an answer read to its end the connection is kept all the same

    async def _answer(
        self, method: str, path: str, query: dict[str, str], options: dict[str, Any]
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("PodsApi is used outside its context")
        credentials = await self.access.credentials()
        context = await self.access.tls_context(credentials)
        headers = dict(options.get("headers", {}))
        if credentials.authorization is not None:
            headers["Authorization"] = credentials.authorization
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._session.request(
                    method,
                    credentials.server + path,
                    params=query,
                    allow_redirects=False,
                    ssl=context if context is not None else True,
                    server_hostname=credentials.tls.server_name if credentials.tls else None,
                    proxy=credentials.proxy,
                    **options | {"headers": headers},
                )
        except ValueError as error:  # a server or a token that cannot be put into a request
            raise NoAccess(f"{credentials.source}: {error}") from None


def _path(namespace: str | None) -> str:
    return "/api/v1/pods" if namespace is None else f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"


class Lines:
    """Cuts a stream of bytes into lines. An unfinished last line stays behind, and is lost with its connection."""

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete now, without their ends and without empty ones. Raises ValueError for a line
        that does not end."""
        head, newline, rest = chunk.partition(b"\n")
        self._parts.append(head)
        self._size += len(head)
        if self._size > MAX_LINE_BYTES:
            raise ValueError(f"a line of a watch is longer than {MAX_LINE_BYTES} bytes")
        if not newline:
            return []
        lines = [b"".join(self._parts), *rest.split(b"\n")]
        last = lines.pop()
        self._parts, self._size = [last], len(last)
        return [line for line in lines if line]
