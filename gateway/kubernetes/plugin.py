"""Credential plugins: the command a kubeconfig's user names, run as kubectl runs it, for a token or a certificate.

The gateway may own the terminal, so a plugin gets none: no standard input, a session of its own. It has a time
limit, and it ends with the task that waits for it.
"""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

TIMEOUT_S = 60.0
EXPIRES_EARLY_S = 30.0


class PluginFailed(Exception):
    """The plugin gave no credentials; the message says why, for the operator."""


class Issued(msgspec.Struct, frozen=True, rename="camel"):
    """What a plugin gave: the status of its ExecCredential."""

    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None

    def good_at(self, wall: float) -> bool:
        """Still good at this time (seconds since the epoch), with a little to spare. Without an end: always."""
        end = self.expiration_timestamp
        return end is None or end.timestamp() - EXPIRES_EARLY_S > wall


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    status: Issued | None = None


@dataclass(frozen=True, slots=True)
class Plugin:
    """A user's `exec` section. `directory` is its kubeconfig's, where a relative command is looked for."""

    command: str
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    api_version: str
    hint: str
    cluster: Mapping[str, Any] | None
    directory: str

    @property
    def _found(self) -> str:
        return str(Path(self.directory, self.command)) if "/" in self.command else self.command

    def _environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        spec: dict[str, Any] = {"interactive": False}
        if self.cluster is not None:
            spec["cluster"] = dict(self.cluster)
        info = {"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec}
        return {**environ, **dict(self.env), "KUBERNETES_EXEC_INFO": json.dumps(info)}

    async def run(self, environ: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> Issued:
        """Raises PluginFailed."""
        try:
            process = await asyncio.create_subprocess_exec(
                self._found,
                *self.args,
                env=self._environment(environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            hint = f"; {self.hint.strip()}" if self.hint else ""
            raise PluginFailed(f"credential plugin {self.command}: {error.strerror}{hint}") from None
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate()
        except TimeoutError:
            raise PluginFailed(f"credential plugin {self.command} gave nothing within {timeout_s:g} s") from None
        finally:
            await _ended(process)
        if process.returncode:
            said = err.decode(errors="replace").strip()[-500:]
            raise PluginFailed(f"credential plugin {self.command} ended with code {process.returncode}: {said}")
        return self._read(out)

    def _read(self, out: bytes) -> Issued:
        try:
            answer = msgspec.json.decode(out, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PluginFailed(f"credential plugin {self.command} printed no ExecCredential: {error}") from None
        issued = answer.status
        if answer.kind != "ExecCredential" or answer.api_version != self.api_version:
            raise PluginFailed(
                f"credential plugin {self.command} printed {answer.api_version} {answer.kind}, "
                f"not {self.api_version} ExecCredential"
            )
        if issued is None or not (issued.token or (issued.client_certificate_data and issued.client_key_data)):
            raise PluginFailed(f"credential plugin {self.command} gave neither a token nor a certificate with its key")
        return issued


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End a plugin that still runs, with what it started, and take its exit."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


def plugin_of(section: Mapping[str, Any], cluster: Mapping[str, Any], directory: str) -> Plugin:
    """The plugin of an `exec` section. Raises PluginFailed if it cannot be run here."""
    command, api_version = section.get("command"), section.get("apiVersion")
    if not command or not api_version:
        raise PluginFailed("the kubeconfig's exec section needs command and apiVersion")
    if section.get("interactiveMode") == "Always":
        raise PluginFailed(
            f"credential plugin {command} needs a terminal (interactiveMode: Always); a gateway has none"
        )
    env = tuple((str(one["name"]), str(one["value"])) for one in section.get("env") or ())
    return Plugin(
        command=str(command),
        args=tuple(map(str, section.get("args") or ())),
        env=env,
        api_version=str(api_version),
        hint=str(section.get("installHint") or ""),
        cluster=cluster if section.get("provideClusterInfo") else None,
        directory=directory,
    )
