"""The command line: `smg-console [run]`, `launch` as SMG spells it, and `demo`.

Reads the words, finds the command, loads the settings, and hands over. Errors of usage are one line and exit
code 2. Nothing heavy is imported before it is known that something will run.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gateway

DESCRIPTION = """\
An operations console for LLM inference workers, with the gateway inside.

  smg-console --worker-urls http://a:8000 http://b:8000
  smg-console demo            simulated workers, to look around without a GPU
  smg-console --no-ui ...     the gateway alone, with logs
"""
EPILOG = """\
Every flag can also be set in the environment (--port as SMG_CONSOLE_PORT) or in
a TOML file (port = 30000, see --config); flags win over the environment, which
wins over the file.
"""
COMMANDS = ("run", "launch", "demo")


@dataclass(frozen=True, slots=True)
class _Demo:
    """Flags of `demo` alone: name, default, kind, accepted range, help."""

    name: str
    default: float
    kind: type
    least: float
    most: float
    text: str


_DEMO_FLAGS = (
    _Demo("engines", 4, int, 1, 32, "Simulated engines to start."),
    _Demo("rate", 6, float, 0, 1000, "Requests a second, on average; 0: none."),
    _Demo("seed", 1, int, 0, 2**31, "Makes engines and traffic repeatable."),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"smg-console {gateway.__version__}")  # noqa: T201 - what was asked for
        return 0
    from gateway.settings.flags import UsageError

    try:
        return _run(words)
    except UsageError as error:
        print(f"smg-console: {error}", file=sys.stderr)  # noqa: T201 - the one line of an error of usage
        return 2
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    from gateway.settings.flags import UsageError, add_settings, environment, new_parser
    from gateway.settings.load import load

    command = words.pop(0) if words and not words[0].startswith("-") else "run"
    if command not in COMMANDS:
        raise UsageError(f"unknown command {command!r}; expected one of {', '.join(COMMANDS)}, or flags alone")
    parser = new_parser("smg-console demo" if command == "demo" else "smg-console", DESCRIPTION, EPILOG)
    general = parser.add_argument_group("General")
    general.add_argument("--help", "-h", action="store_true", help="Show this and exit.")
    general.add_argument("--version", action="store_true", help="Show the version and exit.")
    general.add_argument("--config", metavar="FILE", help="TOML file with settings.")
    if command == "demo":
        group = parser.add_argument_group("Demo")
        for demo in _DEMO_FLAGS:
            group.add_argument(f"--{demo.name}", metavar="N", help=f"{demo.text} [{demo.default:g}]")
    add_settings(parser)
    options = vars(parser.parse_strictly(words))
    if options.pop("help", False):
        print(parser.format_help())  # noqa: T201 - what was asked for
        return 0
    if options.pop("version", False):
        return main(["--version"])
    demo_options: dict[str, Any] = (
        {demo.name: _demo_value(demo, options) for demo in _DEMO_FLAGS} if command == "demo" else {}
    )
    if command == "demo" and options.get("worker_urls"):
        raise UsageError("--worker-urls: demo starts workers of its own; leave one of the two out")
    if not _terminal() and not options.get("no_ui"):
        # No terminal to draw in (a container, a service, a pipe): the gateway still has its work to do.
        for console_only in ("theme", "ascii", "read_only"):
            options.pop(console_only, None)
        options["no_ui"] = True
    loaded = load(options, environment(), options.pop("config", None))
    if command == "demo":
        from smg_console.demo import DemoOptions, run_demo

        return run_demo(loaded, DemoOptions(**demo_options))
    from smg_console.run import run

    return run(loaded)


def _demo_value(demo: _Demo, options: dict[str, Any]) -> float:
    from gateway.settings.flags import UsageError

    text = options.pop(demo.name, None)
    if text is None:
        return demo.default if demo.kind is float else int(demo.default)
    try:
        value: float = demo.kind(text)
    except ValueError:
        value = demo.least - 1
    if not demo.least <= value <= demo.most:
        kind = "a whole number" if demo.kind is int else "a number"
        raise UsageError(f"--{demo.name}: given {text!r}, expected {kind} from {demo.least:g} to {demo.most:g}")
    return value


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
