"""How to reach the API server and who we are there, found where kubectl finds it.

In this order: the kubeconfig named in the settings, the files of `KUBECONFIG`, `~/.kube/config`, and inside a pod
its service account. Credentials are read again when they are older than a minute, since tokens are rotated in
their files, and at once when the API server has refused them. Kubeconfigs are read by kubernetes-asyncio, which
is imported only then: inside a pod three small files say everything, and the library's 45 MB stay out.
"""

import asyncio
import os
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from gateway.errors import GatewayError

FRESH_S = 60.0
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoAccess(GatewayError):
    """No usable credentials: nothing was found, or what was found cannot be read. Says where it was looked for."""

    code = "KUBERNETES_ACCESS"
    status = 503


@dataclass(frozen=True, slots=True)
class Tls:
    """What secures the connection, by file."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file)
        # Clusters' own CAs often lack the extensions that Python 3.13 asks for; kubectl does not ask for them.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def fingerprint(self) -> tuple[object, ...]:
        """Changes when a file was rotated."""
        files = (self.ca_file, self.cert_file, self.key_file)
        stats = [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for name in files if name for stat in (os.stat(name),)]
        return (self, *stats)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Enough to make a request. `source` says where they are from, without secrets."""

    server: str
    source: str
    authorization: str | None = None
    tls: Tls | None = None
    proxy: str | None = None
    good_at: Callable[[float], bool] | None = None
    """Whether they are still good at a time (seconds since the epoch); None: for as long as `FRESH_S`."""

    def __repr__(self) -> str:
        return f"<Credentials for {self.server} from {self.source}>"


class Source(Protocol):
    """Where credentials come from. `load` raises NoAccess; `again` is set when the last ones were refused."""

    description: str

    async def load(self, *, again: bool) -> Credentials: ...


class InCluster:
    """The service account that Kubernetes mounts into a pod."""

    def __init__(self, environ: Mapping[str, str], directory: Path = SERVICE_ACCOUNT) -> None:
        host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
        self._server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        self._directory = directory
        self.description = f"service account in {directory}"

    async def load(self, *, again: bool) -> Credentials:
        return await asyncio.to_thread(self._load)

    def _load(self) -> Credentials:
        try:
            token = (self._directory / "token").read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NoAccess(f"cannot read the service account's token: {error}") from None
        if not token:
            raise NoAccess(f"the service account's token is empty: {self._directory / 'token'}")
        ca_file = self._directory / "ca.crt"
        return Credentials(
            server=self._server,
            source=self.description,
            authorization=f"Bearer {token}",
            tls=Tls(ca_file=str(ca_file) if ca_file.exists() else None),
        )


def find(
    kubeconfig: str | None = None,
    context: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    service_account: Path = SERVICE_ACCOUNT,
) -> Source:
    """Where credentials are to be had. Raises NoAccess naming every place looked at."""
    env = os.environ if environ is None else environ
    looked, paths = _kubeconfigs(kubeconfig, env)
    if paths:
        from gateway.kubernetes.kubeconfig import KubeConfig  # only now: what it needs is not always installed

        return KubeConfig(paths, context, env)
    if context is not None:
        raise NoAccess(f"context {context!r} needs a kubeconfig, and none was found: {looked}", field="kube_context")
    if env.get("KUBERNETES_SERVICE_HOST") and env.get("KUBERNETES_SERVICE_PORT"):
        if (service_account / "token").exists():
            return InCluster(env, service_account)
        inside = f"in a pod, but {service_account / 'token'} is absent"
    else:
        inside = "not in a pod (KUBERNETES_SERVICE_HOST is not set)"
    raise NoAccess(f"no Kubernetes credentials found: {looked}; {inside}. Give --kubeconfig, or run in a pod")


def _kubeconfigs(named: str | None, env: Mapping[str, str]) -> tuple[str, list[Path]]:
    """What was looked at, in words, and the kubeconfig files that are there."""
    if named is not None:
        path = Path(named).expanduser()
        if not path.is_file():
            raise NoAccess(f"--kubeconfig {named}: no such file", field="kubeconfig")
        return "", [path]
    if listed := [part for part in env.get("KUBECONFIG", "").split(os.pathsep) if part]:
        present = [path for path in (Path(part).expanduser() for part in listed) if path.is_file()]
        return f"KUBECONFIG names no file that exists ({os.pathsep.join(listed)})", present
    home = env.get("HOME") or str(Path("~").expanduser())
    path = Path(home, ".kube", "config")
    return f"KUBECONFIG is not set, {path} is absent", [path] if path.is_file() else []


class Access:
    """Credentials for as long as they are good, and the TLS context they need."""

    def __init__(self, source: Source, *, mono: Callable[[], float], wall: Callable[[], float]) -> None:
        self._source = source
        self._mono = mono
        self._wall = wall
        self._loading = asyncio.Lock()
        self._credentials: Credentials | None = None
        self._loaded_at = 0.0
        self._refused = False
        self._context: tuple[tuple[object, ...], ssl.SSLContext] | None = None

    @property
    def description(self) -> str:
        return self._source.description

    def refused(self) -> None:
        """The API server answered 401: read everything anew before the next request."""
        self._refused = True

    async def credentials(self) -> Credentials:
        """Raises NoAccess if there are none. A source that fails for the moment leaves the last ones in use."""
        async with self._loading:
            if self._credentials is None or self._refused or not self._fresh(self._credentials):
                await self._load()
            assert self._credentials is not None
            return self._credentials

    def _fresh(self, credentials: Credentials) -> bool:
        if credentials.good_at is not None:
            return credentials.good_at(self._wall())
        return self._mono() - self._loaded_at < FRESH_S

    async def _load(self) -> None:
        try:
            self._credentials = await self._source.load(again=self._refused)
        except NoAccess:
            if self._credentials is None or self._refused or self._credentials.good_at is not None:
                raise
        self._loaded_at = self._mono()
        self._refused = False

    async def tls_context(self, credentials: Credentials) -> ssl.SSLContext | None:
        """Made anew only when a certificate changed, so that connections are kept."""
        if credentials.tls is None:
            return None
        try:
            return await asyncio.to_thread(self._made_context, credentials.tls)
        except OSError as error:  # an ssl.SSLError is one too
            raise NoAccess(f"cannot use the certificates of {credentials.source}: {error}") from None

    def _made_context(self, tls: Tls) -> ssl.SSLContext:
        fingerprint = tls.fingerprint()
        if self._context is None or self._context[0] != fingerprint:
            self._context = (fingerprint, tls.context())
        return self._context[1]


def environment_proxy(server: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY give for this server, as kubectl honours them."""
    parts = urlsplit(server)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
