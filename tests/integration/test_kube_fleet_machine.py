"""Whatever happens to pods, watches, and workers by operators' hands: after quiet, the registry is the cluster.

The histories of `test_kube_machine`, with the whole of discovery and a real registry on top. What has to hold is
worked out here from the cluster's own JSON, pod by pod, and not by asking the code that is tested.
"""

import asyncio
import gc
import os
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from gateway.errors import GatewayError
from gateway.kubernetes.discovery import PodDiscovery
from gateway.kubernetes.pods import POD_UID, PodRules
from gateway.kubernetes.reflector import Reflector
from gateway.kubernetes.selectors import parse
from gateway.operations import Add, Command, Cordon, Operations, Remove, Resume, StartDrain, Uncordon
from gateway.workers import facts
from gateway.workers.facts import Cause, Event
from gateway.workers.meters import Outcome
from gateway.workers.model import HealthSettings, Intent, Role, State, Worker, WorkerId, WorkerSpec
from tests.integration.kube_world import Fixed, reflector, until
from tests.integration.test_kube_machine import NAMES, NAMESPACES, NUMBERS, PACE, QUIET_S, PodHistories
from tests.kube.cluster import Cluster
from tests.kube.pods import pod
from tests.kube.server import Server
from tests.unit.world import World

OPERATOR = Cause("operator")
PORT = 8000
COMMANDS: dict[str, Any] = {
    "cordon": Cordon,
    "uncordon": Uncordon,
    "drain": lambda worker: StartDrain(worker, 1000.0),
    "resume": Resume,
    "remove": Remove,
    "remove now": lambda worker: Remove(worker, now=True),
}


class Fleet:
    """Discovery over a real registry, whose engines answer as soon as they are listed."""

    def __init__(self, watcher: Reflector, mono: Callable[[], float] = time.monotonic) -> None:
        self.world = world = World(HealthSettings(disabled=True))
        self.registry = world.registry
        self.registry.watch(self._on_event)
        self.operations = Operations(self.registry, wall=world.wall, drain_timeout_s=60.0, probe_now=lambda _: None)
        rules = PodRules(((Role.REGULAR, parse("app=sglang")),), port=PORT)
        self.discovery = PodDiscovery(
            watcher, rules, self.registry, self.operations, wall=world.wall, mono=mono, rng=Random(1)
        )

    def _on_event(self, event: Event) -> None:
        """Its first probe ends soon after: a worker that is ready drains, one that registers does not."""
        if event.fact.worker is not None and isinstance(event.fact, facts.Registered | facts.RegistrationRestarted):
            asyncio.get_running_loop().call_soon(self._found, event.fact.worker)

    def _found(self, worker: WorkerId) -> None:
        entry = self.registry.entries.get(worker)
        if entry is not None and not entry.worker.discovered:
            self.world.discover(entry)

    @property
    def workers(self) -> list[Worker]:
        return [entry.worker for entry in self.registry.entries.values()]


async def test_a_worker_taken_off_while_its_pod_lives_is_listed_again_at_once_and_not_at_the_next_full_pass() -> None:
    async with Server() as server:
        server.cluster.create(pod("a", "10.0.0.1"), "one")
        watcher = reflector(Fixed(server.url))  # reads no lists beside its watch: nothing else asks for a pass
        fleet = Fleet(watcher)
        async with fleet.discovery:
            await until(lambda: [w.state for w in fleet.workers] == [State.READY], watcher)
            (before,) = fleet.workers
            await until(lambda: watcher.status.watching, watcher)
            for _ in range(3):  # no pass is under way or asked for after these
                passes = fleet.discovery.status.passes
                watcher.changed.set()
                await until(lambda passes=passes: fleet.discovery.status.passes > passes, watcher)  # type: ignore[misc]
            await until(lambda: not watcher.changed.is_set(), watcher)
            await fleet.operations.execute(Remove(before.id, now=True), OPERATOR)
            await until(lambda: [w.id for w in fleet.workers] not in ([], [before.id]), watcher, QUIET_S)
            assert fleet.workers[0].url == before.url


@pytest.mark.parametrize("how", ["terminating", "gone", "no longer selected"])
async def test_a_pod_that_goes_loses_its_traffic_without_waiting_out_the_rest_after_a_long_pass(how: str) -> None:
    ticks = count(step=30)  # as if every pass took half a minute
    async with Server() as server:
        server.cluster.create(pod("a", "10.0.0.1"), "one")
        watcher = reflector(Fixed(server.url))
        fleet = Fleet(watcher, mono=lambda: next(ticks))
        async with fleet.discovery:
            await until(lambda: [w.state for w in fleet.workers] == [State.READY], watcher)
            fleet.registry.get(fleet.workers[0].id).meters.began()
            if how == "no longer selected":
                server.cluster.patch("one", "a", {"metadata": {"labels": {"app": "other"}}})
            else:
                server.cluster.delete("one", "a", 30 if how == "terminating" else 0)
            await until(lambda: fleet.workers[0].state is State.DRAINING, watcher, 5.0)


