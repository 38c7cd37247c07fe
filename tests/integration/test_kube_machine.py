"""Whatever happens to pods, and whatever a watch loses, repeats, delays or breaks: after quiet, store is cluster.

A Hypothesis state machine over real sockets. Between its steps events are under way, so faults meet histories at
any point; at every check the faults stop, and the store must come to equal the cluster by itself.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.kubernetes.objects import Pod
from tests.integration.kube_world import HURRIED, Fixed, reflector, truth, until, versions
from tests.kube.cluster import Cluster, Refused
from tests.kube.pods import pod, ready_condition, running
from tests.kube.server import Server

PACE = replace(HURRIED, silence_s=0.3, audit_s=0.1, settle_s=0.05, first_backoff_s=0.005, most_backoff_s=0.03)
NAMES = st.sampled_from(["a", "b"])
NUMBERS = st.integers(0, 3)
IPS = st.sampled_from(["10.0.0.1", "10.0.0.2"])
NAMESPACES = st.sampled_from(["one", "two"])
CHANCE = st.sampled_from([0.0, 0.0, 0.3, 1.0])


class PodHistories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.told: dict[str, Pod] = {}
        self.marks = 0

    @initialize(seed=st.integers(0, 2**16), present=st.lists(st.tuples(NAMESPACES, NAMES), unique=True, max_size=4))
    def begin(self, seed: int, present: list[tuple[str, str]]) -> None:
        async def start() -> None:
            self.server = await self.stack.enter_async_context(Server(Cluster(Random(seed)), bookmark_s=0.02))
            self.server.faults.rng = Random(seed)
            self.cluster = self.server.cluster
            for namespace, name in present:
                self.cluster.create(pod(name, "10.0.0.1"), namespace)
            self.watcher = reflector(Fixed(self.server.url), pace=PACE)
            self.watcher.store.listen(self._told)
            await self.stack.enter_async_context(self.watcher)
            await until(lambda: self.watcher.status.watching, self.watcher)

        self.runner.run(start())

    def _told(self, uid: str, old: Pod | None, new: Pod | None) -> None:
        assert self.told.get(uid) == old, "a listener hears every change, in order"
        if new is None:
            del self.told[uid]
        else:
            self.told[uid] = new

    # --- what happens to pods ---

    @rule(namespace=NAMESPACES, name=NAMES, app=st.sampled_from(["sglang", "sglang", "other"]), ip=IPS | st.none())
    def create(self, namespace: str, name: str, app: str, ip: str | None) -> None:
        self._write(lambda: self.cluster.create(pod(name, ip, {"app": app}), namespace))

    @rule(number=NUMBERS, ip=IPS, ready=st.booleans())
    def report(self, number: int, ip: str, ready: bool) -> None:
        status = {"status": running(ip, ready=ready)}
        self._change(number, lambda namespace, name: self.cluster.patch(namespace, name, status, status=True))

    @rule(number=NUMBERS, ready=st.booleans())
    def turn(self, number: int, ready: bool) -> None:
        """Ready or not, at the address it has."""
        status = {"status": {"conditions": [ready_condition(ready)]}}
        self._change(number, lambda namespace, name: self.cluster.patch(namespace, name, status, status=True))

    @rule(number=NUMBERS, app=st.sampled_from(["sglang", "other"]))
    def label(self, number: int, app: str) -> None:
        labels = {"metadata": {"labels": {"app": app}}}
        self._change(number, lambda namespace, name: self.cluster.patch(namespace, name, labels))

    @rule(number=NUMBERS, grace_s=st.sampled_from([0, 30]))
    def delete(self, number: int, grace_s: int) -> None:
        self._change(number, lambda namespace, name: self.cluster.delete(namespace, name, grace_s))

    @rule(number=NUMBERS)
    def replace(self, number: int) -> None:
        """Another pod of the same name, at the address that the old one had."""

        def again(namespace: str, name: str) -> None:
            ip = self.cluster.get(namespace, name).json["status"].get("podIP")
            self.cluster.delete(namespace, name, 0)
            self.cluster.create(pod(name, ip), namespace)

        self._change(number, again)

    def _change(self, number: int, change: Callable[[str, str], object]) -> None:
        """One of the pods that are there."""
        there = sorted(self.cluster.pods)
        if there:
            self._write(lambda: change(*there[number % len(there)]))

    def _write(self, write: Callable[[], object]) -> None:
        with suppress(Refused):  # no such pod, or there already: a history may say so
            write()

    # --- what goes wrong ---

    @rule(drop=CHANCE, duplicate=CHANCE, delay=CHANCE)
    def spoil(self, drop: float, duplicate: float, delay: float) -> None:
        faults = self.server.faults
        faults.drop, faults.duplicate, faults.delay = drop, duplicate, delay

    @rule(mid_line=st.booleans())
    def drop_connections(self, mid_line: bool) -> None:
        self.server.cut(mid_line=mid_line)

    @rule()
    def expire(self) -> None:
        self.server.expire()

    @rule()
    def compact(self) -> None:
        self.cluster.compact()

    @rule()
    def fall_silent(self) -> None:
        self.server.faults.silent = True

    @rule(verb=st.sampled_from(["list", "watch"]), code=st.sampled_from([401, 403, 410, 429, 500, 503]))
    def refuse(self, verb: str, code: int) -> None:
        self.server.faults.refuse_next(verb, code)

    @rule(write=st.booleans())
    def restart(self, write: bool) -> None:
        async def over() -> None:
            await self.server.stop()
            if write:
                for key in list(self.cluster.pods)[:1]:
                    self.cluster.delete(*key, 0)
            self.cluster.forget()
            await self.server.start()

        self.runner.run(over())

    @rule(pause=st.sampled_from([0.0, 0.001, 0.01, 0.03]))
    def go_on(self, pause: float) -> None:
        """Time passes; how much is chance, and nothing depends on it."""
        self.runner.run(asyncio.sleep(pause))

    # --- what must hold ---

    @rule()
    def after_quiet_the_store_is_the_cluster(self) -> None:
        self._quiet()

    @precondition(lambda self: hasattr(self, "watcher"))
    @invariant()
    def what_listeners_were_told_is_the_store(self) -> None:
        assert self.told == dict(self.watcher.store)

    def _quiet(self) -> None:
        faults = self.server.faults
        faults.drop = faults.duplicate = faults.delay = 0.0
        faults.silent = False
        faults.instead.clear()
        about = self.watcher

        def equal() -> bool:
            return versions(about) == truth(self.cluster) and about.status.watching and not self.server.holds

        self.runner.run(until(equal, about))
        # Whatever was still under way comes before this one: it must not have spoilt anything.
        self.marks += 1
        self.cluster.create(pod(f"mark-{self.marks}", "10.0.0.9"), "one")
        self.runner.run(until(equal, about))
        self.cluster.delete("one", f"mark-{self.marks}", 0)
        assert not [uid for uid, known in about.store.items() if known.metadata.labels["app"] != "sglang"]

    def teardown(self) -> None:
        try:
            if hasattr(self, "watcher"):
                self._quiet()
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()


PodHistories.TestCase.settings = settings(
    max_examples=int(os.environ.get("HISTORIES", "30")),
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
TestPodHistories = PodHistories.TestCase
