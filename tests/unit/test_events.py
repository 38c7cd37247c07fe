"""The journal and its cursors: no gaps, no cost for who does not read, and honesty about what was missed."""

import asyncio

from gateway.events import Journal, Lagged
from gateway.tasks import Scope
from gateway.workers.facts import Cause, Notice


def journal(size: int = 10) -> Journal:
    return Journal(lambda: 1.0, lambda: 2.0, size)


def fill(log: Journal, count: int) -> None:
    for _ in range(count):
        log.append(Notice("t", "x"), Cause("test"))


def test_a_reader_sees_every_event_once_and_in_order() -> None:
    log = journal()
    reader = log.reader()
    seen: list[int] = []
    for count in (1, 3, 0, 7):
        fill(log, count)
        while events := reader.ready(most=2):
            assert isinstance(events, list)
            seen += [event.seq for event in events]
    assert seen == list(range(1, 12))


def test_a_reader_that_fell_behind_is_told_how_much_it_missed_and_goes_on_from_the_end() -> None:
    log = journal()
    reader = log.reader()
    fill(log, 25)
    assert reader.ready() == Lagged(15)
    assert reader.ready() == []
    fill(log, 1)
    assert [event.seq for event in reader.ready()] == [26]  # type: ignore[union-attr]  # not lagged


def test_a_reader_exactly_at_the_edge_has_missed_nothing() -> None:
    log = journal()
    reader = log.reader()
    fill(log, 10)
    assert [event.seq for event in reader.ready()] == list(range(1, 11))  # type: ignore[union-attr]


def test_after_gives_what_is_kept() -> None:
    log = journal()
    fill(log, 25)
    assert log.oldest == 16
    assert [event.seq for event in log.after(0, 3)] == [16, 17, 18]
    assert [event.seq for event in log.after(24, 10)] == [25]
    assert log.after(25, 10) == []


async def test_waiting_readers_are_woken_and_a_cancelled_one_disturbs_nobody() -> None:
    log = journal()
    async with Scope("test") as scope:
        readers = [scope.spawn(log.reader().next(), name=f"r{n}") for n in range(3)]
        await asyncio.sleep(0)
        readers[0].cancel()
        await asyncio.sleep(0)
        fill(log, 2)
        for task in readers[1:]:
            events = await task
            assert [event.seq for event in events] == [1, 2]  # type: ignore[union-attr]
    assert readers[0].cancelled()


async def test_a_thousand_readers_that_never_read_hold_nothing() -> None:
    log = journal(100)
    readers = [log.reader() for _ in range(1000)]
    fill(log, 10_000)
    assert all(reader.ready() == Lagged(9_900) for reader in readers)
    assert len(log.after(0, 10_000)) == 100
