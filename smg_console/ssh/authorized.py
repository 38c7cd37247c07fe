"""The `authorized_keys` file: which public keys may log in, as what, from where and until when. Pure.

OpenSSH's format, with one option of our own, `role`. A line that cannot be honoured in full is left out with a
word why, never honoured in part: an option that was meant to restrict must not be lost.
"""

import base64
import binascii
import calendar
import hashlib
import ipaddress
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from gateway.access import AccessRole

KINDS = frozenset(
    (
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "ssh-rsa",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    )
)
NEEDLESS = frozenset(
    ("restrict", "no-port-forwarding", "no-agent-forwarding", "no-x11-forwarding", "no-user-rc", "pty")
)
"""Options for what is never allowed here anyway, or always."""
NAME_SIZE = 48
LINE_SIZE = 16_384
_OPTION = re.compile(r'([A-Za-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?(,|[ \t]+)')


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """A key that may log in. `expires_at` is wall-clock seconds, `line` its line in the file, from 1."""

    kind: str
    blob: bytes
    comment: str
    line: int
    role: AccessRole = AccessRole.VIEWER
    sources: tuple[str, ...] = ()
    expires_at: float | None = None
    terminal: bool = True

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)

    @property
    def name(self) -> str:
        """What it is called where people read: its comment, else its fingerprint."""
        return shown(self.comment) or self.fingerprint


@dataclass(frozen=True, slots=True)
class AuthorizedKeys:
    """The keys of a file, and one line for each that was left out."""

    keys: tuple[AuthorizedKey, ...] = ()
    problems: tuple[str, ...] = ()

    def admit(self, blob: bytes, address: str, now: float) -> AuthorizedKey | str:
        """The first line that lets this key in from there and now; else why not."""
        why = "the key is not among the authorized keys"
        for key in self.keys:
            if key.blob != blob:
                continue
            if key.expires_at is not None and now >= key.expires_at:
                why = f"the key of line {key.line} has expired"
            elif key.sources and not _comes_from(key.sources, address):
                why = f"the key of line {key.line} may not be used from this address"
            else:
                return key
        return why


def fingerprint(blob: bytes) -> str:
    """As `ssh-keygen -l` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def shown(text: str) -> str:
    """What a stranger chose, made fit for a log and a screen: short, and nothing that moves the cursor."""
    clean = "".join(c if c.isprintable() else "?" for c in text.strip())
    return clean if len(clean) <= NAME_SIZE else clean[: NAME_SIZE - 1] + "…"


def parse(text: str) -> AuthorizedKeys:
    """Read a file's text."""
    keys: list[AuthorizedKey] = []
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            keys.append(_key(stripped, number))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    return AuthorizedKeys(tuple(keys), tuple(problems))


def _key(line: str, number: int) -> AuthorizedKey:
    if len(line) > LINE_SIZE:
        raise ValueError(f"longer than {LINE_SIZE} characters")
    options: list[tuple[str, str | None]] = []
    rest = line
    if rest.split(None, 1)[0] not in KINDS:
        options, rest = _options(line)
    words = rest.split(None, 2)
    if not words or words[0] not in KINDS:
        given = shown(words[0]) if words else ""
        raise ValueError(f"given {given!r}, expected a public key such as ssh-ed25519 AAAA... name")
    key = AuthorizedKey(words[0], _blob(words), words[2] if len(words) > 2 else "", number)
    for name, value in options:
        key = _with(key, name.lower(), value)
    return key


def _blob(words: Sequence[str]) -> bytes:
    try:
        blob = base64.b64decode(words[1], validate=True) if len(words) > 1 else b""
    except binascii.Error:
        blob = b""
    kind = words[0].encode()
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind):
        raise ValueError(f"what follows {words[0]} is not a key of that kind")
    return blob


def _options(line: str) -> tuple[list[tuple[str, str | None]], str]:
    """The options before a key, and the rest of the line."""
    options: list[tuple[str, str | None]] = []
    place = 0
    while (found := _OPTION.match(line, place)) is not None:
        value = found[2]
        options.append((found[1], re.sub(r"\\(.)", r"\1", value) if value is not None else None))
        place = found.end()
        if found[3] != ",":
            return options, line[place:]
    raise ValueError(f"cannot be read from {shown(line[place : place + 20])!r} on; expected options, then a public key")


def _with(key: AuthorizedKey, name: str, value: str | None) -> AuthorizedKey:
    """The key with one more option. Raises ValueError for one that cannot be honoured."""
    if name in NEEDLESS and value is None:
        return key
    if name == "no-pty" and value is None:
        return replace(key, terminal=False)
    if name == "role":
        return replace(key, role=_role(value))
    if name == "from" and value:
        return replace(key, sources=_sources(value))
    if name == "expiry-time" and value:
        return replace(key, expires_at=_time(value))
    if name in ("role", "from", "expiry-time"):
        raise ValueError(f'{name}: expected a value, as in {name}="..."')
    raise ValueError(
        f"option {shown(name)} is not honoured here; accepted are role, from, expiry-time, restrict, no-pty"
    )


def _role(value: str | None) -> AccessRole:
    try:
        return AccessRole(value or "")
    except ValueError:
        raise ValueError(f"role: given {shown(value or '')!r}, expected one of {', '.join(AccessRole)}") from None


def _sources(value: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in value.split(","))
    for pattern in found:
        plain = pattern.removeprefix("!")
        if "/" in plain:
            try:
                ipaddress.ip_network(plain)
            except ValueError as error:
                raise ValueError(f"from: {error}") from None
        elif not re.fullmatch(r"[0-9a-fA-F:.*?]*[0-9:*?][0-9a-fA-F:.*?]*", plain):
            raise ValueError(f"from: given {shown(pattern)!r}, expected addresses: names are not looked up")
    return found


def _comes_from(patterns: Sequence[str], address: str) -> bool:
    """As OpenSSH does: one `!pattern` that fits excludes, else one that fits admits."""
    admitted = False
    for pattern in patterns:
        if _fits(pattern.removeprefix("!"), address):
            if pattern.startswith("!"):
                return False
            admitted = True
    return admitted


def _fits(pattern: str, address: str) -> bool:
    if "/" not in pattern:
        return fnmatchcase(address.lower(), pattern.lower())
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(pattern)
    except ValueError:
        return False


def _time(value: str) -> float:
    """`YYYYMMDD[HHMM[SS]]`, local time unless a Z follows."""
    digits = value.removesuffix("Z").removesuffix("z")
    form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits)) if digits.isdigit() else None
    try:
        if form is None:
            raise ValueError
        parsed = time.strptime(digits, form)
        return float(calendar.timegm(parsed)) if digits != value else time.mktime(parsed)
    except (ValueError, OverflowError):
        raise ValueError(
            f"expiry-time: given {shown(value)!r}, expected YYYYMMDD or YYYYMMDDHHMM, with Z for UTC"
        ) from None
