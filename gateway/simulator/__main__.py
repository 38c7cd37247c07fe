"""`python -m gateway.simulator`: one simulated engine as a process of its own."""

import argparse
import asyncio
import os
import signal
import sys

from gateway.simulator.engine import EngineSettings
from gateway.simulator.server import ServerSettings, serve


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m gateway.simulator", description="A simulated inference engine over HTTP.")
    add = made.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0: any free one; it is printed")
    add("--engine", choices=("sglang", "vllm", "openai"), default="sglang", help="whose HTTP API to speak")
    add("--model", default="sim-model", help="the served model's name")
    add("--root", default="", help="the model's path, where it differs from its name")
    add("--context-length", type=int, default=32768)
    add("--api-key", default="", help="demand this key (Bearer) from everybody but probes")
    add("--protect-health", action="store_true", help="demand it from probes too")
    add("--health-path", default="/health")
    add("--tp-size", type=int, default=1)
    add("--dp-size", type=int, default=1)
    add("--startup-delay", type=float, default=0.0, help="seconds of loading: listens, but answers 503")
    add("--speed", type=float, default=1.0, help="how many times faster than an ordinary engine")
    add("--instant", action="store_true", help="no waiting at all")
    add("--prefill-rate", type=float, default=8000.0, help="uncached prompt tokens a second")
    add("--itl-ms", type=float, default=20.0, help="milliseconds a token for one request alone")
    add("--max-running", type=int, default=32, help="requests in a batch")
    add("--kv-tokens", type=int, default=100_000)
    add("--seed", type=int, default=0)
    add("--parent-pid", type=int, default=0, help="end when this process is gone")
    return made


async def main(options: argparse.Namespace) -> None:
    """Serve until a signal comes, or the parent goes."""
    until = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, until.set)
    settings = ServerSettings(
        engine=options.engine,
        model=options.model,
        root=options.root,
        context_length=options.context_length,
        api_key=options.api_key,
        protect_health=options.protect_health,
        health_path=options.health_path,
        tp_size=options.tp_size,
        dp_size=options.dp_size,
        startup_delay_s=options.startup_delay,
        seed=options.seed,
        model_engine=EngineSettings(
            base_itl_s=options.itl_ms / 1000,
            itl_per_request_s=options.itl_ms / 20000,
            prefill_per_s=options.prefill_rate,
            max_running=options.max_running,
            kv_tokens=options.kv_tokens,
            cache_tokens=options.kv_tokens // 2,
            speed=options.speed,
            instant=options.instant,
        ),
    )
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(end_with(options.parent_pid, until))
        await serve(settings, options.host, options.port, until)
        watch.cancel()


async def end_with(parent: int, until: asyncio.Event) -> None:
    """Set the event once the parent process is gone."""
    while not until.is_set():
        await asyncio.sleep(0.5)
        if parent and os.getppid() != parent:
            until.set()


if __name__ == "__main__":
    asyncio.run(main(parser().parse_args()))
    sys.exit(0)
