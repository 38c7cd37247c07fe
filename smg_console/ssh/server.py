"""The SSH server: listens, counts, ends what may no longer be, and closes everything when the gateway goes.

Connections are `door`'s, sessions `session`'s, consoles `console`'s; this owns them all.
"""

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

import asyncssh

from gateway import __version__
from gateway.access import AccessRole
from gateway.presence import Person
from gateway.proxy.addresses import Address, bound_sockets
from gateway.tasks import Scope
from gateway.telemetry.logs import LogRing, get_logger
from gateway.workers.facts import Cause
from smg_console.run import settle_memory
from smg_console.ssh.authorized import AuthorizedKey, AuthorizedKeys
from smg_console.ssh.commands import run_command
from smg_console.ssh.console import SshConsole
from smg_console.ssh.door import Door, options_for
from smg_console.ssh.files import KeyFile, default_authorized_keys, default_host_key, host_key
from smg_console.ssh.limits import Failures, SshLimits
from smg_console.ssh.plane import PersonalPlane
from smg_console.ssh.session import Client, Commands, Session
from smg_console.ssh.terminal import Terminal
from smg_console.ssh.turns import Turns
from smg_console.ssh.wire import Line, Nowhere

if TYPE_CHECKING:
    from gateway.gateway import Gateway

log = get_logger(__name__)

LOOK_S = 2.0
"""How often the keys of those who are here are looked up again."""
STOPPED = "smg-console: the gateway has stopped\n"
REVOKED = "smg-console: this session has ended, because its key is no longer admitted: {}\n"
CHANGED = "smg-console: this session has ended, because its key's role is {} now; log in again\n"
LAST_WORDS_S = 1.0
LINGER_S = 0.5
REHEARSAL_S = 5.0
PACE_S = 0.02
"""Between two connections taken: fifty a second, whoever knocks."""
SEND_BUFFER = 128 * 1024
"""The system's, for one client: what is in it is already late."""


class SshServer:
    """Serves a gateway's console over SSH while entered. Raises OSError, with a sentence, if it cannot."""

    def __init__(self, gateway: "Gateway", ring: LogRing | None) -> None:
        settings = gateway.settings
        assert settings.ssh_port is not None
        self._gateway = gateway
        self._ring = ring
        self.commands: Commands = partial(run_command, gateway)
        self.limits = SshLimits(
            settings.ssh_max_sessions,
            settings.ssh_max_unauthenticated,
            settings.ssh_login_timeout_secs,
            settings.ssh_keepalive_secs,
        )
        self.failures = Failures()
        self.doors: set[Door] = set()
        self.scope = Scope("ssh")
        self.turns = Turns()
        self._closing = False
        self._pencil = asyncio.Lock()
        self.addresses: list[Address] = []
        self._key_file = KeyFile(settings.ssh_authorized_keys or default_authorized_keys(os.environ))
        self._told = -1
        self._here: dict[Session, int] = {}
        self._left = asyncio.Event()
        self._sockets: list[socket.socket] = []
        self._knocking = 0
        self._streams = (sys.stdout, sys.stderr)

    async def __aenter__(self) -> Self:
        settings = self._gateway.settings
        # Its records repeat ours, or tell of every packet.
        logging.getLogger("asyncssh").setLevel(logging.ERROR)
        await self._rehearse()
        key = host_key(settings.ssh_host_key or default_host_key(os.environ))
        options = asyncssh.SSHServerConnectionOptions(**options_for(self, key, f"smg-console_{__version__}"))
        self._sockets = await bound_sockets([settings.ssh_host or settings.host], settings.ssh_port or 0)
        for sock in self._sockets:
            sock.listen(128)
            self.addresses.append(Address.of(sock))
            self.scope.spawn(self._accept(sock, options), name="listener")
        self.keys()
        self.scope.spawn(self._watch_keys(), name="keys")
        where = ", ".join(map(str, self.addresses))
        log.info("ssh_listening", address=where, host_key=key.get_fingerprint())
        self._gateway.registry.note("ssh", f"console over SSH on {where}", Cause("gateway"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for sock in self._sockets:
            sock.close()
        for door in self.doors:
            for session in door.sessions:
                session.end(STOPPED)
        await self._sessions_over()
        await self.scope.close()
        for door in list(self.doors):
            door.shut()
        # An application that ended after another began may have left that one's stream in place.
        sys.stdout, sys.stderr = self._streams

    async def _rehearse(self) -> None:
        """Draw a console for nobody: what only the first one costs, no client's traffic has to wait for."""
        drawn = asyncio.Event()
        nobody = Client("ssh:nobody", AccessRole.VIEWER, "")
        console = self.console(nobody, Terminal("xterm-256color", (120, 40)), Nowhere(), drawn.set)
        task = self.scope.spawn(console.run_async(), name="rehearsal")
        with suppress(TimeoutError):
            await asyncio.wait_for(drawn.wait(), REHEARSAL_S)
        console.exit()
        await asyncio.wait([task])
        self.dismantle(console)

    async def _accept(self, sock: socket.socket, options: asyncssh.SSHServerConnectionOptions) -> None:
        """Take connections, at a pace that leaves the loop to the gateway: each greeting is milliseconds of it."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, address = await loop.sock_accept(sock)
            except OSError as error:  # out of file descriptors: those in use will be given back
                log.warning("ssh_accept_failed", why=error.strerror)
                await asyncio.sleep(1.0)
                continue
            if self._knocking >= self.limits.unauthenticated:
                log.warning("ssh_refused", why="too many connections that have not logged in", address=address[0])
                client.close()
            else:
                self.scope.spawn(self._greet(client, options), name="greeting")
            await asyncio.sleep(PACE_S)

    async def _greet(self, client: socket.socket, options: asyncssh.SSHServerConnectionOptions) -> None:
        """One connection until it has logged in, or is gone."""
        self._knocking += 1
        try:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            with suppress(OSError, asyncssh.Error, TimeoutError):  # the door has said why
                await asyncssh.run_server(client, options=options)
        finally:
            self._knocking -= 1

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

    def console(self, client: Client, terminal: Terminal, line: Line, drawn: Callable[[], object]) -> SshConsole:
        gateway = self._gateway
        settings = gateway.settings

        def stands() -> None:
            settle_memory()
            drawn()

        plane = PersonalPlane.for_person(gateway, client.actor, client.role, read_only=settings.read_only)
        return SshConsole(
            plane,
            line,
            terminal,
            client.role,
            theme=settings.theme,
            ascii_only=settings.ascii,
            log_ring=self._ring,
            drawn=stands,
            pencil=self._pencil,
        )

    def dismantle(self, console: SshConsole) -> None:
        """A console has ended: take it apart when what it had under way has ended, too."""
        if not self._closing:
            self.scope.spawn(self._taken_apart(console), name="taking apart")

    async def _taken_apart(self, console: SshConsole) -> None:
        await asyncio.sleep(LINGER_S)
        await console.dismantle()

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
