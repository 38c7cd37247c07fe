"""Whatever happens to pods, watches, and workers by operators' hands: after quiet, the registry is the cluster.

The histories of `test_kube_machine`, with the whole of discovery and a real registry on top. What has to hold is
worked out here from the cluster's own JSON, pod by pod, and not by asking the code that is tested.
"""

import os
import time
from contextlib import suppress
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from gateway.errors import GatewayError
from gateway.kubernetes.discovery import PodDiscovery
from gateway.kubernetes.pods import POD_UID, PodRules
from gateway.kubernetes.selectors import parse
from gateway.operations import Add, Command, Cordon, Operations, Remove, Resume, StartDrain, Uncordon
from gateway.workers.facts import Cause
from gateway.workers.meters import Outcome
from gateway.workers.model import HealthSettings, Role, Worker, WorkerId, WorkerSpec
from tests.integration.kube_world import Fixed, reflector, until
from tests.integration.test_kube_machine import NAMES, NAMESPACES, PACE, PodHistories
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


class FleetHistories(PodHistories):
    @initialize(seed=st.integers(0, 2**16), present=st.lists(st.tuples(NAMESPACES, NAMES), unique=True, min_size=2))
    def begin(self, seed: int, present: list[tuple[str, str]]) -> None:
        self.busy: list[Any] = []
        self.manual: set[str] = set()
        self.lifted: set[WorkerId] = set()
        """Workers whose cordon an operator took back."""

        async def start() -> None:
            self.server = await self.stack.enter_async_context(Server(Cluster(Random(seed)), bookmark_s=0.02))
            self.server.faults.rng = Random(seed)
            self.cluster = self.server.cluster
            for namespace, name in present:
                self.cluster.create(pod(name, f"10.0.0.{1 + (name == 'b')}"), namespace)
            self.watcher = reflector(Fixed(self.server.url), pace=PACE)
            self.watcher.store.listen(self._told)
            world = World(HealthSettings(disabled=True))
            self.registry = world.registry
            self.operations = Operations(self.registry, wall=world.wall, drain_timeout_s=60.0, probe_now=lambda _: None)
            rules = PodRules(((Role.REGULAR, parse("app=sglang")),), port=PORT)
            self.discovery = PodDiscovery(
                self.watcher, rules, self.registry, self.operations,
                wall=world.wall, mono=time.monotonic, rng=Random(seed),
            )  # fmt: skip
            await self.stack.enter_async_context(self.discovery)
            await until(lambda: self.watcher.status.watching, self.watcher)

        self.runner.run(start())
        self._quiet()

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
        if not self._execute(COMMANDS[command](worker.id)):
            return
        if command.startswith("remove"):
            self.manual.discard(worker.url)
        elif command == "uncordon":
            self.lifted.add(worker.id)

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
                return (await self.operations.execute(command, OPERATOR)).changed
            return False

        return self.runner.run(do())

    def _workers(self) -> list[Worker]:
        return [entry.worker for entry in self.registry.entries.values()]

    # --- what must hold ---

    def _quiet(self) -> None:
        self.requests_end()
        for worker in self._workers():  # what operators hold back is not discovery's affair
            self._execute(Resume(worker.id))
            if worker.cordoned_by == OPERATOR.actor:
                self._execute(Uncordon(worker.id))
        super()._quiet()
        self.runner.run(self._settled())

    async def _settled(self) -> None:
        """All is right, and left alone by further passes: one that was under way may still do something."""
        for _ in range(3):
            await until(lambda: not self._wrong(), self.watcher)
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
            if uid is None:
                continue
            if urls.get(uid) != worker.url:
                found.append(f"{worker} is of pod {uid}, which is not there")
            elif worker.drain is not None:
                found.append(f"{worker} drains, and its pod lives")
            elif worker.cordoned and uid in ready:
                found.append(f"{worker} is cordoned, and its pod is ready")
            elif not worker.cordoned and uid not in ready and worker.id not in self.lifted:
                found.append(f"{worker} is not cordoned, and its pod is not ready")
        found += [f"{url} was added by hand" for url in self.manual if listed.get(url, "") is not None]
        found += [f"pod {uid} is ready and has no worker" for uid in ready if urls[uid] not in listed]
        return found


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
