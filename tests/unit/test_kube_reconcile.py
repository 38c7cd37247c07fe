"""Discovery's passes over a real registry: what pods are and become, and what their workers are after it."""

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.kubernetes.keeper import Keeper, Kept
from gateway.kubernetes.objects import Pod
from gateway.kubernetes.pods import PodView, view_of
from gateway.kubernetes.reconcile import Held, owned, plan
from gateway.operations import Cordon, Operations, Patch, Remove, StartDrain, Uncordon
from gateway.workers.availability import availability
from gateway.workers.facts import Cause
from gateway.workers.meters import Outcome
from gateway.workers.model import HealthSettings, Intent, Source, State, Worker
from tests.unit.kube_scene import RULES, pod
from tests.unit.world import World

OPERATOR = Cause("operator")
NOT_READY = ({"type": "Ready", "status": "False", "reason": "ContainersNotReady"},)
DRAIN_S = 300.0


class Scene:
    """A fleet whose workers pass their probes at once, and a cluster of pods."""

    def __init__(self) -> None:
        self.world = World(HealthSettings(disabled=True))
        self.operations = Operations(
            self.world.registry, wall=self.world.wall, drain_timeout_s=DRAIN_S, probe_now=lambda _: None
        )
        self.keeper = Keeper(self.world.registry, self.operations, self.world.wall, self.joined)
        self.pods: dict[str, Pod] = {}

    async def joined(self, worker: Worker) -> None:
        """Right after its registration."""

    def has(self, *pods: Pod) -> Kept:
        """These are the cluster's pods; then a pass."""
        self.pods = {one.uid: one for one in pods}
        return self.settle()

    def settle(self) -> Kept:
        kept = asyncio.run(self.keeper.keep(self.views()))
        for entry in list(self.world.registry.entries.values()):
            if not entry.worker.discovered:
                self.world.discover(entry)
        return kept

    def views(self) -> list[PodView]:
        return [view for one in self.pods.values() if (view := view_of(one, RULES)) is not None]

    def say(self, command: Any) -> None:
        asyncio.run(self.operations.execute(command, OPERATOR))

    @property
    def workers(self) -> list[Worker]:
        return [entry.worker for entry in self.world.registry.entries.values()]

    @property
    def only(self) -> Worker:
        (worker,) = self.workers
        return worker

    def busy(self) -> Any:
        """Its only worker has a request in flight; returns how it ends."""
        meters = self.world.registry.get(self.only.id).meters
        meters.began()
        return lambda: meters.ended(Outcome.OK, 0.1, self.world.mono())


def routable(worker: Worker) -> bool:
    return availability(worker).routable


def test_a_ready_pod_is_registered_once_and_says_where_it_came_from() -> None:
    scene = Scene()
    scene.has(pod())
    assert (scene.only.state, scene.only.spec.source) == (State.READY, Source.KUBERNETES)
    assert "kubernetes: pod ns/a is ready" in scene.only.transitions[0].why
    assert scene.settle().done == 0


def test_a_pod_that_was_never_ready_is_waited_for() -> None:
    scene = Scene()
    assert scene.has(pod(conditions=NOT_READY)).done == 0
    scene.has(pod())
    assert routable(scene.only)


def test_a_pod_that_is_not_ready_any_more_keeps_its_worker_cordoned_and_returns_without_registering() -> None:
    scene = Scene()
    scene.has(pod())
    before = scene.only
    scene.has(pod(conditions=NOT_READY))
    assert (scene.only.cordoned, scene.only.cordon_reason) == (True, "pod ns/a: not Ready: ContainersNotReady")
    assert scene.settle().done == 0
    scene.has(pod())
    assert routable(scene.only)
    assert (scene.only.id, scene.only.revision) == (before.id, before.revision)


def test_an_operators_cordon_outlives_the_pods_trouble_before_and_after() -> None:
    scene = Scene()
    scene.has(pod())
    scene.say(Cordon("w1", "mine"))
    scene.has(pod(conditions=NOT_READY))
    scene.has(pod())
    assert (scene.only.cordoned, scene.only.cordon_reason) == (True, "mine")


def test_an_operator_who_uncordons_a_worker_of_a_pod_that_is_not_ready_has_the_last_word() -> None:
    scene = Scene()
    scene.has(pod())
    scene.has(pod(conditions=NOT_READY))
    scene.say(Uncordon("w1"))
    assert scene.settle().done == 0
    assert not scene.only.cordoned
    scene.has(pod())
    scene.has(pod(conditions=NOT_READY))
    assert scene.only.cordoned


