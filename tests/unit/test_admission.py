"""The door: who comes in, who waits, who is sent away, in a time that stands still unless moved."""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.proxy.admission import Admission, AdmissionSettings, QueueFull


class Timer:
    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due, self.call, self.cancelled = due, call, False

    def cancel(self) -> object:
        self.cancelled = True
        return None


class Door:
    """An admission with a clock and its timers."""

    def __init__(self, **given: object) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []
        self.admission = Admission(AdmissionSettings(**given), lambda: self.now, self.later)  # type: ignore[arg-type]

    def later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + delay_s, call))
        return self.timers[-1]

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [t for t in self.timers if t.due <= end and not t.cancelled]:
            timer = min(due, key=lambda t: t.due)
            self.timers.remove(timer)
            self.now = max(self.now, timer.due)
            timer.call()
        self.now = end


class Guest:
    def __init__(self, door: Door, inside: list["Guest"]) -> None:
        self.door, self.inside = door, inside
        self.usable = True

    def come(self) -> bool:
        if self.door.admission.enter(self):
            self.inside.append(self)
            return True
        return False

    def proceed(self) -> bool:
        if not self.usable:
            return False
        self.inside.append(self)
        return True

    def go(self) -> None:
        self.inside.remove(self)
        self.door.admission.leave()


def test_the_first_to_wait_is_the_first_to_come_in() -> None:
    door, inside = Door(max_concurrent=2), []
    guests = [Guest(door, inside) for _ in range(5)]
    assert [guest.come() for guest in guests] == [True, True, False, False, False]
    door.admission.give_up(guests[3])
    guests[0].go()
    guests[1].go()
    assert inside == [guests[2], guests[4]]


def test_one_more_than_the_queue_holds_is_sent_away() -> None:
    door, inside = Door(max_concurrent=1, queue_size=1), []
    assert Guest(door, inside).come()
    assert not Guest(door, inside).come()
    with pytest.raises(QueueFull, match="1 are under way and 1 wait"):
        Guest(door, inside).come()


def test_a_rate_lets_a_burst_in_and_then_one_at_a_time() -> None:
    door, inside = Door(per_second=10.0, burst=3), []
    guests = [Guest(door, inside) for _ in range(6)]
    assert [guest.come() for guest in guests] == [True] * 3 + [False] * 3
    for number in range(4, 7):
        door.pass_time(0.11)
        assert len(inside) == number
    assert door.admission.retry_after_s() == 1


def test_a_rate_below_one_a_second_says_when_to_come_back() -> None:
    door, inside = Door(per_second=0.1), []
    assert Guest(door, inside).come()
    assert not Guest(door, inside).come()
    assert door.admission.retry_after_s() == 20
    door.pass_time(10.1)
    assert len(inside) == 2


def test_nothing_limited_is_open() -> None:
    assert Door().admission.open
    assert not Door(max_concurrent=1).admission.open


def test_who_cannot_use_a_worker_with_room_goes_on_waiting_and_others_of_its_kind_behind_it() -> None:
    door, inside = Door(), []
    first, second, other = (Guest(door, inside) for _ in range(3))
    for key, guest in (("a", first), ("a", second), ("b", other)):
        door.admission.wait_for_room(key, guest)
    first.usable = False
    door.admission.room_freed()
    assert inside == [other]
    first.usable = True
    door.admission.room_freed()
    assert inside == [other, first, second]
    assert not door.admission.anybody_waits_for_room


class Crowd(RuleBasedStateMachine):
    """Guests come, go, give up and wait, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[Guest] = []
        self.waiting: list[Guest] = []
        self.door = Door(max_concurrent=3, queue_size=4, per_second=5.0, burst=2)
        self.came = 0

    @rule()
    def come(self) -> None:
        guest = Guest(self.door, self.inside)
        try:
            if not guest.come():
                self.waiting.append(guest)
        except QueueFull:
            assert self.door.admission.queued == 4

    @precondition(lambda self: self.inside)
    @rule(which=st.integers(0, 10))
    def go(self, which: int) -> None:
        self.inside[which % len(self.inside)].go()

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 10))
    def give_up(self, which: int) -> None:
        guest = self.waiting.pop(which % len(self.waiting))
        self.door.admission.give_up(guest)

    @rule(seconds=st.floats(0, 2))
    def time_passes(self, seconds: float) -> None:
        self.door.pass_time(seconds)

    @invariant()
    def those_inside_and_waiting_are_who_they_should_be(self) -> None:
        self.waiting = [guest for guest in self.waiting if guest not in self.inside]
        admission = self.door.admission
        assert admission.inside == len(self.inside) <= 3
        assert admission.queued == len(self.waiting) <= 4

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        if self.door.admission.queued and len(self.inside) < 3:
            assert any(not timer.cancelled for timer in self.door.timers), "no timer will let the first one in"


Crowd.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
test_the_door_keeps_its_promises = Crowd.TestCase
