"""cache_aware against its plain definition, over fleets that change and lists of prompts instead of a tree."""

from random import Random

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.routing import board
from gateway.routing.cache_aware import CacheAware
from gateway.routing.policy import Query
from gateway.routing.settings import RoutingSettings
from gateway.routing.weights import Weights
from gateway.workers.entry import Entry
from tests.unit.routing_prompts import Prompts
from tests.unit.routing_scene import NOW, end, entry, fleet

TEXTS = st.text("ab", max_size=12) | st.text("aé😀", max_size=8) | st.sampled_from(["aaaa", "aaaabbbb", "ab" * 300])


class CacheAwareMachine(RuleBasedStateMachine):
    """Workers join, work, leave and start anew; every choice is one of those the plain definition allows."""

    @initialize(size=st.sampled_from([4096, 10240]), scanned=st.sampled_from([0, 64]))
    def begin(self, size: int, scanned: int) -> None:
        self.was, board.SCANNED = board.SCANNED, scanned
        self.settings = RoutingSettings(balance_abs_threshold=3, max_tree_size=size)
        self.policy, self.plain = CacheAware(self.settings), Prompts(size, 1024)
        self.now, self.number = NOW, 0
        self.all: list[Entry] = []
        self.candidates: tuple[Entry, ...] = ()
        self.lives: dict[Entry, int] = {}
        for _ in range(3):
            self.join(50)

    def teardown(self) -> None:
        board.SCANNED = self.was

    @rule(priority=st.sampled_from([50, 50, 50, 100, 25]))
    def join(self, priority: int) -> None:
        self.number += 1
        one = entry(f"w{self.number}", priority=priority)
        self.lives[one] = self.number * 1000
        self.all.append(one)
        self.candidates = tuple(self.all)

    @rule(which=st.integers(0, 20), gone=st.booleans())
    def leave(self, which: int, gone: bool) -> None:
        if len(self.all) > 1:
            one = self.all.pop(which % len(self.all))
            self.candidates = tuple(self.all)
            if gone:
                self.policy.forget(one.worker.id)
                self.void(one)

    @rule(which=st.integers(0, 20))
    def start_anew(self, which: int) -> None:
        one = self.all[which % len(self.all)]
        self.policy.forget(one.worker.id)
        self.void(one)

    def void(self, one: Entry) -> None:
        self.plain.forget(self.lives[one])
        self.lives[one] += 1

    @rule(which=st.integers(0, 20), more=st.integers(-4, 5))
    def work(self, which: int, more: int) -> None:
        one = self.all[which % len(self.all)]
        for _ in range(more):
            one.meters.began()
        for _ in range(min(-more, one.meters.in_flight)):
            end(one)

    @rule()
    def tend(self) -> None:
        self.policy.tend(self.now)
        while self.plain.free():
            pass

    @rule(text=TEXTS, tokens=st.booleans(), avoided=st.sets(st.integers(0, 9), max_size=3), begins=st.booleans())
    def choose(self, text: str, tokens: bool, avoided: set[int], begins: bool) -> None:
        self.now += 1
        avoid = [c for n, c in enumerate(self.candidates) if n in avoided]
        if len(avoid) == len(self.candidates):
            avoid = []
        query = Query(tokens=[ord(one) for one in text]) if tokens else Query(text=text)
        allowed = self.allowed(text, tokens, avoid)
        explained = None if avoid else self.policy.explain(self.candidates, query, self.now)
        chosen = self.policy.choose(self.candidates, query, self.now, avoid)
        assert chosen in allowed
        assert explained is None or explained.worker == chosen.worker.id
        self.plain.insert(self.lives[chosen], text, tokens, self.now)
        assert self.policy.tree.size == self.plain.size()
        if begins:
            chosen.meters.began()

    def allowed(self, text: str, tokens: bool, avoid: list[Entry]) -> list[Entry]:
        weights = dict(zip(self.candidates, Weights(self.candidates).each, strict=True))
        loads = [one.meters.in_flight / weights[one] for one in self.candidates]
        free = [one for one in self.candidates if one not in avoid]
        lopsided = max(loads) - min(loads) > 3 and max(loads) > 1.5 * min(loads)
        matched = {one: self.plain.matched(self.lives[one], text, tokens) for one in free}
        longest = max(matched.values())
        if text and not lopsided and longest > 0.3 * len(text):
            free = [one for one in free if matched[one] == longest]
        ranks = {
            one: (round((one.meters.in_flight + 1) / weights[one], 9), self.plain.share(self.lives[one]))
            for one in free
        }
        return [one for one in free if ranks[one] == min(ranks.values())]


