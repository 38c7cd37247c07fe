"""The server's two files: the keys that may log in, read again when they change, and its own key, made on first use.

Both are refused where others than their owner could change them, or read what is secret, as OpenSSH does.
"""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import asyncssh

from smg_console.places import config_directory, state_directory
from smg_console.ssh.authorized import AuthorizedKeys, parse

MOST_BYTES = 1 << 20


def default_authorized_keys(environment: Mapping[str, str]) -> Path:
    """Where the keys are looked for unless it is said."""
    return config_directory(environment) / "authorized_keys"


def default_host_key(environment: Mapping[str, str]) -> Path:
    """Where the server's key is kept unless it is said."""
    return state_directory(environment) / "ssh_host_ed25519_key"


class KeyFile:
    """The authorized keys as they are in the file now. What is wrong with it is in their `problems`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None
        self._keys = AuthorizedKeys()
        self.version = 0
        """Counts readings: while it stands still, the keys are the same."""

    def current(self) -> AuthorizedKeys:
        """The keys, read anew if the file changed. Never raises: without a readable file nobody may log in."""
        seen: tuple[int, ...]
        try:
            facts = self.path.stat()
            seen = (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino, facts.st_mode, facts.st_uid)
        except OSError as error:
            seen, why = (error.errno or 0,), (error.strerror or str(error)).lower()
            if seen != self._seen:
                self._keep(seen, AuthorizedKeys(problems=(f"{self.path}: {why}: nobody may log in",)))
            return self._keys
        if seen != self._seen:
            self._keep(seen, self._read(facts))
        return self._keys

    def _keep(self, seen: tuple[int, ...], keys: AuthorizedKeys) -> None:
        self._seen, self._keys = seen, keys
        self.version += 1

    def _read(self, facts: os.stat_result) -> AuthorizedKeys:
        problem = _changeable(facts)
        if problem is None and facts.st_size > MOST_BYTES:
            problem = f"is larger than {MOST_BYTES >> 20} MiB"
        if problem is None:
            try:
                found = parse(self.path.read_text("utf-8", errors="replace"))
            except OSError as error:
                problem = (error.strerror or str(error)).lower()
            else:
                return AuthorizedKeys(found.keys, tuple(f"{self.path}: {text}" for text in found.problems))
        return AuthorizedKeys(problems=(f"{self.path}: {problem}: nobody may log in",))


def _changeable(facts: os.stat_result) -> str | None:
    """Why others than the owner, or an owner who is not us, could change it."""
    if facts.st_uid not in (0, os.geteuid()):
        return "belongs to somebody else"
    return "may be written by others (chmod go-w)" if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


def host_key(path: Path) -> asyncssh.SSHKey:
    """The server's key, made and kept if there is none. Raises OSError with a sentence."""
    try:
        try:
            facts = path.stat()
        except FileNotFoundError:
            return _made(path)
        ours = facts.st_uid == os.geteuid()
        if facts.st_mode & (0o077 if ours else 0o007):
            raise OSError(0, "may be read by others (chmod 600)")
        return asyncssh.read_private_key(path)
    except asyncssh.KeyImportError as error:
        raise OSError(0, f"--ssh-host-key: {path}: {error}") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise OSError(error.errno, f"--ssh-host-key: {path}: {why}") from None


def _made(path: Path) -> asyncssh.SSHKey:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = asyncssh.generate_private_key("ssh-ed25519", comment="smg-console")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".ssh_host_")  # 0600 from the start
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key.export_private_key())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)  # of two gateways that start at once, the first one's key stays
        except FileExistsError:
            return asyncssh.read_private_key(path)
    finally:
        Path(name).unlink()
    return key
