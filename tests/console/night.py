"""A bigger fleet in the middle of a night, with the product's own sampler over traffic that really was counted.

For pictures, for the feel of many workers, and for measuring: `night_fleet(1000)` takes a few seconds to make.
"""

from math import sin
from random import Random

from gateway.operations import StartDrain
from gateway.proxy.explain import Explainer
from gateway.telemetry.sampler import Sampler
from gateway.workers.entry import Entry
from gateway.workers.facts import Cause
from gateway.workers.meters import EngineLoad, Outcome
from gateway.workers.model import Capabilities, Engine, WorkerSpec
from smg_console.local import LocalPlane
from tests.console.fleet import DISCOVERY, PROBES, Fleet

MODELS = ("meta-llama/Llama-3.3-70B-Instruct", "Qwen/Qwen2.5-14B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B")
ANNA = Cause("ssh:anna")
STATIC = Cause("command line")


class Night(Fleet):
    """A fleet whose samples are taken, not set."""

    def __init__(self) -> None:
        super().__init__()
        self.sampler = Sampler(self.registry, mono=self.clock.mono, wall=self.clock.wall)
        self.plane = LocalPlane(
            self.registry,
            self.operations,
            self.sampler,
            self.gateway_row,
            tokenizers=self.tokenizer_operations,
            rolling=self.rolling,
            explainer=Explainer(self.routing, self.tokenizers, self.clock.mono),
        )
        self.samples = self.sampler  # type: ignore[assignment]  # the real one, instead of one that a test sets

    async def second(self) -> None:
        """A second passes, and the sampler takes its sample."""
        self.clock.now += 1.0
        await self.sampler.take()


async def night_fleet(size: int = 14, seconds: int = 100) -> Night:
    """Most workers serve; of every fourteen some do not, each for its own reason."""
    night, rng = Night(), Random(3)
    entries = [
        night.registry.register(
            WorkerSpec(f"http://10.0.{n // 32}.{10 + n % 32}:8000", labels={"rack": f"b{n % 5}", "tier": "gold"}),
            STATIC,
        )
        for n in range(size)
    ]
    serving = [entry for n, entry in enumerate(entries) if n % 14 not in (5, 13)]
    for n, entry in enumerate(serving):
        night.clock.now += 0.37
        _discovered(night, entry, n)
        for _ in range(2 + n % 9):
            night.probe(entry, ok=True)
    for passed in range(seconds):
        for n, entry in enumerate(serving):
            _traffic(night, entry, n, passed, rng)
            if passed % 10 == 9:
                night.probe(entry, ok=not (n % 14 == 3 and passed > seconds - 35))
        await night.second()
    await _incidents(night, entries)
    return night


def _discovered(night: Night, entry: Entry, n: int) -> None:
    engine, version = ((Engine.SGLANG, "0.5.3"), (Engine.VLLM, "0.11.0"))[n % 2]
    model = MODELS[n % 3]
    found = Capabilities(
        engine=engine, version=version, model_id=model, models=(model,), context_length=131072, tp_size=2
    )
    night.registry.observe_capabilities(entry.worker.id, entry.worker.revision, found, DISCOVERY)


def _traffic(night: Night, entry: Entry, n: int, passed: int, rng: Random) -> None:
    """One second of requests at a worker: some begin, some end, one in a while fails."""
    meters, now = entry.meters, night.clock.mono()
    wave = 1.0 + 0.6 * sin(passed / 17.0 + n / 5.0)
    for _ in range(round(rng.uniform(0.5, 3.5) * wave)):
        meters.began()
    while meters.in_flight > 2 + n % 5:
        failed = rng.random() < (0.02 if n % 6 == 1 else 0.001)
        meters.ended(Outcome.SERVER_ERROR if failed else Outcome.OK, rng.lognormvariate(-0.9 + 0.1 * (n % 7), 0.5), now)
    entry.load = EngineLoad(now, meters.in_flight, rng.randrange(0, 3) * (n % 3), 0.2 + 0.05 * (n % 13), 900.0)


async def _incidents(night: Night, entries: list[Entry]) -> None:
    """What happened in the last half minute."""
    registry = night.registry
    for n, entry in enumerate(entries):
        night.clock.now += 0.9 if n < 20 else 0.0
        worker = entry.worker
        match n % 14:
            case 2:
                registry.cordon(entry, "kernel update", ANNA)
            case 7:
                await night.operations.execute(StartDrain(worker.name, 600.0), ANNA)
            case 9:
                while entry.meters.in_flight:
                    entry.meters.ended(Outcome.OK, 0.2, night.clock.mono())
                await night.operations.execute(StartDrain(worker.name, reason="disk swap"), ANNA)
            case 13:
                for _ in range(3):
                    night.probe(entry, ok=False, error="connection refused")
                registry.registration_timeout(worker.id, worker.revision, 1800.0, PROBES)
    await night.second()
