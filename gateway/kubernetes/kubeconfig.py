"""Credentials from kubeconfig files, read and merged by kubernetes-asyncio.

Two things are done here and not by the library: credential plugins (see `plugin.py`), and choosing the current
context, which in kubectl is the first file's that names one and in the library the last one's.
"""

import asyncio
import base64
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gateway.kubernetes.access import Credentials, NoAccess, Tls, environment_proxy
from gateway.kubernetes.plugin import Issued, Plugin, PluginFailed, plugin_of

Section = dict[str, Any]
T = TypeVar("T")
ANONYMOUS = "(anonymous)"


class KubeConfig:
    """One context of the merged files; None: the current one."""

    def __init__(self, paths: Sequence[Path], context: str | None, environ: Mapping[str, str]) -> None:
        self._paths = paths
        self._context = context
        self._environ = environ
        self._issued: Issued | None = None
        shown = os.pathsep.join(map(str, paths))
        self.description = f"kubeconfig {shown}" + (f", context {context}" if context else "")

    async def load(self, *, again: bool) -> Credentials:
        if again:
            self._issued = None
        opened = await self._guarded(asyncio.to_thread(_Opened, self._paths, self._context))
        good_at: Callable[[float], bool] | None = None
        if (plugin := opened.plugin) is not None:
            issued = await self._guarded(self._from_plugin(plugin))
            opened.use(issued)
            good_at = issued.good_at
        return await self._guarded(asyncio.to_thread(opened.credentials, self.description, good_at))

    async def _from_plugin(self, plugin: Plugin) -> Issued:
        if self._issued is None or not self._issued.good_at(time.time()):
            self._issued = await plugin.run(self._environ)
        return self._issued

    async def _guarded(self, job: Awaitable[T]) -> T:
        """Whatever is wrong with a file somebody wrote is one sentence that names the file."""
        try:
            return await job
        except NoAccess:
            raise
        except PluginFailed as error:
            raise NoAccess(f"{self.description}: {error}") from None
        except Exception as error:  # the library raises assertions, KeyErrors, YAML errors and its own
            said = str(error) or type(error).__name__
            raise NoAccess(f"{self.description}: {said}", field="kubeconfig") from error


class _Opened:
    """The merged files, at one context. Made and asked in a thread: reading YAML and importing take their time."""

    def __init__(self, paths: Sequence[Path], context: str | None) -> None:
        from kubernetes_asyncio.config.kube_config import ConfigNode, KubeConfigMerger

        self._node = ConfigNode
        said = [path for path in paths if path.read_bytes().strip()]  # the library stumbles over empty files
        self._files = KubeConfigMerger(os.pathsep.join(map(str, said)))
        if not said or self._files.config is None:
            shown = os.pathsep.join(map(str, paths))
            raise NoAccess(f"the kubeconfig is empty: {shown}", field="kubeconfig")
        self._merged: Any = self._files.config  # a tree of untyped nodes
        self._context = context or self._current(paths)
        chosen = self._named("contexts", self._context)["context"]
        if not chosen.get("user"):  # the library wants one; an anonymous user may still need the cluster's CA
            chosen["user"] = ANONYMOUS
            nobody = {"name": ANONYMOUS, "user": {}}
            self._merged.value["users"].append(self._node(ANONYMOUS, nobody, str(paths[0])))
        self._user_name = str(chosen["user"])
        self._cluster = self._named("clusters", chosen["cluster"])["cluster"]
        self.plugin: Plugin | None = None
        if section := self._user().get("exec"):
            self.plugin = plugin_of(section, self._cluster, str(self._directory("users", self._user_name)))

    def _current(self, paths: Sequence[Path]) -> str:
        for path in paths:
            if name := (self._files.config_files.get(str(path)) or {}).get("current-context"):
                return str(name)
        raise NoAccess("no current-context is set; give --kube-context", field="kube_context")

    def _entry(self, kind: str, name: str) -> Any:
        entries = self._merged.value.get(kind) or []
        for entry in entries:
            if entry.value.get("name") == name:
                return entry
        known = ", ".join(sorted(str(entry.value.get("name")) for entry in entries)) or "none"
        raise NoAccess(
            f"{kind.removesuffix('s')} {name!r} is not in the kubeconfig; it has {known}", field="kubeconfig"
        )

    def _named(self, kind: str, name: str) -> Section:
        found: Section = self._entry(kind, name).value
        return found

    def _directory(self, kind: str, name: str) -> Path:
        return Path(self._entry(kind, name).path).absolute().parent

    def _user(self) -> Section:
        user: Section = self._named("users", self._user_name).get("user") or {}
        return user

    def use(self, issued: Issued) -> None:
        """Put what the plugin gave in its place, in memory only: these entries are never written back."""
        user = {key: value for key, value in self._user().items() if key != "exec"}
        if issued.token:
            user["token"] = issued.token
        if issued.client_certificate_data:
            user["client-certificate-data"] = base64.b64encode(issued.client_certificate_data.encode()).decode()
            user["client-key-data"] = base64.b64encode(issued.client_key_data.encode()).decode()
        entry = self._entry("users", self._user_name)
        users = self._merged.value["users"]
        users[users.index(entry)] = self._node(entry.name, {"name": self._user_name, "user": user}, entry.path)

    def credentials(self, source: str, good_at: Callable[[float], bool] | None) -> Credentials:
        from kubernetes_asyncio.client import Configuration
        from kubernetes_asyncio.config.kube_config import KubeConfigLoader

        loader = KubeConfigLoader(
            config_dict=self._merged,
            active_context=self._context,
            config_base_path=None,
            config_persister=partial(_persist, self._files),
        )
        configuration = Configuration()
        asyncio.run(loader.load_and_set(configuration))
        server = str(configuration.host)
        if "://" not in server:
            raise NoAccess(f"server {server!r} has no scheme; write https://{server}", field="kubeconfig")
        tls = Tls(
            ca_file=configuration.ssl_ca_cert,
            cert_file=configuration.cert_file,
            key_file=configuration.key_file,
            verify=bool(configuration.verify_ssl),
            server_name=configuration.tls_server_name,
        )
        token = configuration.api_key.get("BearerToken")
        return Credentials(
            server=server.rstrip("/"),
            source=source,
            authorization=token.strip() if token else None,  # a token file ends with a newline
            tls=tls if server.startswith("https:") else None,
            proxy=configuration.proxy or environment_proxy(server),
            good_at=good_at,
        )


def _persist(files: Any) -> None:
    """An OIDC provider's refresh token is good once: the new one has to be kept, as kubectl keeps it."""
    files.save_changes()