def test_a_terminating_pods_worker_drains_until_the_pods_own_deadline() -> None:
    scene = Scene()
    scene.has(pod())
    end = scene.busy()
    scene.has(pod(deleted="2023-11-14T22:30:30Z"))
    drain = scene.only.drain
    assert drain is not None
    assert (drain.intent, drain.deadline) == (Intent.REMOVE, 1_700_001_030.0)
    assert scene.only.transitions[-1].why == "pod ns/a is terminating"
    assert scene.settle().done == 0
    end()
    assert not scene.workers
    assert scene.settle().done == 0


def test_a_pod_that_is_gone_takes_its_worker_with_it() -> None:
    scene = Scene()
    scene.has(pod())
    end = scene.busy()
    scene.has()
    drain = scene.only.drain
    assert drain is not None
    assert drain.deadline == scene.world.wall() + DRAIN_S
    assert scene.only.transitions[-1].why == "pod ns/a is gone or no longer selected"
    end()
    assert not scene.workers


def test_a_pod_that_is_selected_again_keeps_the_worker_that_was_leaving() -> None:
    scene = Scene()
    scene.has(pod())
    scene.busy()
    before = scene.only.id
    scene.has(pod(labels={"app": "other"}))
    assert scene.only.state is State.DRAINING
    scene.has(pod())
    assert routable(scene.only)
    assert scene.only.id == before


def test_a_removal_by_an_operator_is_not_called_off_and_the_pod_is_registered_anew_after_it() -> None:
    scene = Scene()
    scene.has(pod())
    end = scene.busy()
    before = scene.only.id
    scene.say(Remove("w1"))
    assert scene.settle().done == 0
    assert scene.only.state is State.DRAINING
    end()
    scene.settle()
    assert scene.only.id != before


def test_a_drain_that_holds_is_left_alone() -> None:
    scene = Scene()
    scene.has(pod())
    scene.say(StartDrain("w1"))
    assert scene.settle().done == 0
    assert scene.only.state is State.DRAINING


def test_another_pod_with_the_address_of_one_that_is_gone_is_another_worker() -> None:
    scene = Scene()
    scene.has(pod(uid="old"))
    scene.busy()
    before = scene.only.id
    scene.has(pod(uid="new"))
    assert scene.only.id != before
    assert scene.only.spec.labels["smg.ai/pod-uid"] == "new"
    assert routable(scene.only)


def test_two_pods_with_one_address_are_one_worker_and_a_reason() -> None:
    scene = Scene()
    kept = scene.has(pod("a"), pod("b"))
    assert kept.refused == {"ns/b": "http://10.0.0.1:8000 is another pod's, too"}
    assert scene.settle().refused == {"ns/b": "http://10.0.0.1:8000 is still w1, of pod ns/a"}
    assert scene.only.spec.labels["smg.ai/pod-name"] == "a"


def test_a_worker_that_somebody_else_listed_is_never_touched() -> None:
    scene = Scene()
    scene.world.ready("http://10.0.0.1:8000")
    for pods in ([pod()], [pod(conditions=NOT_READY)], [pod(deleted="2023-11-14T22:30:30Z")], []):
        scene.has(*pods)
        assert routable(scene.only)
    assert scene.has(pod()).refused == {"ns/a": "http://10.0.0.1:8000 is listed as w1 already, by api"}


def test_a_pod_with_another_address_or_other_ports_replaces_its_workers() -> None:
    scene = Scene()
    scene.has(pod())
    scene.has(pod(ip="10.0.0.2"))
    assert scene.only.url == "http://10.0.0.2:8000"
    scene.has(pod(ip="10.0.0.2", annotations={"smg.ai/worker-ports": "8001,8002"}))
    assert {worker.url for worker in scene.workers} == {"http://10.0.0.2:8001", "http://10.0.0.2:8002"}


def test_what_the_pod_says_of_its_worker_is_changed_in_place_or_by_a_new_registration() -> None:
    scene = Scene()
    scene.has(pod())
    before = scene.only
    scene.has(pod(annotations={"smg.ai/priority": "90", "smg.ai/policy": "random", "smg.ai/max-in-flight": "3"}))
    assert (scene.only.spec.priority, scene.only.spec.max_in_flight) == (90, 3)
    assert scene.only.labels["policy"] == "random"
    assert scene.only.revision == before.revision
    assert scene.settle().done == 0
    scene.has(pod(annotations={"smg.ai/priority": "90"}))  # a label less
    assert "policy" not in scene.only.labels
    assert scene.only.spec.max_in_flight is None
    scene.has(pod(annotations={"smg.ai/model": "other"}))
    assert scene.only.models == ("other",)
    assert scene.only.id == before.id


