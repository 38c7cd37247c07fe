"""The demo's traffic against a real engine, and against nothing at all."""

import asyncio
from random import Random

from gateway.simulator.process import ChildProcess, SimulatorProcess
from gateway.simulator.traffic import Tally, generate
from tests.integration.simulator_world import until


def steady(now: float, mean: float) -> float:
    return mean


async def test_it_finds_the_models_and_its_talks_share_prefixes() -> None:
    async with SimulatorProcess("--speed", "50", "--served-model-name", "found") as engine:
        tally, stop = Tally(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(generate(engine.url, rate_per_s=200, rng=Random(1), stop=stop, tally=tally, rate=steady))

            async def enough() -> bool:
                return tally.answered >= 60

            await until(enough, "sixty answers", 15)
            stats = await engine.stats()
            stop.set()
        assert set(tally.statuses) == {200}
        assert stats["cache_hit_tokens"] > stats["cache_seen_tokens"] / 3
        assert stats["requests"]["/v1/models"] >= 1


async def test_it_goes_on_through_errors_and_dead_servers() -> None:
    async with SimulatorProcess("--instant") as engine:
        tally, stop = Tally(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(
                generate(
                    engine.url,
                    models=("sim-model",),
                    rate_per_s=200,
                    rng=Random(1),
                    stop=stop,
                    tally=tally,
                    rate=steady,
                )
            )

            async def failures(beyond: int) -> bool:
                return tally.failed > beyond

            for trouble in ("status", "drop_after", "garbage"):
                await engine.fault(
                    reset=True, **{trouble: 503 if trouble == "status" else trouble != "drop_after" or 3}
                )
                seen = tally.failed
                await until(lambda: failures(seen), f"a failure by {trouble}")  # noqa: B023 - awaited in the same turn
            await engine.kill()
            seen = tally.failed
            await until(lambda: failures(seen + 5), "failures by the dead engine")
            await engine.restart()
            answered = tally.answered

            async def again() -> bool:
                return tally.answered > answered

            await until(again, "answers of the engine that is back")
            stop.set()


async def test_as_a_process_it_sends_to_the_url_until_it_is_stopped() -> None:
    async with (
        SimulatorProcess("--instant") as engine,
        ChildProcess("gateway.simulator.traffic", "--url", engine.url, "--rate", "50") as traffic,
    ):

        async def served() -> bool:
            return bool((await engine.stats())["finished"] > 3)

        await until(served, "traffic to arrive", 15)
        await traffic.stop()
        assert traffic.returncode == 0
        assert traffic.errors() == ""
