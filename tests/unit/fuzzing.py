"""Random requests for the reader, and what must hold of whatever it makes of them.

Inputs are sound and hostile requests, mutated, joined and cut into pieces. Whatever comes: the reader refuses or it
reads, it never raises; how the bytes were cut does not matter; and what it takes for a request, another parser
(h11) reads alike, so that nothing can mean one thing here and another to a worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import h11

from gateway.proxy.messages import Request
from gateway.proxy.reader import RequestReader
from gateway.proxy.settings import ProxySettings
from tests.unit.hostile import GOOD, cases

SETTINGS = ProxySettings(max_payload_bytes=1 << 20)
_CHUNKED = (
    b"POST /v1/x?y=z HTTP/1.1\r\nhost: gw:80\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: u\r\n\r\n"
)
SOUND = (
    GOOD,
    _CHUNKED,
    b"GET /health HTTP/1.1\r\nHost: gw\r\nAccept: */*\r\n\r\n",
    b"POST /generate HTTP/1.0\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
    b"POST /generate HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
    b"HEAD / HTTP/1.1\r\nHost: [::1]:30000\r\nX-Request-Id: abc\r\n\r\n",
)
_SEEDS = [case.data for case in cases() if len(case.data) < 2000] + list(SOUND) * 40
_PARTS = (
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"0", b"\x00", b"\xff", b",", b";", b"chunked", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n", b"HTTP/1.1", b"HTTP/1.0", b"Host: a\r\n", b"Upgrade: h2c\r\n",
    b"Connection: upgrade\r\n", b"Expect: 100-continue\r\n", b"#", b"GET", b"5\r\nhello\r\n",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Read:
    """What a reader made of an input: complete requests, and the status of its refusal."""

    requests: tuple[tuple[bytes, bytes, bytes], ...]
    refused: bool


def made(rng: Random) -> bytes:
    """An input."""
    data = b"".join(rng.choice(_SEEDS) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data = data[:at] + rng.choice(_PARTS) + data[at:]
            case 1:
                data = data[:at] + data[at + rng.randrange(1, 8) :]
            case 2:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 3:
                data = data[:at] + rng.choice(_PARTS) + data[at + rng.randrange(1, 8) :]
            case _:
                data = data[:at] + data[rng.randrange(len(data) + 1) :]
    return data


def pieces(data: bytes, rng: Random) -> list[bytes]:
    """The same bytes as they may arrive."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 1, 3, 10))))
    ends = [*cuts, len(data)]
    return [data[start:end] for start, end in zip([0, *cuts], ends, strict=True) if end > start]


def read(parts: Sequence[bytes]) -> Read:
    """Feed a reader."""
    reader = RequestReader(SETTINGS, lambda: 0.0)
    done: list[Request] = []
    for part in parts:
        request = reader.feed(part)
        if request is not None:
            done.append(request)
        while reader.queue and reader.queue[0].complete:
            done.append(reader.take())
    found = tuple((r.method, r.target, r.gathered()) for r in done)
    assert reader.queued_bytes >= 0
    return Read(found, reader.refused is not None)


def read_by_another(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The complete requests that h11 reads before it refuses, each on a connection of its own.

    So it goes on after a request that says it is the last, and reads more than there is to read, never less.
    """
    found = []
    while data := _without_blank_lines(data):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        body = bytearray()
        try:
            connection.receive_data(data)
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    method, target = bytes(event.method), bytes(event.target)
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    return found
        except h11.RemoteProtocolError:
            return found
        found.append((method, target, bytes(body)))
        data = connection.trailing_data[0]
    return found


def _without_blank_lines(data: bytes) -> bytes:
    """Those before a request, which h11 does not put up with."""
    while data.startswith(b"\r\n"):
        data = data[2:]
    return data


def check(data: bytes, rng: Random) -> Read:
    """Read it whole and in pieces. Raises AssertionError where something does not hold."""
    whole, cut = read([data]), read(pieces(data, rng))
    assert whole == cut, (data, whole, cut)
    others = read_by_another(data)
    assert len(whole.requests) <= len(others), (data, whole, others)
    for mine, its in zip(whole.requests, others, strict=False):
        assert mine[0] == its[0], (data, mine, its)
        assert mine[2] == its[2], (data, mine, its)
        assert mine[1] == its[1] or not its[1].startswith(b"/"), (data, mine, its)
    return whole