def test_an_operators_change_of_a_worker_stays_until_the_pod_changes() -> None:
    scene = Scene()
    scene.has(pod())
    scene.say(Patch("w1", priority=7))
    assert scene.settle().done == 0
    assert scene.only.spec.priority == 7
    scene.has(pod(annotations={"smg.ai/priority": "20"}))
    assert scene.only.spec.priority == 20


def test_a_registration_that_failed_is_tried_again_while_its_pod_lives() -> None:
    world = World()
    entry = world.add(labels={"smg.ai/pod-uid": "uid-a"}, source=Source.KUBERNETES)
    world.registry.registration_timeout(entry.worker.id, entry.worker.revision, 60, OPERATOR)
    worker = entry.worker
    assert worker.state is State.FAILED
    view = PodView("uid-a", "ns/a", (worker.spec,))

    def said(view: PodView, later: float) -> list[str]:
        made = plan([view], [worker], Held(), now=world.wall() + later)
        return [type(action).__name__ for action in made.actions]

    assert said(view, 59) == []
    assert said(view, 60) == ["Retry"]
    assert said(replace(view, not_ready="phase Pending"), 60) == ["Hold"]
    assert said(replace(view, terminating=True), 60) == ["Leave"]


def test_a_thousand_pods_are_registered_in_one_pass() -> None:
    scene = Scene()
    kept = scene.has(*(pod(f"p{n}", ip=f"10.0.{n // 250}.{n % 250 + 1}") for n in range(1000)))
    assert (kept.done, scene.keeper.owned()) == (1000, 1000)


class Cluster(RuleBasedStateMachine):
    """Pods come, change and go, and operators meddle; after the passes the fleet is the cluster."""

    names = st.sampled_from("abcde")
    addresses = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", None])

    @initialize(seed=st.integers(0, 100))
    def begin(self, seed: int) -> None:
        self.scene = Scene()
        self.rng = Random(seed)
        self.count = 0
        self.scene.world.ready("http://10.0.0.3:8000")

    @rule(name=names, ip=addresses, ready=st.booleans(), deleted=st.booleans(), ports=st.sampled_from(["", "1,2", "2"]))
    def is_now(self, name: str, ip: str | None, ready: bool, deleted: bool, ports: str) -> None:
        known = next((one for one in self.scene.pods.values() if one.metadata.name == name), None)
        self.count += 1
        uid = known.uid if known is not None else f"uid-{self.count}"
        self.scene.pods[uid] = pod(
            name,
            uid=uid,
            ip=ip,
            **({} if ready else {"conditions": NOT_READY}),  # type: ignore[arg-type]
            deleted="2030-01-01T00:00:00Z" if deleted or (known is not None and known.terminating) else None,
            annotations={"smg.ai/worker-ports": ports},
        )

    @rule(name=names)
    def is_gone(self, name: str) -> None:
        self.scene.pods = {uid: one for uid, one in self.scene.pods.items() if one.metadata.name != name}

    @rule(command=st.sampled_from([Cordon, Uncordon, StartDrain, Remove]))
    def meddle(self, command: Any) -> None:
        mine = [worker for worker in self.scene.workers if owned(worker)]
        if mine:
            self.scene.say(command(self.rng.choice(mine).id))

    @rule()
    def a_pass(self) -> None:
        self.scene.settle()

    @invariant()
    def after_two_passes_the_fleet_is_the_cluster(self) -> None:
        self.scene.settle()
        self.scene.settle()  # a worker that an operator has removed is gone now, and its pod there
        assert self.scene.settle().done == 0
        views = self.scene.views()
        possible = {spec.url for view in views if not view.terminating for spec in view.specs}
        ready = {spec.url for view in views if not (view.not_ready or view.skipped) for spec in view.specs}
        urls = {worker.url for worker in self.scene.workers if owned(worker)}
        manual = "http://10.0.0.3:8000"
        assert ready - {manual} <= urls <= possible
        owners = {worker.url: worker.spec.labels["smg.ai/pod-uid"] for worker in self.scene.workers if owned(worker)}
        for url, uid in owners.items():
            assert any(view.uid == uid and url in [spec.url for spec in view.specs] for view in views)
        assert any(worker.url == manual and routable(worker) for worker in self.scene.workers)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
