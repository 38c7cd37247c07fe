"""The way to a client's screen: frames whole or not at all, a bound on what waits, and a repaint after a gap."""

import asyncio

from smg_console.ssh.wire import LIMIT, Wire


class Channel:
    """A client that reads when a test says so."""

    def __init__(self) -> None:
        self.got = b""
        self.held = 0
        self.reads = True

    def write(self, data: bytes) -> None:
        self.got += data
        if not self.reads:
            self.held += len(data)

    def waiting(self) -> int:
        return self.held


async def test_what_is_written_between_two_flushes_goes_out_as_one() -> None:
    channel = Channel()
    wire = Wire(channel, lambda: None)
    wire.write("one ")
    wire.write("two")
    assert channel.got == b""
    wire.flush()
    assert channel.got == b"one two"
    wire.write("bell")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (channel.got, wire.sent) == (b"one twobell", 11)


async def test_a_client_that_does_not_read_costs_a_bound_and_gets_a_repaint_when_it_has_read_on() -> None:
    channel, repainted = Channel(), asyncio.Event()
    wire = Wire(channel, repainted.set)
    channel.reads = False
    frame = "x" * 20_000
    for _ in range(100):
        wire.write(frame)
        wire.flush()
    assert LIMIT < channel.held <= LIMIT + len(frame)
    assert wire.behind
    assert wire.dropped == 100 - channel.held // len(frame)
    before = len(channel.got)
    channel.held, channel.reads = 0, True
    wire.write("a part of a frame means nothing after a gap")
    wire.flush()
    assert len(channel.got) == before
    await asyncio.wait_for(repainted.wait(), 5)
    assert not wire.behind
    wire.write("whole")
    wire.flush()
    assert channel.got.endswith(b"whole")


async def test_the_last_words_reach_whoever_reads_and_nothing_follows_them() -> None:
    channel = Channel()
    wire = Wire(channel, lambda: None)
    wire.write("frame")
    wire.close("restored")
    wire.write("late")
    wire.flush()
    wire.close("again")
    assert channel.got == b"framerestored"


async def test_nobody_waits_for_the_last_words_of_a_client_that_does_not_read() -> None:
    channel = Channel()
    channel.held = LIMIT + 1
    repainted: list[bool] = []
    wire = Wire(channel, lambda: repainted.append(True))
    wire.write("frame")
    wire.flush()
    wire.close("restored")
    channel.held = 0
    await asyncio.sleep(0.15)  # longer than it looks
    assert (channel.got, repainted) == (b"", [])


async def test_what_cannot_be_encoded_is_no_crash() -> None:
    channel = Channel()
    wire = Wire(channel, lambda: None)
    wire.write("a\udcffb")
    wire.flush()
    assert channel.got == b"a?b"
