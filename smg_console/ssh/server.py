"""The SSH server: listens, counts, ends what may no longer be, and closes everything when the gateway goes.

Connections are `door`'s, sessions `session`'s, consoles `console`'s; this owns them all.
"""

import asyncio
import logging
import os
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

import asyncssh

from gateway import __version__
from gateway.presence import Person
from gateway.proxy.addresses import Address, bound_sockets
from gateway.tasks import Scope
from gateway.telemetry.logs import LogRing, get_logger
from gateway.workers.facts import Cause
from smg_console.ssh.authorized import AuthorizedKey, AuthorizedKeys
from smg_console.ssh.console import SshConsole
from smg_console.ssh.door import Door, options_for
from smg_console.ssh.files import KeyFile, default_authorized_keys, default_host_key, host_key
from smg_console.ssh.limits import Failures, SshLimits
from smg_console.ssh.plane import PersonalPlane
from smg_console.ssh.session import ChannelLine, Client, Commands, Session
from smg_console.ssh.terminal import Terminal

if TYPE_CHECKING:
    from gateway.gateway import Gateway

log = get_logger(__name__)

LOOK_S = 2.0
"""How often the keys of those who are here are looked up again."""
STOPPED = "smg-console: the gateway has stopped\n"
REVOKED = "smg-console: this session has ended, because its key is no longer admitted: {}\n"
CHANGED = "smg-console: this session has ended, because its key's role is {} now; log in again\n"
LAST_WORDS_S = 1.0


class SshServer:
    """Serves a gateway's console over SSH while entered. Raises OSError, with a sentence, if it cannot."""

    def __init__(self, gateway: "Gateway", ring: LogRing | None, commands: Commands | None = None) -> None:
        settings = gateway.settings
        assert settings.ssh_port is not None
        self._gateway = gateway
        self._ring = ring
        self.commands = commands
        self.limits = SshLimits(
            settings.ssh_max_sessions,
            settings.ssh_max_unauthenticated,
            settings.ssh_login_timeout_secs,
            settings.ssh_keepalive_secs,
        )
        self.failures = Failures()
        self.doors: set[Door] = set()
        self.scope = Scope("ssh")
        self.addresses: list[Address] = []
        self._key_file = KeyFile(settings.ssh_authorized_keys or default_authorized_keys(os.environ))
        self._told = -1
        self._here: dict[Session, int] = {}
        self._left = asyncio.Event()
        self._acceptors: list[asyncssh.SSHAcceptor] = []
        self._streams = (sys.stdout, sys.stderr)

    async def __aenter__(self) -> Self:
        settings = self._gateway.settings
        # Its records repeat ours, or tell of every packet.
        logging.getLogger("asyncssh").setLevel(logging.ERROR)
        key = host_key(settings.ssh_host_key or default_host_key(os.environ))
        options = options_for(self, key, f"smg-console_{__version__}")
        sockets = await bound_sockets([settings.ssh_host or settings.host], settings.ssh_port or 0)
        for sock in sockets:
            self.addresses.append(Address.of(sock))
            self._acceptors.append(await asyncssh.listen(sock=sock, **options))
        self.keys()
        self.scope.spawn(self._watch_keys(), name="keys")
        where = ", ".join(map(str, self.addresses))
        log.info("ssh_listening", address=where, host_key=key.get_fingerprint())
        self._gateway.registry.note("ssh", f"console over SSH on {where}", Cause("gateway"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        for door in self.doors:
            for session in door.sessions:
                session.end(STOPPED)
        await self._sessions_over()
        await self.scope.close()
        for door in list(self.doors):
            door.shut()
        # An application that ended after another began may have left that one's stream in place.
        sys.stdout, sys.stderr = self._streams

    async def _sessions_over(self) -> None:
        """Wait for the sessions' ends, and until their clients have heard of them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                while self._here or any(door.sessions for door in self.doors):
                    self._left.clear()
                    await self._left.wait()

    # --- what connections and sessions ask ---

    def wall(self) -> float:
        return time.time()

    def keys(self) -> AuthorizedKeys:
        keys = self._key_file.current()
        if self._key_file.version != self._told:
            self._told = self._key_file.version
            log.info("ssh_keys_read", file=str(self._key_file.path), keys=len(keys.keys))
            for problem in keys.problems:
                log.warning("ssh_key_left_out", problem=problem)
        return keys

    @property
    def full(self) -> bool:
        """Whether as many have logged in, or have sessions, as may."""
        inside = [door for door in self.doors if door.key is not None]
        return max(len(inside), sum(len(door.sessions) for door in inside)) >= self.limits.sessions

    def console(self, client: Client, terminal: Terminal, line: ChannelLine) -> SshConsole:
        gateway = self._gateway
        settings = gateway.settings
        plane = PersonalPlane.for_person(gateway, client.actor, client.role, read_only=settings.read_only)
        return SshConsole(
            plane,
            line,
            terminal,
            client.role,
            theme=settings.theme,
            ascii_only=settings.ascii,
            log_ring=self._ring,
        )

    def opened(self, session: Session) -> None:
        """A session has begun, or its terminal has another size."""
        client = session.client
        person = Person(
            client.actor, client.role, client.address, time.time(), session.what, str(session.terminal or "")
        )
        number = self._here.get(session)
        if number is None:
            self._here[session] = self._gateway.presence.enter(person)
            self._note(session, f"{session.what} opened from {client.address} as {client.role}")
        else:
            self._gateway.presence.change(number, person)

    def closed(self, session: Session) -> None:
        """A session is over."""
        number = self._here.pop(session, None)
        if number is not None:
            self._gateway.presence.leave(number)
            self._note(session, f"{session.what} closed")

    def gone(self, session: Session) -> None:
        """A session's channel is closed."""
        for door in self.doors:
            door.sessions.discard(session)
        self._left.set()

    def _note(self, session: Session, text: str) -> None:
        self._gateway.registry.note("ssh", f"{session.client.actor}: {text}", Cause(session.client.actor))

    # --- keys that change under those who are here ---

    async def _watch_keys(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            keys = self.keys()
            for door in list(self.doors):
                if door.key is not None:
                    self._look_again(door, door.key, keys)

    def _look_again(self, door: Door, key: AuthorizedKey, keys: AuthorizedKeys) -> None:
        found = keys.admit(key.blob, door.address, time.time())
        if isinstance(found, AuthorizedKey) and found.role == key.role:
            return
        why = CHANGED.format(found.role) if isinstance(found, AuthorizedKey) else REVOKED.format(found)
        log.warning("ssh_ended", who=door.client.actor, address=door.address, why=why.strip())
        for session in list(door.sessions):
            session.end(why)
        if not door.sessions:
            door.shut()
