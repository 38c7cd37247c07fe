"""Which gateway is meant: a URL, a Unix socket, a port of this machine, or the only one that runs here."""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway.proxy.unix_socket import NoSocket, lives, local_gateways, too_long, usual_path
from gateway.settings.flags import UsageError, without_credentials

VARIABLE = "SMG_CONSOLE_GATEWAY"
KEY_VARIABLE = "SMG_CONSOLE_API_KEY"
ACCEPTED = "a URL such as http://gateway:30000, the path of a Unix socket, or a port of this machine"
LARGEST_KEY = 8192


class NoGateway(Exception):
    """No gateway runs here, and none was named; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a gateway is. `base` is what paths are put behind; `path` the Unix socket, empty for TCP."""

    base: str
    path: str = ""

    def __str__(self) -> str:
        return self.path or self.base


def target_of(text: str, environment: Mapping[str, str] = os.environ) -> Target:
    """The gateway that somebody named. Raises UsageError."""
    if text.startswith("unix:"):
        text = text.removeprefix("unix:").removeprefix("//")
        if not text.startswith("/"):
            raise UsageError(f"given 'unix:{text}', expected an absolute path, as in unix:/run/gateway.sock")
    if text.isascii() and text.isdigit():
        return _on_port(int(text), environment)
    if text.startswith(("/", "./", "../", "~")) or (text.endswith(".sock") and "://" not in text):
        path = Path(text).expanduser().absolute()
        if fault := too_long(path):
            raise UsageError(f"{path}: {fault}")
        return Target("http://localhost", str(path))
    return _by_url(text)


def _by_url(text: str) -> Target:
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or not text.isprintable() or " " in text:
        raise UsageError(f"given {without_credentials(text)!r}, expected {ACCEPTED}")
    if parts.username is not None or parts.query or parts.fragment:
        why = f"credentials do not belong in a URL, use --api-key-file or {KEY_VARIABLE}" if parts.username else ""
        raise UsageError(f"given {without_credentials(text)!r}: {why or 'expected a URL without ? and #'}")
    return Target(url.rstrip("/"))


def _on_port(port: int, environment: Mapping[str, str]) -> Target:
    if not 0 < port < 65536:
        raise UsageError(f"given {port}, expected a port from 1 to 65535")
    path = usual_path(port, environment)
    return Target("http://localhost", str(path)) if lives(path) else Target(f"http://127.0.0.1:{port}")


def chosen_target(text: str | None, environment: Mapping[str, str] = os.environ) -> Target:
    """The gateway that was named, by argument or in SMG_CONSOLE_GATEWAY, else the only one that runs here.

    Raises UsageError for a name that is none, or where there are several; NoGateway where there is none.
    """
    if text is None and environment.get(VARIABLE):
        text = environment[VARIABLE]
    if text is not None:
        return target_of(text, environment)
    try:
        found = local_gateways(environment)
    except NoSocket as error:
        raise NoGateway(f"{error.strerror}; name the gateway: {ACCEPTED}") from None
    if not found:
        raise NoGateway(f"no gateway of yours runs here: start one with smg-console, or name one, by {ACCEPTED}")
    if len(found) > 1:
        names = ", ".join(gateway.name for gateway in found)
        raise UsageError(f"{len(found)} gateways of yours run here: {names}; name one, as in: attach {found[0].name}")
    return Target("http://localhost", str(found[0].path))


def api_key(file: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key for the control API, from a file or SMG_CONSOLE_API_KEY; None: there is none. Raises UsageError."""
    if file is None:
        return _key(environment[KEY_VARIABLE], KEY_VARIABLE) if environment.get(KEY_VARIABLE) else None
    try:
        with Path(file).open("rb") as opened:
            text = opened.read(LARGEST_KEY + 1).decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"--api-key-file: cannot read {file}: {(error.strerror or str(error)).lower()}") from None
    return _key(text.strip(), f"--api-key-file: {file}")


def _key(text: str, where: str) -> str:
    if not text or len(text) > LARGEST_KEY or any(not 32 < ord(c) < 127 for c in text):
        raise UsageError(f"{where}: expected a key of visible ASCII characters without spaces")
    return text


def actor_name(what: str) -> str:
    """Who the journal names: `attach:anna`. The user's name is as the system knows it."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in user)
    return f"{what}:{kept[:48]}"
