"""Cordons and drains as annotations: their words, who follows whom, and gateways that end up doing the same."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.kubernetes.backoff import Backoff
from gateway.kubernetes.objects import Pod
from gateway.kubernetes.pods import PodRules, PodView, view_of
from gateway.kubernetes.selectors import parse
from gateway.kubernetes.shared import OPERATION, Wish, annotations_for, leads, parse_wish, wish_for, wish_of
from gateway.kubernetes.sharing import Sharing
from gateway.operations import Command, Cordon, Resume, StartDrain, Uncordon
from gateway.workers.facts import Cause
from gateway.workers.model import Role, State, Worker
from tests.unit.kube_scene import pod
from tests.unit.test_kube_reconcile import NOT_READY, Scene

CORDON, NOTHING = Wish(cordon=True), Wish()
RULES = PodRules(((Role.REGULAR, parse("app=llm")),), port=8000, share=True)
NAMES = st.text("abc @.-", max_size=12).map(str.strip)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("none", NOTHING),
        ("cordon", CORDON),
        (" drain ", Wish(drain=True)),
        ("cordon+drain", Wish(cordon=True, drain=True)),
        ("drain until 1970-01-01T00:01:40Z", Wish(drain=True, until=100.0)),
        ("drain until 1970-01-01T01:01:40+01:00 by ops: swap", Wish(drain=True, until=100.0)),
        ("cordon by ops@bastion: ECC errors: GPU 3", CORDON),
        ("cordon: no name", CORDON),
    ],
)
def test_what_an_annotation_asks_for(text: str, wish: Wish) -> None:
    assert parse_wish(text) == wish


def test_who_and_why_are_read_back() -> None:
    wish = parse_wish("cordon by ops@bastion: ECC errors: GPU 3")
    assert (wish.by, wish.why) == ("ops@bastion", "ECC errors: GPU 3")
    assert parse_wish("cordon: no name").why == "no name"


@pytest.mark.parametrize("text", ["cordn", "Drain", "drain+", "cordon until 2026-01-01T00:00:00Z", "drain until soon"])
def test_words_that_make_no_sense_are_told_and_ask_for_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="expected none, cordon, drain or"):
        parse_wish(text)
    notes: list[str] = []
    assert wish_for({OPERATION: text}, "8000", notes) is None
    assert text in notes[0]


@given(st.booleans(), st.booleans(), st.none() | st.integers(0, 4_000_000_000), NAMES, NAMES)
def test_what_is_written_is_read_back(cordon: bool, drain: bool, until: int | None, by: str, why: str) -> None:
    wish = Wish(cordon, drain, float(until) if until is not None and drain else None, by, why)
    found = parse_wish(str(wish))
    assert found == wish
    if wish and " until " not in by and " by " not in by:
        assert (found.by, found.why) == (by, why)


def test_one_of_several_workers_is_meant_by_its_port_and_several_by_none() -> None:
    said = {OPERATION: "cordon", f"{OPERATION}-8001": "none"}
    assert wish_for(said, "8000", []) == CORDON
    assert wish_for(said, "8001", []) == NOTHING
    assert annotations_for(CORDON, "8000", alone=True) == {OPERATION: "cordon", f"{OPERATION}-8000": None}
    assert annotations_for(NOTHING, "8000", alone=True) == {OPERATION: None, f"{OPERATION}-8000": None}
    assert annotations_for(NOTHING, "8001", alone=False) == {f"{OPERATION}-8001": "none"}


@pytest.mark.parametrize(
    ("here", "there", "agreed", "leader"),
    [
        (NOTHING, NOTHING, None, ""),
        (NOTHING, CORDON, None, "pod"),  # a restarted gateway
        (NOTHING, CORDON, NOTHING, "pod"),
        (CORDON, NOTHING, NOTHING, "here"),
        (CORDON, NOTHING, CORDON, "pod"),
        (NOTHING, CORDON, CORDON, "here"),
        (CORDON, Wish(drain=True), NOTHING, "here"),  # both changed: the operator at hand
        (CORDON, CORDON, NOTHING, ""),
        (Wish(drain=True, until=100.4), Wish(drain=True, until=101.0), NOTHING, ""),
        (Wish(drain=True, until=5.0), Wish(drain=True, until=20.0), NOTHING, ""),  # both over
        (Wish(drain=True, until=100.0), Wish(drain=True), NOTHING, ""),
        (Wish(drain=True, until=100.0), Wish(drain=True, until=200.0), NOTHING, "here"),
    ],
)
def test_who_is_followed(here: Wish, there: Wish, agreed: Wish | None, leader: str) -> None:
    assert leads(here, there, agreed, now=50.0) == leader


def test_discoverys_own_cordon_is_no_wish_and_an_operators_on_top_of_it_is() -> None:
    scene = Scene()
    scene.has(pod())
    scene.has(pod(conditions=NOT_READY))
    assert wish_of(scene.only) == NOTHING
    scene.say(Cordon("w1", "mine"))
    assert wish_of(scene.only) == CORDON
    scene.has(pod())
    assert scene.only.cordoned, "the pod is ready again, and the operator's cordon stays"
    scene.say(Uncordon("w1"))
    assert not scene.only.cordoned


def test_a_cordon_taken_back_while_the_pod_is_not_ready_leaves_discoverys() -> None:
    scene = Scene()
    scene.has(pod())
    scene.say(Cordon("w1", "mine"))
    scene.has(pod(conditions=NOT_READY))
    scene.say(Uncordon("w1"))
    scene.settle()
    assert scene.only.cordon_reason == "pod ns/a: not Ready: ContainersNotReady"
    scene.has(pod())
    assert not scene.only.cordoned


class Cluster:
    """The pod as the API server has it, version by version."""

    def __init__(self) -> None:
        self.history = [_pod({}, 1)]

    @property
    def said(self) -> dict[str, str]:
        return self.history[-1].metadata.annotations

    def annotate(self, annotations: Mapping[str, str | None]) -> Pod:
        said = {**self.said, **annotations}
        self.history.append(_pod({k: v for k, v in said.items() if v is not None}, len(self.history) + 1))
        return self.history[-1]


def _pod(annotations: dict[str, str], version: int) -> Pod:
    made = pod(annotations=annotations)
    metadata = msgspec.structs.replace(made.metadata, resource_version=str(version))
    return msgspec.structs.replace(made, metadata=metadata)


class Replica:
    """A gateway: it sees the pod's versions late, and its writes take as long as the test wants."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.scene = Scene()
        self.sharing = Sharing(
            self._annotate, (OSError,), self.scene.world.registry, self.scene.operations,
            wall=self.scene.world.wall, backoff=Backoff(Random(1), 0.0, 0.0),
        )  # fmt: skip
        self.scene.has(cluster.history[0])
        self.seen = 0
        self.writes: list[tuple[asyncio.Future[Pod | None], Mapping[str, str | None]]] = []

    async def _annotate(self, namespace: str, name: str, uid: str, annotations: Mapping[str, str | None]) -> Pod | None:
        assert (namespace, name, uid) == ("ns", "a", "uid-a")
        done: asyncio.Future[Pod | None] = asyncio.get_running_loop().create_future()
        self.writes.append((done, annotations))
        return await done

    @property
    def worker(self) -> Worker:
        return self.scene.only

    @property
    def view(self) -> PodView:
        found = view_of(self.cluster.history[self.seen], RULES)
        assert found is not None
        return found

    async def look(self) -> None:
        """A pass, with what it has seen so far."""
        await self.sharing.compare({"uid-a": self.view})