TestCacheAware = CacheAwareMachine.TestCase
TestCacheAware.settings = hypothesis_settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_a_new_fleet_fills_evenly() -> None:
    policy, four = CacheAware(RoutingSettings()), fleet(4)
    for number in range(400):
        policy.choose(four, Query(text=f"{number} " * 20), NOW)
    shares = [policy.tree.share(policy._holder(one.worker.id)) for one in four]
    assert max(shares) < min(shares) * 1.05


def test_requests_without_a_prompt_go_round_and_leave_nothing_behind() -> None:
    policy, four = CacheAware(RoutingSettings()), fleet(4)
    assert [policy.choose(four, Query(), NOW).worker.name for _ in range(5)] == ["w0", "w1", "w2", "w3", "w0"]
    assert policy.tree.size == 0


def test_a_conversation_stays_where_it_began_until_the_load_is_lopsided() -> None:
    policy, two = CacheAware(RoutingSettings()), fleet(2)
    home = policy.choose(two, Query(text="Hello. "), NOW)
    other = next(one for one in two if one is not home)
    text = "Hello. "
    for turn in range(64):
        text += f"Turn {turn}. "
        assert policy.choose(two, Query(text=text), NOW) is home
        home.meters.began()
    home.meters.began()
    assert policy.choose(two, Query(text=text), NOW) is other


def test_a_prefix_held_by_a_whole_large_fleet_goes_to_its_least_loaded_holder() -> None:
    policy, many, rng = CacheAware(RoutingSettings()), fleet(500), Random(3)
    shared = "You are a helpful assistant. " * 10
    for number in range(500):
        policy.choose(many, Query(text=f"{number:4}" * 500), NOW)  # so that none is the least loaded by its share
    holders = {policy.choose(many, Query(text=shared), NOW, avoid) for avoid in ([], *([one] for one in many[:3]))}
    for one in rng.sample(many, 300):
        policy.choose(many, Query(text=shared), NOW, [other for other in many if other is not one])
        holders.add(one)
    for one in many:
        for _ in range(rng.randrange(2, 9) if one in holders else 0):
            one.meters.began()
    fewest = min(one.meters.in_flight for one in holders)
    chosen = policy.choose(many, Query(text=shared), NOW)
    assert chosen in holders
    assert chosen.meters.in_flight == fewest


def test_what_is_older_than_its_time_to_live_no_longer_counts() -> None:
    policy, two = CacheAware(RoutingSettings(cache_ttl_s=10)), fleet(2)
    policy.choose(two, Query(text="Hello, world"), NOW)
    policy.tend(NOW + 9)
    assert "100%" in policy.explain(two, Query(text="Hello, world"), NOW + 9).why
    policy.tend(NOW + 11)
    assert policy.tree.size == 0
    assert "0 of 12 characters (0%)" in policy.explain(two, Query(text="Hello, world"), NOW + 11).why


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (Query(text="Hello, world"), "12 of 12 characters (100%) are in its cache tree, above the threshold of 30%"),
        (
            Query(text="Hell is other people"),
            "4 of 20 characters (20%) are in any cache tree, not above the threshold of 30%; least in flight",
        ),
        (Query(tokens=[1, 2]), "0 of 2 tokens (0%) are in any cache tree"),
        (Query(), "the request has no prompt to compare; least in flight"),
    ],
)
def test_the_explanation_tells_the_numbers_that_decided(query: Query, why: str) -> None:
    policy, two = CacheAware(RoutingSettings()), fleet(2)
    policy.choose(two, Query(text="Hello, world"), NOW)
    assert policy.explain(two, query, NOW).why.startswith(why)


def test_a_void_worker_is_freed_in_slices() -> None:
    policy, two = CacheAware(RoutingSettings()), fleet(2)
    for number in range(2000):
        policy.choose(two, Query(text=f"{number} is a number"), NOW)
    before = policy.tree.ends
    policy.forget(two[0].worker.id)
    assert policy.tree.ends == before
    policy.tend(NOW)
    assert 0 < before - policy.tree.ends < 1000
    for _ in range(100):
        policy.tend(NOW)
    assert policy.tree.ends == before // 2
