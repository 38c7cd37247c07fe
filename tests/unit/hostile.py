"""Requests that no honest client sends: malformed, ambiguous, oversized, cut off. Data for tests and for the fuzzer.

Each case says what it must be answered with; after every one of them the connection is closed, and no worker may
have seen anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass

START = b"POST /generate HTTP/1.1\r\nHost: gw\r\n"
BODY = b"{}"
GOOD = START + b"Content-Length: 2\r\n\r\n" + BODY
INSIDE = b"POST /generate HTTP/1.1\r\nHost: gw\r\nX-Smuggled: yes\r\nContent-Length: 2\r\n\r\n{}"
"""What a smuggler would like a worker to read as a request of its own."""

BAD = frozenset((400,))


@dataclass(frozen=True, slots=True)
class Hostile:
    """`statuses`: what may be answered; empty: nothing, the connection is just closed (nothing whole ever came)."""

    name: str
    data: bytes
    statuses: frozenset[int] = BAD


def _head(*lines: bytes, body: bytes = BODY) -> bytes:
    return START + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def _chunks(body: bytes) -> bytes:
    return _head(b"Transfer-Encoding: chunked", body=body)


LENGTHS = (
    b"+2", b"-2", b"0x2", b"2 2", b"2, 2", b"2,3", b"2;", b"2.0", b"2e0", b"two", b"", b"\x0b2", b"2\x00", b"'2'",
    b'"2"', b"99999999999999999999999", b"-0", b"\xd9\xa2", b"2_0", b"(2)", b"0 2", b"2\t2",
)  # fmt: skip
CODINGS = (
    b"xchunked", b"chunked, identity", b"chunked, chunked", b"chunkedx", b"\x0bchunked",
    b"chunked\x00", b'"chunked"', b"chunked;q=1", b",chunked", b"chunked,", b"chun ked",
    b"[chunked]", b"chunked\x0c", b"\xefchunked", b"chunked#", b"'chunked'",
)  # fmt: skip
UNKNOWN_CODINGS = (
    b"identity",
    b"gzip",
    b"deflate",
    b"br",
    b"cow",
    b"gzip, chunked",
    b"x, chunked",
    b"identity, chunked",
)
CHUNKED_BODIES = (
    b"-1\r\na\r\n0\r\n\r\n", b"0x1\r\na\r\n0\r\n\r\n", b"zz\r\na\r\n0\r\n\r\n", b"\r\na\r\n0\r\n\r\n",
    b"1 \r\na\r\n0\r\n\r\n", b" 1\r\na\r\n0\r\n\r\n", b"\t1\r\na\r\n0\r\n\r\n", b"1;a\nb\r\na\r\n0\r\n\r\n",
    b"1\na\r\n0\r\n\r\n", b"1\r\na\n0\r\n\r\n", b"1\r\na0\r\n\r\n", b"1\r\nab\r\n0\r\n\r\n", b"1\ra\r\n0\r\n\r\n",
    b"1;\x00\r\na\r\n0\r\n\r\n", b"1\na\n0\n\n", b"fffffffffffffffff\r\na\r\n0\r\n\r\n", b"1_0\r\na\r\n0\r\n\r\n",
    b"1,1\r\na\r\n0\r\n\r\n", b"\xef\xbc\x91\r\na\r\n0\r\n\r\n", b"1\r\r\na\r\n0\r\n\r\n", b"g\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\nX: y\n\r\n",
    b"0\r\nX: y\r\n z\r\n\r\n", b"0\r\n\n", b"0\r\nX y\r\n\r\n", b"0\r\n: y\r\n\r\n", b"0\r\nX\x00: y\r\n\r\n",
    b"-0\r\n\r\n", b"+1\r\na\r\n0\r\n\r\n", b"1\r\na\r\n\r\n0\r\n\r\n",
)  # fmt: skip
HEADER_LINES = (
    b"X : a", b"X\t: a", b"Content-Length : 2", b"Transfer-Encoding : chunked", b" X: a", b"\tX: a", b"Xa", b": a",
    b"X\x00: a", b"X: a\x00b", b"X: a\x01b", b"X: a\x7fb", b"X: a\x0bb", b"X: a\x0cb", b"X\xff: a", b"X(: a", b"X/: a",
    b"X@: a", b"X[: a", b"X{: a", b'X": a', b"X,: a", b"X;: a", b"X<: a", b"X=: a", b"X?: a", b"X\\: a", b"X: a\r\n b",
    b"X: a\r\n\tb", b"X: a\rY: b", b"X: a\nY: b", b"X: a\x08", b"\x00", b"X\r: a",
)  # fmt: skip
HOSTS = (
    b"",
    b"a b",
    b"a/b",
    b"u@h",
    b"a#b",
    b"a?b",
    b"a\\b",
    b"[::1",
    b"::1]",
    b"a:b:c",
    b"a:80x",
    b"<a>",
    b"a\x00",
    b"\xff",
)
REQUEST_LINES = (
    b"post /generate HTTP/1.1", b"FOO /generate HTTP/1.1", b" POST /generate HTTP/1.1", b"POST /gen erate HTTP/1.1",
    b"POST\t/generate\tHTTP/1.1", b"POST /generate HTTP/1.1 ", b"POST /generate HTTP/1.1\t", b"POST /generate http/1.1",
    b"POST /generate HTTP/1.01", b"POST /generate HTTP/11", b"POST /generate HTTP/1", b"POST /generate HTTP/1.1.1",
    b"POST /generate HTTP/1,1", b"POST /generate HTTP /1.1", b"POST /generate XTTP/1.1", b"POST /gen\x00erate HTTP/1.1",
    b"POST /gen\x01erate HTTP/1.1", b"POST /gen\x7ferate HTTP/1.1", b"POST /gen\xfferate HTTP/1.1",
    b"POST /generate#x HTTP/1.1", b"POST generate HTTP/1.1", b"POST ftp://gw/generate HTTP/1.1", b"POST ? HTTP/1.1",
    b"POST\r/generate HTTP/1.1", b"P\x00ST /generate HTTP/1.1", b"\x00POST /generate HTTP/1.1", b"POST",
    b"POST /generate HTTP/1.1\x00", b"{POST} /generate HTTP/1.1", b"POST//generate HTTP/1.1",
)  # fmt: skip
OTHER_REQUEST_LINES = (
    (b"POST /generate HTTP/0.9", frozenset((400, 505))),
    (b"POST /generate HTTP/1.2", frozenset((400, 505))),
    (b"POST /generate HTTP/2.0", frozenset((400, 505))),
    (b"POST /generate HTTP/3.0", frozenset((400, 505))),
    (b"POST /generate HTTP/9.9", frozenset((400, 505))),
    (b"POST /generate", frozenset((400, 505))),
    (b"CONNECT gw:443 HTTP/1.1", frozenset((400, 501))),
    (b"PROPFIND / HTTP/1.1", frozenset((501,))),
    (b"LINK /generate HTTP/1.1", frozenset((501,))),
    (b"SOURCE /generate ICE/1.0", frozenset((400, 501))),
    (b"DESCRIBE /generate RTSP/1.0", frozenset((400, 501))),
    (b"POST /generate RTSP/1.0", frozenset((400,))),
)


def _lengths_and_codings() -> Iterator[Hostile]:
    for value in LENGTHS:
        yield Hostile(f"Content-Length: {value!r}", _head(b"Content-Length: " + value))
    for one, other in ((b"2", b"2"), (b"2", b"3"), (b"0", b"2"), (b"2", b"0"), (b"2", b"")):
        pair = (b"Content-Length: " + one, b"Content-Length: " + other)
        yield Hostile(f"Content-Length twice: {one!r} {other!r}", _head(*pair))
        yield Hostile(f"Content-Length twice, apart: {one!r} {other!r}", _head(pair[0], b"X: y", pair[1].lower()))
    chunked, length = b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(b"0\r\n\r\n" + INSIDE)
    for name, lines in (("length first", (length, chunked)), ("coding first", (chunked, length))):
        yield Hostile(f"both framings, {name}", _head(*lines, body=b"0\r\n\r\n" + INSIDE))
        short = (b"Content-Length: 4", chunked) if lines[0] is length else (chunked, b"Content-Length: 4")
        yield Hostile(f"both framings, {name}, short", _head(*short, body=b"5c\r\n" + INSIDE))
    for value in CODINGS:
        yield Hostile(
            f"Transfer-Encoding: {value!r}", _head(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n" + INSIDE)
        )
        both = (b"Content-Length: 2", b"Transfer-Encoding: " + value)
        yield Hostile(f"length and Transfer-Encoding: {value!r}", _head(*both, body=b"{}" + INSIDE))
    for value in UNKNOWN_CODINGS:
        data = _head(b"Transfer-Encoding: " + value, body=INSIDE)
        yield Hostile(f"Transfer-Encoding: {value!r}", data, frozenset((400, 501)))
    twice = (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity")
    yield Hostile("two codings", _head(*twice, body=b"0\r\n\r\n" + INSIDE))
    yield Hostile("two codings, other order", _head(*reversed(twice), body=b"0\r\n\r\n" + INSIDE))
    old = b"POST /generate HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    yield Hostile("chunked in HTTP/1.0", old + INSIDE)


def _heads() -> Iterator[Hostile]:
    for line in HEADER_LINES:
        yield Hostile(f"line {line!r}", _head(line, b"Content-Length: 2"))
    for line in REQUEST_LINES:
        yield Hostile(f"request line {line!r}", line + b"\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{}")
    for line, statuses in OTHER_REQUEST_LINES:
        yield Hostile(f"request line {line!r}", line + b"\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{}", statuses)
    for host in HOSTS:
        data = b"POST /generate HTTP/1.1\r\nHost: %b\r\nContent-Length: 2\r\n\r\n{}" % host
        yield Hostile(f"Host: {host!r}", data)
    yield Hostile("no Host", b"POST /generate HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    yield Hostile("two Hosts", _head(b"Host: other", b"Content-Length: 2"))
    yield Hostile("odd expectation", _head(b"Expect: 200-ok", b"Content-Length: 2"), frozenset((417,)))
    for place in range(1, GOOD.count(b"\r\n") + 1):
        parts = GOOD.split(b"\r\n")
        yield Hostile(f"bare LF {place}", b"\r\n".join(parts[:place]) + b"\n" + b"\r\n".join(parts[place:]))
        yield Hostile(f"CR CR LF {place}", b"\r\n".join(parts[:place]) + b"\r\r\n" + b"\r\n".join(parts[place:]))
    yield Hostile("only LF", GOOD.replace(b"\r\n", b"\n"))
    yield Hostile("only CR", GOOD.replace(b"\r\n", b"\r"))
    yield Hostile("LF before the request", b"\n" + GOOD)


def _sizes() -> Iterator[Hostile]:
    large = frozenset((431,))
    yield Hostile("a long header", _head(b"X: " + b"a" * 70_000, b"Content-Length: 2"), large)
    yield Hostile("a long name", _head(b"X" * 70_000 + b": a", b"Content-Length: 2"), large)
    yield Hostile("a long target", b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: gw\r\n\r\n", large)
    yield Hostile("many headers", _head(*(b"X%d: a" % n for n in range(300)), b"Content-Length: 2"), large)
    yield Hostile("many short headers", _head(*[b"a:"] * 30_000), large)
    yield Hostile("an endless head", START + b"X: " + b"a" * 200_000, large)
    yield Hostile("endless trailers", _chunks(b"0\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n"), large)
    yield Hostile("an endless chunk extension", _chunks(b"1;" + b"a" * 2_000_000), BAD)
    huge = _head(b"Content-Length: 99999999999", body=b"")
    yield Hostile("a body that is too large", huge, frozenset((413,)))


def _other_protocols() -> Iterator[Hostile]:
    yield Hostile("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frozenset((400, 501, 505)))
    yield Hostile("TLS client hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)))
    yield Hostile("SSH", b"SSH-2.0-OpenSSH_9.6\r\n")
    yield Hostile("SMTP", b"EHLO gw\r\n")
    yield Hostile("Redis", b"*1\r\n$4\r\nPING\r\n")
    yield Hostile("NULs", bytes(1000))
    yield Hostile("high bytes", b"\xff" * 1000)
    yield Hostile("proxy protocol", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + GOOD)
    yield Hostile("an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    yield Hostile("JSON alone", b'{"model":"m"}\r\n')


def _cut_off() -> Iterator[Hostile]:
    nothing: frozenset[int] = frozenset()
    for size in range(1, len(GOOD)):
        yield Hostile(f"cut off after {size}", GOOD[:size], nothing)
    chunked = _chunks(b"2\r\n{}\r\n0\r\n\r\n")
    for size in range(len(chunked) - 16, len(chunked)):
        yield Hostile(f"chunks cut off after {size}", chunked[:size], nothing)


def cases() -> list[Hostile]:
    """All of them."""
    chunked = [Hostile(f"chunks {body!r}", _chunks(body)) for body in CHUNKED_BODIES]
    return [*_lengths_and_codings(), *_heads(), *chunked, *_sizes(), *_other_protocols(), *_cut_off()]
