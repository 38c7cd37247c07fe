"""manual against its plain definition: keys stay, up to two workers each, and what is idle goes."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.routing import manual
from gateway.routing.manual import Manual
from gateway.routing.policy import Query
from gateway.routing.settings import RoutingSettings
from gateway.workers.entry import Entry
from tests.unit.routing_scene import NOW, end, entry, fleet

SETTINGS = RoutingSettings(max_idle_s=10.0)
KEYS = ["a", "b", "c", "d" * 100, "é", "\ud800" * 70]


class ManualMachine(RuleBasedStateMachine):
    """The plain definition: a mapping of keys to (workers, last use), looked through whole."""

    @initialize(mode=st.sampled_from(manual.MODES), most=st.sampled_from([3, 100]))
    def begin(self, mode: str, most: int) -> None:
        self.mode, self.policy = mode, Manual(Random(1), replace(SETTINGS, assignment_mode=mode))
        self.most, self.now, self.number = most, NOW, 0
        self.known: dict[str, tuple[list[Entry], float]] = {}
        self.all: list[Entry] = []
        self.was, manual.MOST_KEYS = manual.MOST_KEYS, most
        for _ in range(3):
            self.join()

    def teardown(self) -> None:
        manual.MOST_KEYS = self.was

    @rule()
    def join(self) -> None:
        self.number += 1
        self.all.append(entry(f"w{self.number}"))
        self.candidates = tuple(self.all)

    @rule(which=st.integers(0, 20), gone=st.booleans())
    def leave(self, which: int, gone: bool) -> None:
        if len(self.all) > 1:
            one = self.all.pop(which % len(self.all))
            self.candidates = tuple(self.all)
            if gone:
                self.void(one)

    @rule(which=st.integers(0, 20))
    def start_anew(self, which: int) -> None:
        self.void(self.all[which % len(self.all)])

    def void(self, gone: Entry) -> None:
        self.policy.forget(gone.worker.id)
        self.known = {key: ([one for one in ones if one is not gone], at) for key, (ones, at) in self.known.items()}

    @rule(which=st.integers(0, 20), more=st.integers(-4, 5))
    def work(self, which: int, more: int) -> None:
        one = self.all[which % len(self.all)]
        for _ in range(more):
            one.meters.began()
        for _ in range(min(-more, one.meters.in_flight)):
            end(one)

    @rule(seconds=st.sampled_from([1.0, 6.0]), tends=st.booleans())
    def wait(self, seconds: float, tends: bool) -> None:
        self.now += seconds
        if tends:
            self.policy.tend(self.now)
            self.known = {key: one for key, one in self.known.items() if one[1] >= self.now - 10}

    @rule(key=st.none() | st.sampled_from(KEYS), avoided=st.sets(st.integers(0, 9), max_size=3))
    def choose(self, key: str | None, avoided: set[int]) -> None:
        avoid = [c for n, c in enumerate(self.candidates) if n in avoided]
        if len(avoid) == len(self.candidates):
            avoid = []
        ones, at = self.known.get(key or "", ([], 0.0))
        if at < self.now - 10:
            ones = []
        free = [one for one in ones if one in self.candidates and one not in avoid]
        allowed = free[:1] or self.assignable(avoid)
        query = Query(key=key)
        explained = None if avoid else self.policy.explain(self.candidates, query, self.now)
        chosen = self.policy.choose(self.candidates, query, self.now, avoid)
        assert chosen in allowed
        assert explained is None or explained.worker == chosen.worker.id
        if key is None:
            return
        if not free and key not in self.known and len(self.known) >= self.most:
            self.known.pop(next(iter(self.known)))
        self.known.pop(key, None)
        self.known[key] = (ones if chosen in free else [*ones[:1], chosen], self.now)

    def assignable(self, avoid: list[Entry]) -> list[Entry]:
        free = [one for one in self.candidates if one not in avoid]
        counts = Counter(one for ones, _ in self.known.values() for one in ones)
        ranks = {one: one.meters.in_flight if self.mode == "min_load" else counts[one] for one in free}
        return free if self.mode == "random" else [one for one in free if ranks[one] == min(ranks.values())]

    @invariant()
    def it_remembers_as_many_keys(self) -> None:
        assert len(self.policy) == len(self.known)


TestManual = ManualMachine.TestCase
TestManual.settings = hypothesis_settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_a_key_returns_to_its_first_worker_once_that_can_take_requests_again() -> None:
    policy, three, query = Manual(Random(1), RoutingSettings()), fleet(3), Query(key="user")
    first = policy.choose(three, query, NOW)
    others = tuple(one for one in three if one is not first)
    second = policy.choose(others, query, NOW)
    assert policy.choose(others, query, NOW) is second
    assert policy.choose(three, query, NOW) is first
    assert policy.choose(three, query, NOW, [first]) is second


def test_new_keys_fill_the_groups_evenly() -> None:
    policy, four = Manual(Random(1), RoutingSettings(assignment_mode="min_group")), fleet(4)
    counts = Counter(policy.choose(four, Query(key=str(n)), NOW).worker.name for n in range(40))
    assert set(counts.values()) == {10}


def test_keys_that_were_idle_are_swept_in_slices() -> None:
    policy, two = Manual(Random(1), RoutingSettings()), fleet(2)
    for number in range(1200):
        policy.choose(two, Query(key=str(number)), NOW)
    left = []
    for _ in range(3):
        policy.tend(NOW + 14401)
        left.append(len(policy))
    assert left == [700, 200, 0]


def test_an_unknown_assignment_mode_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="assignment_mode: there is no 'best'; expected one of random, min_load, min"):
        Manual(Random(1), RoutingSettings(assignment_mode="best"))


@pytest.mark.parametrize(
    ("mode", "key", "why"),
    [
        ("random", "known", "it is the worker of this routing key (first; last used 5 s ago)"),
        ("random", "new", "the routing key is new; drawn by lot among 2"),
        ("min_load", "new", "the routing key is new; least in flight for its weight (0)"),
        ("min_group", None, "the request has no routing key; fewest keys for its weight (0)"),
    ],
)
def test_the_explanation_tells_why_the_key_is_there(mode: str, key: str | None, why: str) -> None:
    policy, two = Manual(Random(1), RoutingSettings(assignment_mode=mode)), fleet(2)
    policy.choose(two, Query(key="known"), NOW)
    assert policy.explain(two, Query(key=key), NOW + 5).why == why
