"""Complete lists of the pods, and what they put right in the store.

A list is read page by page and in slices, so that 10,000 pods do not hold the loop; pods that have not changed since
are not decoded again. When lists are read is the reflector's to say.
"""

import asyncio
import logging
from collections.abc import Mapping

import msgspec

from gateway.kubernetes.api import ApiError, PodsApi
from gateway.kubernetes.objects import Pod, decode_pod
from gateway.kubernetes.status import Counts
from gateway.kubernetes.store import Drift, Store

logger = logging.getLogger(__name__)

PAGE = 250
SLICE = 20
"""Pods decoded before the loop's other work gets its turn: about a millisecond."""
MERGE_SLICE = 200


class _VersionMetadata(msgspec.Struct, frozen=True, rename="camel", gc=False):
    resource_version: str = ""
    uid: str = ""


class _Versioned(msgspec.Struct, frozen=True, gc=False):
    metadata: _VersionMetadata


_version_decoder = msgspec.json.Decoder(_Versioned)


def version_of(raw: msgspec.Raw) -> int:
    """The resourceVersion of any object; 0: it has none that is a number."""
    version = _version_decoder.decode(raw).metadata.resource_version
    return int(version) if version.isdecimal() else 0


class Lister:
    """Reads lists into a store."""

    def __init__(self, api: PodsApi, store: Store, counts: Counts) -> None:
        self._api = api
        self._store = store
        self._counts = counts

    async def read(self) -> tuple[int, dict[str, Pod]]:
        """The pods of one version of the cluster. A list whose pages grow too old on the way is read again, all
        at once the second time."""
        for limit in (PAGE, PAGE, 0):
            try:
                return await self._pages(limit)
            except ApiError as error:
                if not (error.expired and limit):
                    raise
        raise AssertionError("unreachable: a list without pages returned or raised")

    async def _pages(self, limit: int) -> tuple[int, dict[str, Pod]]:
        pods: dict[str, Pod] = {}
        continue_ = ""
        while True:
            page = await self._api.page(limit, continue_)
            for number, raw in enumerate(page.items or (), 1):
                if (pod := self._known(raw) or self.decoded(raw)) is not None:
                    pods[pod.uid] = pod
                if number % SLICE == 0:
                    await asyncio.sleep(0)
            continue_ = page.metadata.continue_
            if not continue_:
                return int(page.metadata.resource_version), pods

    def _known(self, raw: msgspec.Raw) -> Pod | None:
        """The record that is there already, if the listed pod is still that version: most are."""
        try:
            meta = _version_decoder.decode(raw).metadata
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        pod = self._store.get(meta.uid)
        return pod if pod is not None and pod.metadata.resource_version == meta.resource_version else None

    def decoded(self, raw: msgspec.Raw) -> Pod | None:
        """The pod, or None, noted, if it is not as documented: one odd pod must not blind us to the others."""
        try:
            return decode_pod(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._counts.unreadable += 1
            logger.warning("pod_unreadable", extra={"fields": {"why": str(error)}})
            return None

    def differs(self, version: int, pods: Mapping[str, Pod]) -> bool:
        if len(pods) != len(self._store):
            return True
        return any(self._store.get(uid) is not pod for uid, pod in pods.items())

    async def merge(self, version: int, pods: Mapping[str, Pod]) -> Drift:
        missing = stale = ghosts = 0
        for number, (uid, pod) in enumerate(pods.items(), 1):
            known = uid in self._store
            if self._store.listed(pod):
                stale += known
                missing += not known
            if number % MERGE_SLICE == 0:
                await asyncio.sleep(0)
        for uid in [uid for uid in self._store if uid not in pods]:
            ghosts += self._store.unlisted(uid, version)
        self._store.list_done(version)
        return Drift(missing, stale, ghosts)
