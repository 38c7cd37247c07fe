"""Reading answers: the same result however the bytes are split, no bytes that crash it, and h11 reads them alike."""

from random import Random

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.chunks import SLACK, BadChunks, Chunks
from gateway.proxy.replies import MOST_HEAD_BYTES, BadReply, Reply
from tests.unit.fuzzing import pieces
from tests.unit.odd_answers import BROKEN, SOUND

SEEDS = [*(case.raw for case in SOUND.values()), *(raw for raw in BROKEN.values() if len(raw) < 3000)]
PARTS = (
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"0", b"\0", b"\xff", b",", b";", b"chunked", b"1",
    b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"2\r\n{}\r\n", b"0\r\n\r\n",
)  # fmt: skip

Read = tuple[int, bytes, bool, bool] | None
"""Status, body, whether it is complete, whether the connection may go on; None: refused."""


def read(parts: list[bytes], method: bytes = b"POST") -> Read:
    reply, body = Reply(method), bytearray()
    try:
        for part in parts:
            rest = reply.read_head(part) if reply.head is None else part
            if rest:
                if reply.chunks is not None and not reply.done and (piece := reply.chunks.whole(rest)) is not None:
                    body += piece
                else:
                    reply.read_body(rest, body.extend)
    except BadReply:
        return None
    return (reply.head.status if reply.head else 0, bytes(body), reply.done, not reply.closes)


def read_by_another(data: bytes) -> tuple[int, bytes, bool] | None:
    """What h11 reads; None where it refuses."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    status, body = 0, bytearray()
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return status, bytes(body), True
            elif not isinstance(event, h11.InformationalResponse):
                return status, bytes(body), False
    except h11.RemoteProtocolError:
        return None


def mutated(rng: Random) -> bytes:
    data = rng.choice(SEEDS)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0:
                data = data[:at] + rng.choice(PARTS) + data[at:]
            case 1:
                data = data[:at] + data[at + rng.randrange(1, 8) :]
            case 2:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case _:
                data = data[:at] + rng.choice(PARTS) + data[at + rng.randrange(1, 8) :]
    return data


@settings(max_examples=3000, deadline=None)
@given(st.integers(0, 2**48))
def test_mutated_answers_are_read_alike_however_they_are_cut_and_as_another_parser_reads_them(seed: int) -> None:
    rng = Random(seed)
    data = mutated(rng)
    whole, cut = read([data]), read(pieces(data, rng))
    assert whole == cut or (whole is None) == (cut is None), (data, whole, cut)
    if whole is not None and whole[2] and whole[0] != 101:
        assert read_by_another(data) == whole[:3], (data, whole)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_no_bytes_crash_the_reading_of_answers(data: bytes, seed: int) -> None:
    assert read([data]) == read(pieces(data, Random(seed)))
    read([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data])


@pytest.mark.parametrize("method", [b"HEAD", b"POST"])
def test_an_answer_to_head_ends_with_its_head_and_may_announce_what_it_likes(method: bytes) -> None:
    for line in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: y"):
        got = read([b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\n"], method)
        assert got is not None
        assert (got[2], got[3]) == ((True, True) if method == b"HEAD" else (False, not line.startswith(b"X")))


def test_a_head_that_drips_is_bounded() -> None:
    reply = Reply(b"POST")
    reply.read_head(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range((MOST_HEAD_BYTES - 20) // 100):
        reply.read_head(b"x" * 100)
    with pytest.raises(BadReply, match="larger than"):
        reply.read_head(b"x" * 100)


@pytest.mark.parametrize("line", [b"1;%b\r\nx\r\n" % (b"a" * 4000), b"%b1\r\nx\r\n" % (b"0" * 14)])
def test_chunks_that_are_mostly_overhead_are_refused_in_the_end(line: bytes) -> None:
    chunks, read = Chunks(1000), 0

    def read_them() -> None:
        nonlocal read
        while read < 1_000_000:
            read += 1
            if chunks.whole(line) is None:
                chunks.feed(line, 0, lambda data: None)

    with pytest.raises(BadChunks, match="overhead"):
        read_them()
    assert SLACK / len(line) < read


@pytest.mark.parametrize(
    "data",
    [
        b"0\r\n\r\n", b"1\r\nab\r\n", b"1\r\na\r\n0\r\n\r\n", b"1\r\na", b"+1\r\na\r\n",
        b" 1\r\na\r\n", b"g\r\na\r\n", b"\r\na\r\n", b"1;a\r\na\r\n", b"", b"\r\n", b"1\r\naXX",
        b"1_0\r\n" + b"a" * 16 + b"\r\n",
    ],
)  # fmt: skip
def test_what_looks_like_a_whole_chunk_and_is_none_is_left_to_the_reading(data: bytes) -> None:
    assert Chunks(100).whole(data) is None
    assert Chunks(100).whole(b"01\r\na\r\n") == b"a"
    begun = Chunks(100)
    begun.feed(b"2", 0, lambda data: None)
    assert begun.whole(b"1\r\na\r\n") is None
