"""Credentials found where kubectl finds them, and used: TLS with a CA of its own, certificates, tokens that change."""

import asyncio
import base64
import json
import os
import shutil
import ssl
import stat
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.kubernetes.access import InCluster, NoAccess, Source, find
from gateway.kubernetes.reflector import Reflector
from tests.integration.kube_world import reflector, until
from tests.kube.pods import pod
from tests.kube.server import Server

OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")


class Authority:
    """A CA, and what it signs."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.cert, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        _run([*made, "-keyout", str(self.key), "-out", str(self.cert)])

    def signs(self, name: str) -> tuple[Path, Path]:
        cert, key, request = (self.folder / f"{self.name}-{name}.{end}" for end in ("pem", "key", "csr"))
        names = self.folder / "names"
        names.write_text("subjectAltName=DNS:kubernetes.default,DNS:localhost,IP:127.0.0.1", encoding="ascii")
        made = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
        _run([*made, "-keyout", str(key), "-out", str(request)])
        sign = ["openssl", "x509", "-req", "-in", str(request), "-CA", str(self.cert), "-CAkey", str(self.key)]
        _run([*sign, "-CAcreateserial", "-days", "1", "-extfile", str(names), "-out", str(cert)])
        return cert, key


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "cluster-ca")


def serving(authority: Authority, *, clients_too: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.signs("server"))
    if clients_too:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.cert)
    return context


@asynccontextmanager
async def watcher(source: Source) -> AsyncIterator[Reflector]:
    async with reflector(source) as found:
        yield found


async def sees(found: Reflector) -> None:
    await until(lambda: found.status.watching and len(found.store) == 1, found)


def a_pod(server: Server) -> None:
    server.cluster.create(pod("a", "10.0.0.1"), "llm")


def kubeconfig(folder: Path, server: str, user: dict[str, Any], name: str = "config", **cluster: Any) -> Path:
    path = folder / name
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def from_file(path: Path, context: str | None = None) -> Source:
    return find(str(path), context, environ=dict(os.environ))


# --- in a pod ---


def service_account(folder: Path, server: Server, token: str, ca: Path) -> InCluster:
    (folder / "token").write_text(f"{token}\n", encoding="ascii")
    shutil.copy(ca, folder / "ca.crt")
    return InCluster({"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}, folder)


@OPENSSL
async def test_a_service_account_is_enough_and_its_rotated_token_is_read_again(
    tmp_path: Path, authority: Authority
) -> None:
    async with Server(tls=serving(authority), token="first") as server:
        a_pod(server)
        async with watcher(service_account(tmp_path, server, "first", authority.cert)) as found:
            await sees(found)
            server.token = "second"
            (tmp_path / "token").write_text("second", encoding="ascii")
            server.cut()
            server.cluster.create(pod("b", "10.0.0.2"), "llm")
            await until(lambda: len(found.store) == 2 and found.status.watching, found)
            assert found.status.blind_since is None


@OPENSSL
async def test_another_authority_is_not_trusted_and_the_reason_is_said(tmp_path: Path, authority: Authority) -> None:
    other = Authority(tmp_path, "other-ca")
    async with Server(tls=serving(authority), token="t") as server:
        a_pod(server)
        async with watcher(service_account(tmp_path, server, "t", other.cert)) as found:
            await until(lambda: "certificate verify failed" in found.status.blind_why, found)
            assert len(found.store) == 0
            assert server.requests == []


@OPENSSL
async def test_a_ca_file_that_is_replaced_is_used_from_the_next_try_on(tmp_path: Path, authority: Authority) -> None:
    other = Authority(tmp_path, "other-ca")
    async with Server(tls=serving(authority), token="t") as server:
        a_pod(server)
        async with watcher(service_account(tmp_path, server, "t", other.cert)) as found:
            await until(lambda: "certificate verify failed" in found.status.blind_why, found)
            shutil.copy(authority.cert, tmp_path / "ca.crt")
            await sees(found)


# --- kubeconfig ---


@OPENSSL
async def test_a_client_certificate_is_shown_to_a_server_that_wants_one(tmp_path: Path, authority: Authority) -> None:
    cert, key = authority.signs("operator")
    ca = {"certificate-authority": str(authority.cert)}
    async with Server(tls=serving(authority, clients_too=True)) as server:
        a_pod(server)
        nobody = from_file(kubeconfig(tmp_path, server.url, {}, "nobody", **ca))
        async with watcher(nobody) as found:
            await until(lambda: found.status.counts.failures > 2, found)  # by TLS 1.3 the server just hangs up
            assert not found.status.synced
        user = {"client-certificate": str(cert), "client-key": str(key)}
        async with watcher(from_file(kubeconfig(tmp_path, server.url, user, "files", **ca))) as found:
            await sees(found)
        inside = {
            "client-certificate-data": base64.b64encode(cert.read_bytes()).decode(),
            "client-key-data": base64.b64encode(key.read_bytes()).decode(),
        }
        data = {"certificate-authority-data": base64.b64encode(authority.cert.read_bytes()).decode()}
        async with watcher(from_file(kubeconfig(tmp_path, server.url, inside, "inside", **data))) as found:
            await sees(found)


@OPENSSL
async def test_unchecked_certificates_and_another_server_name_are_as_the_file_says(
    tmp_path: Path, authority: Authority
) -> None:
    async with Server(tls=serving(authority)) as server:
        a_pod(server)
        skip = kubeconfig(tmp_path, server.url, {}, "skip", **{"insecure-skip-tls-verify": True})
        async with watcher(from_file(skip)) as found:
            await sees(found)
        named: dict[str, Any] = {
            "certificate-authority": str(authority.cert),
            "tls-server-name": "kubernetes.default",
        }
        async with watcher(from_file(kubeconfig(tmp_path, server.url, {}, "named", **named))) as found:
            await sees(found)
        named["tls-server-name"] = "elsewhere.example"
        async with watcher(from_file(kubeconfig(tmp_path, server.url, {}, "wrong", **named))) as found:
            await until(lambda: "elsewhere.example" in found.status.blind_why, found)


async def test_a_token_file_that_changes_is_read_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n", encoding="ascii")
    async with Server(token="first") as server:
        a_pod(server)
        async with watcher(from_file(kubeconfig(tmp_path, server.url, {"tokenFile": str(token)}))) as found:
            await sees(found)
            server.token = "second"
            token.write_text("second\n", encoding="ascii")
            server.cut()
            server.cluster.create(pod("b", "10.0.0.2"), "llm")
            await until(lambda: len(found.store) == 2, found)


# --- plugins ---


def plugin(folder: Path, script: str) -> dict[str, Any]:
    """A user whose token a shell script gives; how often it ran is in the file `runs`."""
    command = folder / "plugin"
    command.write_text(f"#!/bin/sh\necho x >> {folder}/runs\n{script}\n", encoding="utf-8")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": "./plugin", "interactiveMode": "Never"}}


def gives(folder: Path, end: str = "") -> str:
    until_ = f',"expirationTimestamp":"{end}"' if end else ""
    answer = '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"%s}}'
    return f"printf '{answer % ('%s', until_)}' \"$(cat {folder}/token)\""


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text(encoding="ascii").splitlines())


async def test_a_plugins_token_is_kept_while_it_is_good_and_asked_for_again_when_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first", encoding="ascii")
    async with Server(token="first") as server:
        a_pod(server)
        async with watcher(from_file(kubeconfig(tmp_path, server.url, plugin(tmp_path, gives(tmp_path))))) as found:
            await sees(found)
            server.cut()
            server.cluster.create(pod("b", "10.0.0.2"), "llm")
            await until(lambda: len(found.store) == 2, found)
            assert runs(tmp_path) == 1
            server.token = "second"
            (tmp_path / "token").write_text("second", encoding="ascii")
            server.cut()
            server.cluster.create(pod("c", "10.0.0.3"), "llm")
            await until(lambda: len(found.store) == 3, found)
            assert runs(tmp_path) == 2


async def test_a_plugins_token_that_ends_is_renewed_before_it_does(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t", encoding="ascii")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 10))  # less than is kept to spare
    async with Server(token="t") as server:
        a_pod(server)
        user = plugin(tmp_path, gives(tmp_path, soon))
        async with watcher(from_file(kubeconfig(tmp_path, server.url, user))) as found:
            await sees(found)
            assert runs(tmp_path) >= 2, "for the list and again for the watch"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'no ticket: run login' >&2; exit 3", "ended with code 3: no ticket: run login"),
        ("echo hello", "printed no ExecCredential"),
        ('echo \'{"apiVersion":"v0","kind":"ExecCredential","status":{"token":"x"}}\'', "printed v0 ExecCredential"),
        (
            'echo \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{}}\'',
            "neither a token nor a certificate",
        ),
    ],
)
async def test_a_plugin_that_gives_nothing_says_why_and_is_tried_again(tmp_path: Path, script: str, says: str) -> None:
    user = plugin(tmp_path, script)
    async with watcher(from_file(kubeconfig(tmp_path, "http://127.0.0.1:1", user))) as found:
        await until(lambda: says in found.status.blind_why, found)
        await until(lambda: runs(tmp_path) >= 3, found)


async def test_leaving_ends_a_plugin_that_never_answers(tmp_path: Path) -> None:
    async with Server() as server:
        user = plugin(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 600")
        async with watcher(from_file(kubeconfig(tmp_path, server.url, user))):
            await until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text().strip()))
            pid = int((tmp_path / "pid").read_text())
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# --- where it is looked for ---


def test_what_is_looked_at_and_in_which_order(tmp_path: Path) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("t", encoding="ascii")
    pod_env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443", "HOME": str(tmp_path)}
    inside = find(environ=pod_env, service_account=account)
    assert isinstance(inside, InCluster)
    assert asyncio.run(inside.load(again=False)).server == "https://[fd00::1]:443"
    home = tmp_path / ".kube"
    home.mkdir()
    kubeconfig(home, "https://home", {})
    named = kubeconfig(tmp_path, "https://named", {}, "named")
    listed = kubeconfig(tmp_path, "https://listed", {}, "listed")
    for arguments, environ, server in [
        ((str(named),), {**pod_env, "KUBECONFIG": str(listed)}, "https://named"),
        ((), {**pod_env, "KUBECONFIG": f"{tmp_path}/absent:{listed}"}, "https://listed"),
        ((), pod_env, "https://home"),
    ]:
        source = find(*arguments, environ=environ, service_account=account)
        assert asyncio.run(source.load(again=False)).server == server


def test_nothing_found_names_every_place(tmp_path: Path) -> None:
    with pytest.raises(NoAccess, match=r"KUBECONFIG is not set, .*\.kube/config is absent; not in a pod"):
        find(environ={"HOME": str(tmp_path)})
    with pytest.raises(NoAccess, match=r"--kubeconfig .*none: no such file"):
        find(str(tmp_path / "none"), environ={})
    with pytest.raises(NoAccess, match=r"context 'x' needs a kubeconfig"):
        find(context="x", environ={"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the kubeconfig is empty"),
        ("{", "kubeconfig"),
        ('{"clusters": [], "contexts": [], "users": []}', "no current-context is set; give --kube-context"),
        (
            '{"current-context": "b", "clusters": [], "users": [], "contexts": [{"name": "a", "context": {}}]}',
            "context 'b' is not in the kubeconfig; it has a",
        ),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_says_what_is_wrong_with_it(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(NoAccess, match=says):
        asyncio.run(from_file(path).load(again=False))


def test_a_context_is_chosen_and_a_server_needs_a_scheme(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "api.example:6443", {})
    with pytest.raises(NoAccess, match=r"no scheme; write https://api\.example:6443"):
        asyncio.run(from_file(path, "here").load(again=False))
    with pytest.raises(NoAccess, match="context 'there' is not in the kubeconfig; it has here"):
        asyncio.run(from_file(path, "there").load(again=False))
