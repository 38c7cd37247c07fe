"""Reading requests: the same result however the bytes are split, and no bytes that crash it."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.proxy.intake import Refused, checked_head
from gateway.proxy.reader import RequestReader
from gateway.proxy.settings import ProxySettings

LIMITS = ProxySettings(max_head_bytes=2000, max_payload_bytes=5000)


def reader(limits: ProxySettings = LIMITS) -> RequestReader:
    return RequestReader(limits, lambda: 0.0)


def read(pieces: list[bytes]) -> tuple[list[Any], int | None]:
    """All that was read: the requests, and the status they end with."""
    it = reader()
    for piece in pieces:
        it.feed(piece)
    found = [
        (r.method, r.target, r.route, r.headers, r.keep_alive, r.length, r.complete, r.gathered()) for r in it.queue
    ]
    return found, it.refused.status if it.refused else None


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda t: b"x-" + t.encode())
values = st.text("abc 123,;=/\"'()", max_size=20).map(lambda t: t.strip().encode())


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One valid request."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD"]))
    target = b"/" + draw(st.text("abc/?=&%20", max_size=20)).encode()
    lines = [b"%b: %b" % pair for pair in draw(st.lists(st.tuples(tokens, values), max_size=4))]
    body = draw(st.binary(max_size=200))
    kind = draw(st.sampled_from(["none", "length", "chunked", "upgrade"]))
    if kind == "upgrade":
        lines += [b"Connection: Upgrade", b"Upgrade: h2c"]
    if kind in ("length", "upgrade"):
        lines.append(b"Content-Length: %d" % len(body))
    elif kind == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        pieces = split(body, draw(st.lists(st.integers(0, 200), max_size=3))) if body else []
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    else:
        body = b""
    return b"\r\n".join((b"%b %b HTTP/1.1" % (method, target), b"Host: a", *lines, b"", body))


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 2000), max_size=12))
def test_valid_requests_read_the_same_however_they_are_split(whole: list[bytes], cuts: list[int]) -> None:
    data = b"".join(whole)
    at_once = read([data])
    assert at_once == read(split(data, cuts))
    found, refused = at_once
    assert refused is None
    assert len(found) == len(whole)
    assert all(request[6] for request in found)
    assert at_once == ([one for each in whole for one in read([each])[0]], None)


@settings(max_examples=40)
@given(requests())
def test_a_valid_request_reads_the_same_byte_by_byte(data: bytes) -> None:
    assert read([data[n : n + 1] for n in range(len(data))]) == read([data])


@given(st.lists(st.binary(max_size=100), max_size=8))
@example([b"\r\n" * 1500])
@example([b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\x00\xff"])
def test_no_bytes_crash_the_reader(pieces: list[bytes]) -> None:
    read(pieces)


@given(requests(), st.integers(0, 500), st.binary(min_size=1, max_size=4), st.lists(st.integers(0, 600), max_size=4))
def test_a_valid_request_with_some_bytes_changed_never_crashes(
    data: bytes, at: int, junk: bytes, cuts: list[int]
) -> None:
    at %= len(data)
    changed = data[:at] + junk + data[at + len(junk) :]
    one, other = read([changed]), read(split(changed, cuts))
    assert (one[1] is None) == (other[1] is None)
    assert [r for r in one[0] if r[6]] == [r for r in other[0] if r[6]]


def test_a_large_read_with_many_requests_is_no_large_head() -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    it = reader()
    it.feed(request * 500 + request[:10])
    it.feed(request[10:20])
    it.feed(request[20:])
    assert it.refused is None
    assert len(it.queue) == 501


def test_the_end_of_a_head_that_comes_with_its_body_is_no_large_head() -> None:
    it = reader()
    it.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Le")
    it.feed(b"ngth: 4000\r\n\r\n" + b"x" * 4000)
    assert it.refused is None
    assert it.queue[0].complete


def test_queued_bytes_are_given_back_when_requests_are_taken() -> None:
    it = reader()
    it.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd" * 3)
    assert it.queued_bytes > 0
    for _ in range(3):
        it.take()
    assert it.queued_bytes == 0


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/a?b", b"/a?b"),
        (b"http://host/a?b=c", b"/a?b=c"),
        (b"HTTP://host:80", b"/"),
        (b"https://user@host/a", b"/a"),
    ],
)
def test_targets_become_a_path_and_a_query(target: bytes, expected: bytes) -> None:
    request = checked_head(b"GET", target, "1.1", [(b"host", b"a")], keep_alive=True, most=9)
    assert (request.target, request.route) == (expected, expected.partition(b"?")[0])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 400),
        ([(b"host", b"a"), (b"host", b"a")], 400),
        ([(b"host", b"a"), (b"content-length", b"1"), (b"transfer-encoding", b"chunked")], 400),
        ([(b"host", b"a"), (b"content-length", b"-1")], 400),
        ([(b"host", b"a"), (b"content-length", b"\xb2")], 400),
        ([(b"host", b"a"), (b"content-length", b"10")], 413),
        ([(b"host", b"a"), (b"transfer-encoding", b"gzip, chunked")], 501),
        ([(b"host", b"a"), (b"expect", b"tea")], 417),
    ],
)
def test_heads_are_checked_whatever_the_parser_let_through(headers: list[tuple[bytes, bytes]], status: int) -> None:
    with pytest.raises(Refused) as refused:
        checked_head(b"POST", b"/", "1.1", headers, keep_alive=True, most=9)
    assert refused.value.status == status