class Replicas(RuleBasedStateMachine):
    """Three gateways on one pod: after quiet each does what the pod says, and a lone operator's word holds."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()

    @initialize()
    def begin(self) -> None:
        self.cluster = Cluster()
        self.replicas = [Replica(self.cluster) for _ in range(3)]

        async def start() -> None:
            for one in self.replicas:
                await self.stack.enter_async_context(one.sharing)
                await one.look()

        self.runner.run(start())

    def _turn(self) -> None:
        async def turns() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        self.runner.run(turns())

    @rule(who=st.integers(0, 2), what=st.sampled_from(["cordon", "uncordon", "drain", "long drain", "resume"]))
    def operate(self, who: int, what: str) -> None:
        one = self.replicas[who]
        commands: dict[str, Command] = {
            "cordon": Cordon("w1", "why not"),
            "uncordon": Uncordon("w1"),
            "drain": StartDrain("w1", 100.0),
            "long drain": StartDrain("w1", 1000.0),
            "resume": Resume("w1"),
        }
        self.runner.run(one.scene.operations.execute(commands[what], Cause(f"operator {who}")))
        self.runner.run(one.look())
        self._turn()

    @rule(what=st.sampled_from(["cordon", "none", "drain until 2033-01-01T00:00:00Z by kubectl: x", "nonsense", None]))
    def annotate_by_hand(self, what: str | None) -> None:
        self.cluster.annotate({OPERATION: what})

    @rule(who=st.integers(0, 2), steps=st.integers(1, 3))
    def see(self, who: int, steps: int) -> None:
        one = self.replicas[who]
        one.seen = min(one.seen + steps, len(self.cluster.history) - 1)
        self.runner.run(one.look())
        self._turn()

    @rule(who=st.integers(0, 2), ok=st.booleans())
    def answer(self, who: int, ok: bool) -> None:
        if not (writes := self.replicas[who].writes):
            return
        done, annotations = writes.pop(0)
        if ok:
            done.set_result(self.cluster.annotate(annotations))
        else:
            done.set_exception(OSError("the API server is away"))
        self._turn()

    @rule(who=st.integers(0, 2))
    def written_but_the_answer_lost(self, who: int) -> None:
        if writes := self.replicas[who].writes:
            done, annotations = writes.pop(0)
            self.cluster.annotate(annotations)
            done.set_exception(OSError("reset"))
            self._turn()

    @rule()
    def after_quiet_all_do_what_the_pod_says(self) -> None:
        for _ in range(200):
            before = len(self.cluster.history)
            for number, one in [*enumerate(self.replicas)] * 2:
                self.see(number, 10**6)
                while one.writes:
                    self.answer(number, True)
            if before == len(self.cluster.history):
                break
        else:
            raise AssertionError(f"they never agree: {[str(wish_of(r.worker)) for r in self.replicas]}")
        asked = wish_for(self.cluster.said, "8000", [])
        for one in self.replicas:
            assert asked is None or wish_of(one.worker).like(asked, one.scene.world.wall())
            assert one.sharing.status.waiting == 0

    @rule(who=st.integers(0, 2), cordon=st.booleans())
    def a_lone_operators_word_holds_everywhere(self, who: int, cordon: bool) -> None:
        self.after_quiet_all_do_what_the_pod_says()
        self.operate(who, "cordon" if cordon else "uncordon")
        self.after_quiet_all_do_what_the_pod_says()
        if wish_for(self.cluster.said, "8000", []) is not None:
            assert {one.worker.cordoned for one in self.replicas} == {cordon}

    def teardown(self) -> None:
        try:
            if hasattr(self, "replicas"):
                self.after_quiet_all_do_what_the_pod_says()
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()


Replicas.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestReplicas = Replicas.TestCase


def test_a_restarted_gateway_holds_a_drained_worker_from_its_registration_on() -> None:
    cluster = Cluster()
    cluster.annotate({OPERATION: "drain by ops: new firmware"})
    one = Replica(cluster)
    one.seen = 1
    asyncio.run(one.sharing.joined(one.worker, one.view))
    assert one.worker.state is State.DRAINING
    assert (one.worker.transitions[-1].who, one.worker.transitions[-1].why) == ("ops via kubernetes", "new firmware")
    assert not one.writes


def test_a_wish_is_for_what_comes_and_not_for_whom_it_came_from() -> None:
    assert replace(CORDON, by="a", why="b") == CORDON


def test_an_older_picture_of_the_pod_does_not_take_back_what_was_just_written() -> None:
    cluster = Cluster()
    one = Replica(cluster)

    async def story() -> None:
        async with one.sharing:
            await one.look()
            await one.scene.operations.execute(Cordon("w1"), Cause("ops"))
            await one.look()
            await asyncio.sleep(0)
            done, annotations = one.writes.pop()
            done.set_result(cluster.annotate(annotations))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await one.look()  # the watch has not told of the write yet
            assert one.worker.cordoned
            assert (one.sharing.status.waiting, one.writes) == (0, [])

    asyncio.run(story())


def test_of_two_gateways_that_write_at_once_the_later_write_holds() -> None:
    cluster = Cluster()
    one, other = Replica(cluster), Replica(cluster)

    async def write(replica: Replica, command: Command) -> None:
        await replica.look()
        await replica.scene.operations.execute(command, Cause("ops"))
        await replica.look()
        await asyncio.sleep(0)
        done, annotations = replica.writes.pop()
        done.set_result(cluster.annotate(annotations))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def story() -> None:
        async with one.sharing, other.sharing:
            await write(one, Cordon("w1"))
            await write(other, StartDrain("w1", 100.0))
            for replica in (one, other):
                replica.seen = len(cluster.history) - 1
                await replica.look()
            assert [wish_of(r.worker).drain for r in (one, other)] == [True, True]
            assert [wish_of(r.worker).cordon for r in (one, other)] == [False, False]

    asyncio.run(story())
