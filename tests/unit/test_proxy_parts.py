"""The small parts of the proxy: hints, ids, heads, selection, deadlines, connections in memory."""

import asyncio
import socket
import ssl
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.proxy.answers import sse_error
from gateway.proxy.deadline import Deadline
from gateway.proxy.hints import Hints, MissingModel, hints_of
from gateway.proxy.identify import request_id
from gateway.proxy.memory import HIGH_WATER, connect_in_memory
from gateway.proxy.messages import AnswerHead, Request, request_head
from gateway.proxy.pool import connect_text

CHAT, AUDIO, GENERATE = b"/v1/chat/completions", b"/v1/audio/transcriptions", b"/generate"


# --- hints ---


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m","stream":true}', Hints("m", True)),
        (b'{"stream":null,"messages":[{"model":"not this"}],"model":"m"}', Hints("m", None)),
        (b'{"model":"\\u00e9","x":1e400}', Hints("é")),
        (b' {"model" : "m"} \n', Hints("m")),
        (b'{"text":"a"}', Hints()),
        (b'{"model":null}', Hints()),
    ],
)
def test_hints_are_read_from_json(body: bytes, expected: Hints) -> None:
    found = hints_of(GENERATE, b"application/json", body)
    assert (found.model, found.stream) == (expected.model, expected.stream)


@pytest.mark.parametrize(
    ("body", "field", "text"),
    [
        (b'{"model":5}', "model", "model: expected str | null, got int"),
        (b'{"stream":1}', "stream", "stream: expected bool | null, got int"),
        (b"[]", None, "the body: expected object, got array"),
        (b"{}x", None, "the body is not valid JSON"),
        (b'{"model":"m"', None, "the body is not valid JSON"),
        (b"\xff", None, "the body is not valid"),
        (b'{"x":' + b"[" * 100_000, None, "nested too deeply"),
    ],
)
def test_a_wrong_member_is_named(body: bytes, field: str | None, text: str) -> None:
    with pytest.raises(BadRequest) as error:
        hints_of(GENERATE, b"application/json", body)
    assert text in error.value.message
    assert error.value.field == field


def test_openai_routes_need_a_model_and_the_engines_own_do_not() -> None:
    with pytest.raises(MissingModel):
        hints_of(CHAT, b"application/json", b"{}")
    assert hints_of(b"/rerank", b"application/json", b"{}") == Hints()


@given(st.binary(max_size=60))
def test_no_body_crashes_the_hints(body: bytes) -> None:
    for kind in (b"application/json", b"multipart/form-data; boundary=b"):
        try:
            hints_of(GENERATE, kind, body)
        except BadRequest:
            continue


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"xYz") -> bytes:
    body = b"".join(b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (boundary, *part) for part in parts)
    return body + b"--%b--\r\n" % boundary


FILE = (b'name="file"; filename="model"', b"\x00\r\n\r\n--no boundary" * 1000)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([FILE, (b'name="model"', b"whisper-1")], Hints("whisper-1")),
        ([(b"name=model", b"whisper-1"), (b'name="stream"', b"true"), FILE], Hints("whisper-1", True)),
        ([(b'name="model"; filename="a"', b"not this")], Hints()),
        ([(b'name="models"', b"not this"), FILE], Hints()),
        ([], Hints()),
    ],
)
def test_a_forms_model_is_read_and_its_file_is_not(parts: list[tuple[bytes, bytes]], expected: Hints) -> None:
    for kind in (b"multipart/form-data; boundary=xYz", b'multipart/form-data; charset=x; boundary="xYz"'):
        assert hints_of(AUDIO, kind, form(*parts)) == expected


def test_a_form_without_a_boundary_is_refused() -> None:
    with pytest.raises(BadRequest, match="boundary"):
        hints_of(AUDIO, b"multipart/form-data", form(FILE))


# --- ids and heads ---


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({b"x-request-id": b"abc"}, b"abc"),
        ({b"x-request-id": b"", b"x-trace-id": b"t"}, b"t"),
        ({b"x-request-id": b"a b", b"x-trace-id": b"t"}, b"t"),
        ({b"x-request-id": b"x" * 129, b"x-trace-id": b"x" * 128}, b"x" * 128),
        ({b"x-request-id": b"\xe9"}, None),
    ],
)
def test_the_first_sound_id_counts(fields: dict[bytes, bytes], expected: bytes | None) -> None:
    got = request_id(CHAT, fields, (b"x-request-id", b"x-trace-id"), Random(1))
    assert got == expected if expected else got.startswith(b"chatcmpl-")


@pytest.mark.parametrize(
    ("route", "prefix"),
    [
        (CHAT, b"chatcmpl-"),
        (b"/v1/completions", b"cmpl-"),
        (GENERATE, b"gnt-"),
        (b"/v1/responses", b"resp-"),
        (b"/v1/messages", b"msg_"),
        (b"/workers", b"req-"),
    ],
)
def test_new_ids_are_24_alphanumerics_behind_the_routes_prefix(route: bytes, prefix: bytes) -> None:
    rng = Random(1)
    ids = {request_id(route, {}, (), rng) for _ in range(1000)}
    assert len(ids) == 1000
    for one in ids:
        rest = one.removeprefix(prefix)
        assert len(rest) == 24
        assert rest.isalnum()


names = st.sampled_from(
    [b"connection", b"te", b"x-a", b"x-b", b"host", b"content-length", b"upgrade", b"keep-alive", b"cookie"]
)


