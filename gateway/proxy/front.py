"""What all client connections of a data plane share: its traffic, the way to the control API, who is connected."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.proxy.control import ControlDoor
from gateway.proxy.identify import request_id
from gateway.proxy.known import KnownHeads
from gateway.proxy.messages import Head, Request
from gateway.proxy.traffic import Traffic

if TYPE_CHECKING:
    from gateway.proxy.listener import ClientConnection


@dataclass(slots=True, eq=False)
class Front:
    """`control` None: requests that are not the data plane's are answered 404."""

    loop: asyncio.AbstractEventLoop
    traffic: Traffic
    control: ControlDoor | None
    connections: "set[ClientConnection]" = field(default_factory=set)
    on_empty: Callable[[], None] | None = None
    """Called when the last connection has gone; set by whoever waits for that."""
    id_headers: tuple[bytes, ...] = ()
    known: KnownHeads[Head] = field(default_factory=KnownHeads)
    """Heads that clients have sent."""

    def __post_init__(self) -> None:
        self.id_headers = tuple(name.lower().encode() for name in self.traffic.settings.request_id_headers)

    def identify(self, request: Request) -> bytes:
        return request_id(request.route, request.fields, self.id_headers, self.traffic.rng)

    def left(self, connection: "ClientConnection") -> None:
        self.connections.discard(connection)
        if not self.connections and self.on_empty is not None:
            self.on_empty()