async def test_once_many_workers_are_there_collections_of_garbage_pass_them_by() -> None:
    async with Server() as server:
        for number in range(120):
            server.cluster.create(pod(f"p{number}", f"10.0.1.{number}"), "one")
        watcher = reflector(Fixed(server.url))
        fleet = Fleet(watcher)
        frozen = gc.get_freeze_count()
        try:
            async with fleet.discovery:
                await until(lambda: len(fleet.workers) == 120, watcher)
                await until(lambda: gc.get_freeze_count() > frozen + 120, watcher)
        finally:
            gc.unfreeze()


class FleetHistories(PodHistories):
    @initialize(seed=st.integers(0, 2**16), present=st.lists(st.tuples(NAMESPACES, NAMES), unique=True, min_size=2))
    def begin(self, seed: int, present: list[tuple[str, str]]) -> None:
        self.busy: list[Any] = []
        self.manual: set[str] = set()
        self.lifted: set[WorkerId] = set()
        """Workers whose cordon an operator took back."""
        self.held: set[WorkerId] = set()
        """Those an operator has cordoned."""
        self.drained: set[WorkerId] = set()
        """Those an operator drains, or takes off."""
        self.removed: set[WorkerId] = set()
        """Those an operator was the first to take off."""
        self.settled: dict[tuple[str, str], WorkerId] = {}
        """Workers by pod uid and url, of pods that nothing but readiness has touched since they were seen."""

        async def start() -> None:
            self.server = await self.stack.enter_async_context(Server(Cluster(Random(seed)), bookmark_s=0.02))
            self.server.faults.rng = Random(seed)
            self.cluster = self.server.cluster
            for namespace, name in present:
                self.cluster.create(pod(name, f"10.0.0.{1 + (name == 'b')}"), namespace)
            self.watcher = reflector(Fixed(self.server.url), pace=PACE)
            self.watcher.store.listen(self._told)
            self.fleet = Fleet(self.watcher)
            self.registry, self.discovery = self.fleet.registry, self.fleet.discovery
            await self.stack.enter_async_context(self.discovery)
            await until(lambda: self.watcher.status.watching, self.watcher)

        self.runner.run(start())
        self._quiet()

    def _change(self, number: int, change: Callable[[str, str], object]) -> None:
        self.settled.clear()
        super()._change(number, change)

    def _ready_or_not(self, number: int, ready: bool) -> None:
        kept = dict(self.settled)
        self.turn(number, ready)
        self.settled = kept

    @rule(number=NUMBERS, seen=st.booleans(), command=st.none() | st.sampled_from(sorted(COMMANDS)))
    def flap(self, number: int, seen: bool, command: str | None) -> None:
        """Not ready for a while, which discovery may see or miss: the worker stays the same one."""
        self._ready_or_not(number, False)
        if seen:
            self.after_a_while_workers_are_those_of_the_pods()
        if command is not None:
            self.operate(command, number)
        self._ready_or_not(number, True)
        if seen:
            self.after_a_while_workers_are_those_of_the_pods()

    @rule(number=NUMBERS, busy=st.booleans())
    def unselect_for_a_while(self, number: int, busy: bool) -> None:
        if busy:
            self.request(number)
        self.label(number, "other")
        self.after_a_while_workers_are_those_of_the_pods()
        self.label(number, "sglang")
        self.after_a_while_workers_are_those_of_the_pods()

    # --- what operators and clients do ---

    @rule(last=st.integers(1, 3))
    def add_by_hand(self, last: int) -> None:
        url = f"http://10.0.0.{last}:{PORT}"
        if self._execute(Add(WorkerSpec(url))):
            self.manual.add(url)

    @rule(command=st.sampled_from(sorted(COMMANDS)), number=st.integers(0, 5))
    def operate(self, command: str, number: int) -> None:
        workers = self._workers()
        if not workers:
            return
        worker = workers[number % len(workers)]
        leaving = worker.drain is not None and worker.drain.intent is Intent.REMOVE
        if not self._execute(COMMANDS[command](worker.id)):
            return
        if command == "cordon":
            self.held.add(worker.id)
        elif command == "uncordon":
            self.lifted.add(worker.id)
            self.held.discard(worker.id)
        elif command == "resume":
            self.drained.discard(worker.id)
            self.removed.discard(worker.id)
        else:
            self.drained.add(worker.id)
        if command.startswith("remove"):
            if not leaving:
                self.removed.add(worker.id)
            self.manual.discard(worker.url)
            self.settled.clear()

    @rule(number=st.integers(0, 5))
    def request(self, number: int) -> None:
        """One that stays in flight: its worker drains for as long as it lasts."""
        if workers := self._workers():
            meters = self.registry.get(workers[number % len(workers)].id).meters
            meters.began()
            self.busy.append(meters)

    @rule()
    def requests_end(self) -> None:
        async def end() -> None:
            while self.busy:
                self.busy.pop().ended(Outcome.OK, 0.1, time.monotonic())

        self.runner.run(end())

    def _execute(self, command: Command) -> bool:
        async def do() -> bool:
            with suppress(GatewayError):
                return (await self.fleet.operations.execute(command, OPERATOR)).changed
            return False

        return self.runner.run(do())

    def _workers(self) -> list[Worker]:
        return self.fleet.workers

    # --- what must hold ---

    @rule()
    def after_a_while_workers_are_those_of_the_pods(self) -> None:
        """Requests go on, and so do operators' cordons and drains."""
        self._settle()
        self.runner.run(until(lambda: not self._wrong(), self._wrong, QUIET_S))
        kept = [w for w in self._workers() if POD_UID in w.spec.labels and w.id not in self.drained]
        seen = {(w.spec.labels[POD_UID], w.url): w.id for w in kept}
        again = {key for key, worker in self.settled.items() if key in seen and seen[key] != worker}
        assert not again, "a pod that only was not ready has the worker it had"
        self.settled = seen

    def _quiet(self) -> None:
        self.requests_end()
        for worker in self._workers():  # what operators hold back is not discovery's affair
            self._execute(Resume(worker.id))
            if worker.cordoned_by == OPERATOR.actor:
                self._execute(Uncordon(worker.id))
        for whose in (self.drained, self.removed, self.held):
            whose.clear()
        super()._quiet()
        self.runner.run(self._rests())

    async def _rests(self) -> None:
        """All is right, and left alone by further passes: one that was under way may still do something."""
        for _ in range(3):
            await until(lambda: not self._wrong(), self._wrong, QUIET_S)
            before = dict(self.discovery.status.carried_out)
            await self._passes(2)
            if dict(self.discovery.status.carried_out) == before and not self._wrong():
                return
        raise AssertionError(f"it never rests: {before}, {self.discovery.status.carried_out}, {self._wrong()}")

    async def _passes(self, count: int) -> None:
        for _ in range(count):
            before = self.discovery.status.passes
            self.watcher.changed.set()
            await until(lambda before=before: self.discovery.status.passes > before, self.watcher)  # type: ignore[misc]

    def _wrong(self) -> list[str]:
        """All that is not as the cluster says."""
        pods = {
            one.json["metadata"]["uid"]: one.json
            for one in self.cluster.pods.values()
            if one.json["metadata"].get("labels", {}).get("app") == "sglang"
        }
        alive = {uid: one for uid, one in pods.items() if "deletionTimestamp" not in one["metadata"]}
        urls = {uid: f"http://{ip}:{PORT}" for uid, one in alive.items() if (ip := one["status"].get("podIP"))}
        ready = {uid for uid in urls if _ready(alive[uid])}
        found: list[str] = []
        listed: dict[str, str | None] = {}
        for worker in self._workers():
            uid = worker.spec.labels.get(POD_UID)
            listed[worker.url] = uid
            if worker.id in self.held and worker.cordoned_by != OPERATOR.actor:
                found.append(f"{worker} was cordoned by an operator, and is not any more")
            if worker.id in self.removed and (worker.drain is None or worker.drain.intent is not Intent.REMOVE):
                found.append(f"{worker} was taken off by an operator, and stays")
            if uid is None:
                if worker.cordoned_by not in ("", OPERATOR.actor) or (worker.drain and worker.id not in self.drained):
                    found.append(f"{worker} was added by hand, and was touched")
            elif urls.get(uid) != worker.url:
                if worker.drain is None or worker.drain.intent is not Intent.REMOVE:
                    found.append(f"{worker} is of pod {uid}, which is not there, and does not leave")
                elif uid not in pods and any(urls[other] == worker.url for other in ready):
                    found.append(f"{worker} is of pod {uid}, which is not there, and keeps the address of another")
                elif not self._busy(worker):
                    found.append(f"{worker} has nothing to do and does not end")
            elif worker.drain is not None and worker.id not in self.drained:
                found.append(f"{worker} drains, and its pod lives")
            elif worker.cordoned_by not in ("", OPERATOR.actor) and uid in ready:
                found.append(f"{worker} is cordoned, and its pod is ready")
            elif not worker.cordoned and uid not in ready and worker.id not in self.lifted:
                found.append(f"{worker} is not cordoned, and its pod is not ready")
        found += [f"{url} was added by hand" for url in self.manual if listed.get(url, "") is not None]
        found += [f"pod {uid} is ready and has no worker" for uid in ready if urls[uid] not in listed]
        return found

    def _busy(self, worker: Worker) -> bool:
        return self.registry.get(worker.id).meters.in_flight > 0


def _ready(body: dict[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in body["status"].get("conditions", ())}
    return body["status"]["phase"] == "Running" and conditions.get("Ready") == "True"


FleetHistories.TestCase.settings = settings(
    max_examples=int(os.environ.get("HISTORIES", "30")),
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
TestFleetHistories = FleetHistories.TestCase
