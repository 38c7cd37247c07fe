"""One SSH connection up to its login, and what it may open then: sessions, and nothing else.

Public keys only. Every refusal is logged with the address and the key's fingerprint, and takes longer each time.
"""

import asyncio
from typing import Any, Protocol

import asyncssh

from gateway.telemetry.logs import get_logger
from smg_console.ssh.authorized import AuthorizedKey, AuthorizedKeys, fingerprint, shown
from smg_console.ssh.limits import MOST_TRIES, Failures, SshLimits
from smg_console.ssh.session import Client, House, Session

log = get_logger(__name__)

KEY_EXCHANGES = ["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"]
"""Without the old groups: anybody could have us do their arithmetic with large numbers, in the gateway's loop."""


class Building(House, Protocol):
    """What a connection needs of the server."""

    limits: SshLimits
    failures: Failures
    doors: "set[Door]"

    @property
    def full(self) -> bool: ...
    def keys(self) -> AuthorizedKeys: ...
    def wall(self) -> float: ...


class Door(asyncssh.SSHServer):
    """A connection. `key` is whose it is, once it has logged in."""

    def __init__(self, building: Building) -> None:
        self._building = building
        self._connection: asyncssh.SSHServerConnection | None = None
        self._tries = 0
        self._shown: AuthorizedKey | None = None
        self.user = ""
        self.address = ""
        self.key: AuthorizedKey | None = None
        self.sessions: set[Session] = set()

    @property
    def client(self) -> Client:
        """Who logged in."""
        assert self.key is not None
        return Client(f"ssh:{self.user}@{self.key.name}", self.key.role, self.address, self.key.terminal)

    # --- coming and going ---

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        peer = conn.get_extra_info("peername")
        self.address = str(peer[0]).removeprefix("::ffff:") if peer else ""
        self._building.doors.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._building.doors.discard(self)
        if self.key is not None:
            log.info("ssh_logout", who=self.client.actor, address=self.address, why=str(exc or ""))
        elif self._connection is not None and exc is not None and self.user:
            log.info("ssh_left", address=self.address, user=self.user, why=str(exc))
        if self._connection is not None:
            # It holds itself by this; see `remains` for why that matters.
            asyncio.get_running_loop().call_later(1.0, setattr, self._connection, "_recv_handler", None)
        self._connection = None

    def shut(self) -> None:
        """Close the connection; what is still to be written is given the moment it takes."""
        if self._connection is not None:
            self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, "the gateway has stopped")

    # --- logging in ---

    def begin_auth(self, username: str) -> bool:
        self.user = shown(username)
        self._try()
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        blob = key.public_data
        found = self._building.keys().admit(blob, self.address, self._building.wall())
        if isinstance(found, AuthorizedKey):
            self._shown = found
            return True
        pause_s = self._building.failures.failed(self.address, self._building.wall())
        log.warning("ssh_refused", why=found, user=self.user, key=fingerprint(blob), address=self.address)
        await asyncio.sleep(pause_s)
        self._try()
        return False

    def _try(self) -> None:
        self._tries += 1
        if self._tries > MOST_TRIES:
            raise asyncssh.PermissionDenied("too many tries")

    def auth_completed(self) -> None:
        key, connection = self._shown, self._connection
        assert key is not None
        assert connection is not None
        if self._building.full:
            log.warning(
                "ssh_refused", why="too many sessions", user=self.user, key=key.fingerprint, address=self.address
            )
            raise asyncssh.DisconnectError(asyncssh.DISC_TOO_MANY_CONNECTIONS, "too many sessions are open here")
        self.key = key
        self._building.failures.succeeded(self.address)
        log.info("ssh_login", who=self.client.actor, role=key.role.value, key=key.fingerprint, address=self.address)

    # --- what may be opened ---

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        building = self._building
        if self.key is None or (building.full and self.sessions):
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many sessions are open here")
        session = Session(building, self.client)
        self.sessions.add(session)
        return session


def options_for(building: Building, host_key: asyncssh.SSHKey, version: str) -> dict[str, Any]:
    """How asyncssh is to listen: nothing but sessions for public keys, and no arithmetic that takes long."""
    limits = building.limits

    def factory() -> Door:
        return Door(building)

    return {
        "server_factory": factory,
        "server_host_keys": [host_key],
        "server_version": version,
        "password_auth": False,
        "kbdint_auth": False,
        "host_based_auth": False,
        "gss_host": None,
        "gss_auth": False,
        "gss_kex": False,
        "agent_forwarding": False,
        "x11_forwarding": False,
        "allow_scp": False,
        "line_editor": False,
        "encoding": None,
        "window": 64 * 1024,
        "max_pktsize": 32 * 1024,
        "compression_algs": None,
        "kex_algs": KEY_EXCHANGES,
        "login_timeout": limits.login_timeout_s,
        "keepalive_interval": limits.keepalive_s,
        "keepalive_count_max": 3,
        "config": [],
    }
