"""`python -m gateway.simulator`: one simulated engine as a process of its own."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence

from gateway.simulator.engine import EngineSettings
from gateway.simulator.settings import EngineKind, ServerSettings


def _between(kind: Callable[[str], float], least: float, most: float = float("inf")) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            top = f" to {most:g}" if most != float("inf") else ""
            raise argparse.ArgumentTypeError(f"given {text!r}, expected a number from {least:g}{top}")
        return value

    return parse


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "python -m gateway.simulator",
        description="A simulated inference engine. Faults: POST /_sim/faults; counters: GET /_sim/stats.",
    )
    add = made.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=_between(int, 0, 65535), default=0, help="0: any free one; it is printed")
    add("--engine", choices=[kind.value for kind in EngineKind], default="sglang", help="whose HTTP API to speak")
    add(
        "--grpc",
        choices=["sglang", "vllm"],
        help="speak this engine's gRPC service instead; /_sim is on a port of its own",
    )
    add("--control-port", type=_between(int, 0, 65535), default=0, help="with --grpc: where /_sim is (HTTP)")
    add("--tokenizer", action="store_true", help="count tokens over HTTP as the engines over gRPC do")
    add("--disaggregation-mode", choices=["null", "prefill", "decode"], default="null", help="SGLang's role over gRPC")
    add("--model", default="sim-model", help="the model's path")
    add("--served-model-name", default="", help="the name clients use (default: --model)")
    add("--context-length", type=_between(int, 2), default=32768)
    add("--api-key", default="", help="demand this key (Bearer) from everybody but probes and /_sim")
    add("--protect-health", action="store_true", help="demand it from probes too")
    add("--health-path", default="/health")
    add("--tp-size", type=_between(int, 1), default=1)
    add("--dp-size", type=_between(int, 1, 64), default=1)
    add("--startup-delay", type=_between(float, 0), default=0.0, help="seconds of loading: listens, but answers 503")
    add("--startup-port-delay", type=_between(float, 0), default=0.0, help="seconds before it listens")
    add("--speed", type=_between(float, 0.001), default=1.0, help="how many times faster than an ordinary engine")
    add("--instant", action="store_true", help="no waiting at all")
    add("--prefill-rate", type=_between(float, 1), default=8000.0, help="uncached prompt tokens a second")
    add("--itl-ms", type=_between(float, 0.1), default=20.0, help="milliseconds a token for one request alone")
    add("--max-running", type=_between(int, 1), default=32, help="requests in a batch")
    add("--kv-tokens", type=_between(int, 16), default=100_000, help="size of the KV pool")
    add("--seed", type=int, default=0, help="of the draws that decide which requests a fault hits")
    add("--parent-pid", type=_between(int, 0), default=0, help="end when this process is gone")
    return made


def settings_of(options: argparse.Namespace) -> ServerSettings:
    """The command line as settings."""
    return ServerSettings(
        kind=EngineKind(options.grpc or options.engine),
        tokenizer=options.tokenizer or options.grpc is not None,
        role=options.disaggregation_mode,
        model=options.model,
        served_model_name=options.served_model_name,
        context_length=options.context_length,
        api_key=options.api_key,
        protect_health=options.protect_health,
        health_path=options.health_path,
        tp_size=options.tp_size,
        dp_size=options.dp_size,
        startup_delay_s=options.startup_delay,
        seed=options.seed,
        engine=EngineSettings(
            base_itl_s=options.itl_ms / 1000,
            itl_per_request_s=options.itl_ms / 20000,
            prefill_per_s=options.prefill_rate,
            max_running=options.max_running,
            kv_tokens=options.kv_tokens,
            speed=options.speed,
            instant=options.instant,
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes, or the parent goes."""
    options = parser().parse_args(arguments)
    # Imported late: --help and a wrong flag need no web server.
    from gateway.simulator.lifetime import until_told_to_end

    async def run() -> None:
        if options.grpc:
            from gateway.simulator.grpc_server import serve_grpc

            await serve_grpc(
                settings_of(options),
                options.host,
                options.port,
                lambda: until_told_to_end(options.parent_pid),
                control_port=options.control_port,
                port_delay_s=options.startup_port_delay,
            )
            return
        from gateway.simulator.server import serve

        await serve(
            settings_of(options),
            options.host,
            options.port,
            lambda: until_told_to_end(options.parent_pid),
            port_delay_s=options.startup_port_delay,
        )

    code = 0
    try:
        asyncio.run(run())
    except* OSError as refused:
        code = 1
        print(f"cannot listen on {options.host}:{options.port}: {refused.exceptions[0]}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
