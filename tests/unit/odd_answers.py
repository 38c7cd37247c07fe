"""Answers of workers that are unusual or broken. Data for tests."""

from dataclasses import dataclass

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"


@dataclass(frozen=True)
class Sound:
    """An answer that passes. `kept`: the connection serves the next request too; `ends`: by closing it."""

    raw: bytes
    body: bytes = b"{}"
    status: bytes = b"200 OK"
    kept: bool = True
    ends: bool = False
    header: tuple[bytes, bytes | None] | None = None


SOUND: dict[str, Sound] = {
    "with a length": Sound(OK + b"Content-Length: 2\r\n\r\n{}"),
    "with blanks around the length": Sound(OK + b"Content-Length: \t 2 \t\r\n\r\n{}"),
    "with leading zeros": Sound(OK + b"Content-Length: 0002\r\n\r\n{}"),
    "in one chunk": Sound(CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"),
    "in many chunks": Sound(CHUNKED + b"1\r\n{\r\n01\r\n}\r\n000\r\n\r\n"),
    "with chunk extensions": Sound(CHUNKED + b'2;a;b=c;d="e;\\"f"\r\n{}\r\n0;z\r\n\r\n'),
    "with trailers": Sound(CHUNKED + b"2\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n", header=(b"x-trailer", None)),
    "with a coding in capitals": Sound(OK + b"Transfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    "ended by the connection": Sound(OK + b"\r\n{}", kept=False, ends=True),
    "of an identity coding": Sound(OK + b"Transfer-Encoding: identity\r\n\r\n{}", kept=False, ends=True),
    "of HTTP/1.0": Sound(b"HTTP/1.0 200 OK\r\n\r\n{}", kept=False, ends=True),
    "of HTTP/1.0 with a length": Sound(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", kept=False),
    "of HTTP/1.0 kept alive": Sound(b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n{}"),
    "that says close": Sound(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}", kept=False),
    "that says close among others": Sound(OK + b"Connection: x, Close\r\nContent-Length: 2\r\n\r\n{}", kept=False),
    "empty": Sound(OK + b"Content-Length: 0\r\n\r\n", b""),
    "empty in chunks": Sound(CHUNKED + b"0\r\n\r\n", b""),
    "204": Sound(b"HTTP/1.1 204 No Content\r\n\r\n", b"", b"204 No Content"),
    "204 that announces a body": Sound(
        b"HTTP/1.1 204 No Content\r\nContent-Length: 8\r\n\r\n", b"", b"204 No Content", kept=False
    ),
    "204 with a body": Sound(b"HTTP/1.1 204 No Content\r\n\r\n" + SECOND, b"", b"204 No Content", kept=False),
    "204 with chunks": Sound(
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"", b"204 No Content", kept=False,
    ),
    "304 with a body": Sound(b"HTTP/1.1 304 Not Modified\r\n\r\n" + SECOND, b"", b"304 Not Modified", kept=False),
    "after 100": Sound(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}"),
    "after 103 with headers": Sound(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Interim: 1\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}",
        header=(b"x-interim", None),
    ),
    "after many interim answers": Sound(
        b"HTTP/1.1 102 Processing\r\n\r\n" * 50 + b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "after one that announces a body": Sound(
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}"
    ),
    "without a reason": Sound(b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}", status=b"200 "),
    "without a reason or a blank": Sound(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", status=b"200 "),
    "with an odd reason": Sound(
        b"HTTP/1.1 200 f\xfcr alle: 1\r\nContent-Length: 2\r\n\r\n{}", status=b"200 f\xfcr alle: 1"
    ),
    "with garbage behind it": Sound(OK + b"Content-Length: 2\r\n\r\n{}garbage", kept=False),
    "with a blank line behind it": Sound(OK + b"Content-Length: 2\r\n\r\n{}\r\n", kept=False),
    "with another answer behind it": Sound(OK + b"Content-Length: 2\r\n\r\n{}" + SECOND, kept=False),
    "with another answer behind its chunks": Sound(CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + SECOND, kept=False),
    "with another answer behind none": Sound(OK + b"Content-Length: 0\r\n\r\n" + SECOND, b"", kept=False),
    "compressed": Sound(
        OK + b"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
        b"\x1f\x8b\x08\x00", header=(b"content-encoding", b"gzip"),
    ),
    "compressed in chunks": Sound(
        OK + b"Content-Encoding: br\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\x00\xff\r\r\n0\r\n\r\n",
        b"\x00\xff\r", header=(b"content-encoding", b"br"),
    ),
    "with a header of its connection": Sound(
        OK + b"Connection: x-hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\n{}", header=(b"x-hop", None)
    ),
    "with repeated headers": Sound(
        OK + b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\n{}", header=(b"set-cookie", b"b=2")
    ),
    "with an empty value": Sound(OK + b"X-Empty:\r\nContent-Length: 2\r\n\r\n{}", header=(b"x-empty", b"")),
    "with a large head": Sound(
        OK + b"X-Large: " + b"x" * 60_000 + b"\r\nContent-Length: 2\r\n\r\n{}", header=(b"x-large", b"x" * 60_000)
    ),
    "with an offer to upgrade": Sound(
        OK + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}", header=(b"upgrade", None)
    ),
}  # fmt: skip

BROKEN: dict[str, bytes] = {
    "nothing of HTTP": b"garbage\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x0a",
    "binary": bytes(range(256)),
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80",
    "a blank line first": b"\r\n" + OK + b"Content-Length: 2\r\n\r\n{}",
    "version 2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "version 1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "version 0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a version in lower case": b"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status of 000": b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status of 600": b"HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status in words": b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\n{}",
    "two blanks in the status line": b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "both framings": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "both framings, coding first": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "two lengths that agree": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": OK + b"Content-Length: 2, 2\r\n\r\n{}",
    "a negative length": OK + b"Content-Length: -2\r\n\r\n{}",
    "a signed length": OK + b"Content-Length: +2\r\n\r\n{}",
    "a hexadecimal length": OK + b"Content-Length: 0x2\r\n\r\n{}",
    "a length in words": OK + b"Content-Length: two\r\n\r\n{}",
    "an empty length": OK + b"Content-Length:\r\n\r\n{}",
    "a huge length": OK + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "an unknown coding": OK + b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a compressed coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked not last": OK + b"Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "one bare line feed": OK + b"X-A: b\nContent-Length: 2\r\n\r\n{}",
    "a bare carriage return": OK + b"X-A: b\rX-B: c\r\nContent-Length: 2\r\n\r\n{}",
    "a folded header": OK + b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
    "a NUL in a value": OK + b"X-A: b\0\r\nContent-Length: 2\r\n\r\n{}",
    "a header without a colon": OK + b"X-A\r\nContent-Length: 2\r\n\r\n{}",
    "a blank before a colon": OK + b"Content-Length : 2\r\n\r\n{}",
    "an empty name": OK + b": b\r\nContent-Length: 2\r\n\r\n{}",
    "a chunk size that is none": CHUNKED + b"xx\r\n{}\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk size beyond all bounds": CHUNKED + b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "an empty chunk size": CHUNKED + b"\r\n{}\r\n0\r\n\r\n",
    "an answer within an interim one": b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n{}" + SECOND,
    "a protocol nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "a websocket nobody asked for": b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + SECOND,
    "a head that is too large": OK + b"X-Large: " + b"x" * 70_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    "a head without an end": OK + b"X-Large: " + b"x" * 200_000,
    "interim answers without an end": b"HTTP/1.1 102 Processing\r\n\r\n" * 5000,
}  # fmt: skip
