"""A fleet to look at without a GPU: simulated engines as processes on loopback, and gentle traffic.

The gateway and the console are the real ones and see nothing but workers on sockets. Whatever ends the demo,
nothing of it is left running: engines and traffic end with their contexts, and watch this process besides.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from gateway.gateway import Gateway
from gateway.operations import Add
from gateway.settings.load import Loaded
from gateway.simulator.process import ChildProcess, SimulatorProcess
from gateway.tasks import Scope
from gateway.workers.facts import Cause
from gateway.workers.model import Source, WorkerSpec
from smg_console.run import run_in_loop, serve

MODELS = ("llama-3.1-8b", "qwen2.5-14b")
ENGINES = ("sglang", "vllm")
SPEEDS = (1.0, 0.8, 1.2, 0.6)
DEMO = Cause("demo")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`engines` simulated workers; `rate` requests a second on average; `seed` makes it repeatable."""

    engines: int = 4
    rate: float = 6.0
    seed: int = 1


def run_demo(loaded: Loaded, options: DemoOptions) -> int:
    """The main job over simulated workers."""
    return run_in_loop(loaded, lambda ring: serve(loaded, ring, lambda gateway: fleet(gateway, options)))


def engine_flags(number: int, seed: int) -> Sequence[str]:
    """The command line of one simulated engine: kinds and models alternate, speeds differ, later ones load longer."""
    return (
        *("--engine", ENGINES[number % len(ENGINES)]),
        *("--model", MODELS[number // 2 % len(MODELS)]),
        *("--speed", str(SPEEDS[number % len(SPEEDS)])),
        *("--startup-delay", str(0.8 * number)),
        *("--seed", str(seed + number)),
    )


def curl_hint(address: str) -> str:
    """How to ask the demo something oneself."""
    body = f'{{"model":"{MODELS[0]}","messages":[{{"role":"user","content":"Hello"}}]}}'
    return f"try: curl {address}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"


@asynccontextmanager
async def fleet(gateway: Gateway, options: DemoOptions) -> AsyncIterator[None]:
    """Engines and traffic beside a gateway, started while the console already shows them come."""
    gateway.registry.note("demo", curl_hint(gateway.address), DEMO)
    async with AsyncExitStack() as processes, Scope("demo") as scope:
        scope.spawn(_start(gateway, options, processes), name="start")
        yield


async def _start(gateway: Gateway, options: DemoOptions, processes: AsyncExitStack) -> None:
    for number in range(options.engines):
        engine = await processes.enter_async_context(SimulatorProcess(*engine_flags(number, options.seed)))
        await gateway.operations.execute(Add(WorkerSpec(engine.url, source=Source.STATIC)), DEMO)
        if options.rate and not number:
            flags = ("--url", gateway.address, "--rate", str(options.rate), "--seed", str(options.seed))
            await processes.enter_async_context(ChildProcess("gateway.simulator.traffic", *flags))