@given(st.lists(st.tuples(names, st.sampled_from([b"x-a", b"close, X-A", b"te", b"1", b""])), max_size=8))
def test_no_header_about_a_connection_passes(headers: list[tuple[bytes, bytes]]) -> None:
    request = Request(b"POST", b"/x", b"/x", headers, dict(headers), True, length=3, request_id=b"id")
    head = request_head(request, b"worker:1", b"Bearer k")
    lines = head[:-4].split(b"\r\n")[1:]
    got = [line.partition(b": ")[0] for line in lines]
    assert sorted(set(got)) == sorted(
        {b"host", b"content-length", b"x-request-id", b"authorization"} | (set(got) & {b"x-a", b"x-b", b"cookie"})
    )
    assert (got.count(b"host"), got.count(b"content-length")) == (1, 1)
    if any(b"x-a" in value.lower() for name, value in headers if name == b"connection"):
        assert b"x-a" not in got
    back = AnswerHead(200, b"OK", headers).passing
    kept = {line.partition(b": ")[0] for line in back[:-2].split(b"\r\n")[1:]}
    assert not kept & {b"connection", b"te", b"content-length", b"upgrade", b"keep-alive"}


def test_an_error_event_in_an_anthropic_stream_is_a_named_one() -> None:
    assert sse_error(502, "c", "m", mid_event=False, route=CHAT).startswith(b'data: {"error":')
    assert sse_error(502, "c", "m", mid_event=True, route=b"/v1/messages").startswith(
        b'\n\nevent: error\ndata: {"type":"error","error":'
    )


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "connection refused"),
        (OSError(113, "Connect call failed ('10.0.0.1', 1)"), "no route to host"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed (1), [Errno 111] x"), "connection refused"),
        (OSError("Multiple exceptions: [Errno 111] a, [Errno 101] b"), "network is unreachable, connection refused"),
        (ConnectionResetError(104, "Connection reset by peer"), "connection reset by peer"),
        (ConnectionAbortedError("SSL handshake is taking longer"), "SSL handshake is taking longer"),
        (ConnectionResetError(), "ConnectionResetError"),
        (socket.gaierror(-2, "Name or service not known"), "cannot resolve host: nowhere"),
        (UnicodeError("label too long"), "cannot resolve host: nowhere"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "TLS: "),
    ],
)
def test_a_failed_connection_is_told_in_a_few_words(error: Exception, text: str) -> None:
    told = connect_text(error, "nowhere")
    assert told.startswith(text) if text == "TLS: " else told == text


# --- deadlines ---


async def test_a_deadline_that_is_moved_later_touches_no_timer_until_it_would_have_passed() -> None:
    loop = asyncio.get_running_loop()
    now, passed = [0.0], []
    set_timers: list[float] = []

    class Loop:
        def call_later(self, delay: float, call: Any) -> asyncio.TimerHandle:
            set_timers.append(delay)
            return loop.call_later(3600, call)

    deadline = Deadline(Loop(), lambda: now[0], lambda: passed.append(now[0]))  # type: ignore[arg-type]  # one method
    for moment in range(1000):
        deadline.move(moment + 90.0)
    assert len(set_timers) == 1
    now[0] = 90.0
    deadline._look()  # the timer fires early, and is set for the rest
    assert set_timers[1:] == [pytest.approx(999.001)]
    now[0] = 1089.0
    deadline._look()
    assert passed == [1089.0]
    deadline.move(1100.0)
    deadline.move(1095.0)  # sooner: it is set again
    assert len(set_timers) == 4
    deadline.drop()


async def test_a_deadline_passes_once_and_not_after_it_was_dropped() -> None:
    loop = asyncio.get_running_loop()
    passed = asyncio.Event()
    count = [0]

    def note() -> None:
        count[0] += 1
        passed.set()

    deadline = Deadline(loop, loop.time, note)
    deadline.move(loop.time() + 0.01)
    await asyncio.wait_for(passed.wait(), 5)
    dropped = Deadline(loop, loop.time, note)
    dropped.move(loop.time() + 0.01)
    dropped.drop()
    await asyncio.sleep(0.05)
    assert count == [1]


# --- connections in memory ---


class End(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.got = bytearray()
        self.events: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")


def pair(**extra: Any) -> tuple[End, End]:
    near, far = End(), End()
    connect_in_memory(near, lambda: far, extra)
    return near, far


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_memory_passes_bytes_in_order_but_never_from_within_write() -> None:
    near, far = pair(peername=("client", 1))
    assert far.transport.get_extra_info("peername") == ("client", 1)
    near.transport.write(b"a")
    near.transport.writelines([b"b", b"c"])
    assert not far.got
    await settle()
    assert far.got == b"abc"
    far.transport.write(b"back")
    await settle()
    assert near.got == b"back"


async def test_memory_holds_a_writer_back_while_the_other_end_does_not_read() -> None:
    near, far = pair()
    near.transport.pause_reading()
    far.transport.write(b"x" * (HIGH_WATER + 1))
    assert far.events == ["pause"]
    await settle()
    assert not near.got
    near.transport.resume_reading()
    await settle()
    assert len(near.got) == HIGH_WATER + 1
    assert far.events == ["pause", "resume"]


async def test_memory_that_closes_hands_over_what_was_written_first() -> None:
    near, far = pair()
    near.transport.pause_reading()
    far.transport.write(b"last words")
    far.transport.close()
    await settle()
    assert (bytes(near.got), near.events, far.events) == (b"", [], ["lost"])
    near.transport.resume_reading()
    await settle()
    assert (bytes(near.got), near.events) == (b"last words", ["lost"])


async def test_memory_that_aborts_is_lost_at_both_ends_even_where_nobody_reads() -> None:
    near, far = pair()
    far.transport.pause_reading()
    near.transport.write(b"never read")
    near.transport.abort()
    await settle()
    assert (near.events, far.events, bytes(far.got)) == (["lost"], ["lost"], b"")
    near.transport.write(b"ignored")
    far.transport.close()
    await settle()
    assert (near.events, far.events) == (["lost"], ["lost"])
