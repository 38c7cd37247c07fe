"""The addresses to listen on: names and families resolved, bound, and said so that one can act on a failure."""

import asyncio
import errno
import socket
from collections.abc import Sequence
from typing import NamedTuple, Self


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        name = sock.getsockname()
        return cls(name[0], name[1])

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def bound_sockets(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """A bound socket for each address of the hosts. With port 0 all get the same free port.

    `::` takes IPv4 too. Raises OSError whose text is one sentence.
    """
    sockets: list[socket.socket] = []
    try:
        for family, address in await _resolved(hosts, port):
            free = sockets[0].getsockname()[1] if sockets and not port else port
            sockets.append(_bound(family, address, free))
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


async def _resolved(hosts: Sequence[str], port: int) -> list[tuple[socket.AddressFamily, str]]:
    found: dict[tuple[socket.AddressFamily, str], None] = {}
    for host in hosts:
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except socket.gaierror as error:
            raise OSError(error.errno, f"cannot listen on {host}: the name does not resolve") from None
        for family, _, _, _, address in infos:
            if family in (socket.AF_INET, socket.AF_INET6):
                found[(socket.AddressFamily(family), str(address[0]))] = None
    return list(found)


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        sock.bind((host, port))
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {_shown(host, port)}: {_why(error)}") from None
    return sock


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is already in use"
    if error.errno == errno.EACCES:
        return "ports below 1024 need more rights"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return (error.strerror or str(error)).lower()
