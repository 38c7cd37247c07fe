"""The command line: `smg-console [run]`, `launch` as SMG spells it, `demo`, and `k8s-manifests`.

Reads the words, finds the command, loads the settings, and hands over. Errors of usage are one line and exit
code 2. Nothing heavy is imported before it is known that something will run. A further command is one more row
of COMMANDS.
"""

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gateway

if TYPE_CHECKING:
    from gateway.settings.load import Loaded

ABOUT = """\
An operations console for LLM inference workers, with the gateway inside.

  smg-console --worker-urls http://a:8000 http://b:8000
  smg-console demo            simulated workers, to look around without a GPU
  smg-console --no-ui ...     the gateway alone, with logs
  smg-console attach          the console on a gateway that runs already
  smg-console k8s-manifests   what it needs in a Kubernetes cluster, as YAML
  smg-console workers list    what the keys do, for scripts: workers, events,
                              loads, top, doctor, completion; see --help of each

`smg-console launch ...` does the same, as SMG spells it.
"""
ABOUT_DEMO = "The console over simulated workers and gentle traffic, without a GPU.\n"
EPILOG = """\
Every flag can also be set in the environment (--port as SMG_CONSOLE_PORT) or in
a TOML file (port = 30000, see --config); flags win over the environment, which
wins over the file. --no-... switches off what those switch on: --no-log-json.
"""


@dataclass(frozen=True, slots=True)
class Number:
    """A flag of one command alone: name, default, kind, accepted range, help."""

    name: str
    default: float
    kind: type[int] | type[float]
    least: float
    most: float
    text: str


Numbers = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Command:
    """What a first word stands for: what `--help` says of it, how it starts, and the flags it alone has."""

    about: str
    start: "Callable[[Loaded, Numbers], int] | None"
    """None: it runs no gateway, it `prints`."""
    numbers: tuple[Number, ...] = ()
    own_workers: bool = False
    """Whether it brings its workers along, so that none may be given."""
    prints: Callable[[list[str]], str] | None = None
    """The text for its words, which it reads itself. Raises UsageError."""
    runs: Callable[[list[str]], int] | None = None
    """Does its work with its words, which it reads itself, and returns the exit code. Raises UsageError."""


def _start_run(loaded: "Loaded", _numbers: Numbers) -> int:
    from smg_console.run import run

    return run(loaded)


def _start_demo(loaded: "Loaded", numbers: Numbers) -> int:
    from smg_console.demo import DemoOptions, run_demo

    return run_demo(loaded, DemoOptions(int(numbers["engines"]), numbers["rate"], int(numbers["seed"])))


def _manifests(words: list[str]) -> str:
    from smg_console.manifests_command import manifests

    return manifests(words)


def _attach(words: list[str]) -> int:
    from smg_console.attach import attach

    return attach(words)


COMMANDS = {
    "run": Command(ABOUT, _start_run),
    "launch": Command(ABOUT, _start_run),
    "demo": Command(
        ABOUT_DEMO,
        _start_demo,
        (
            Number("engines", 4, int, 1, 32, "Simulated engines to start."),
            Number("rate", 6, float, 0, 1000, "Requests a second, on average; 0: none."),
            Number("seed", 1, int, 0, 2**31, "Makes engines and traffic repeatable."),
        ),
        own_workers=True,
    ),
    "attach": Command("", None, runs=_attach),
    "k8s-manifests": Command("", None, prints=_manifests),
}
SCRIPTS = ("workers", "events", "loads", "top", "doctor", "completion")
"""Commands that read their words themselves and run no gateway: `scripts`."""
COMPLETES = "__complete"
"""What the shells' completion scripts call."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    # What is imported stays: looking through it for garbage again and again is a tenth of a start. What lives long
    # collects again once it has settled (`process.settle_memory`).
    gc.disable()
    try:
        return _tell_version() if words == ["--version"] else _main(words)
    except KeyboardInterrupt:
        return 130
    finally:
        gc.enable()


def _main(words: list[str]) -> int:
    from gateway.settings.flags import UsageError

    try:
        return _run(words)
    except UsageError as error:
        print(f"smg-console: {error}", file=sys.stderr)  # noqa: T201 - the one line of an error of usage
        return 2


def _run(words: list[str]) -> int:
    from gateway.settings.flags import UsageError, add_settings, environment, new_parser, without_credentials
    from gateway.settings.load import load, without_terminal

    if words[:1] == [COMPLETES]:
        from smg_console.scripts.run import complete

        return complete(words[1:], (*COMMANDS, *SCRIPTS))
    if words and words[0] in SCRIPTS:
        return _script(words)
    name = words.pop(0) if words and not words[0].startswith("-") else "run"
    command = COMMANDS.get(name)
    if command is None:
        shown, known = repr(without_credentials(name)), ", ".join((*COMMANDS, *SCRIPTS))
        raise UsageError(f"unknown command {shown}; expected one of {known}, or flags alone")
    if command.runs is not None:
        return command.runs(words)
    if command.prints is not None:
        return _tell(command.prints(words))
    parser = new_parser("smg-console" if name == "run" else f"smg-console {name}", command.about, EPILOG)
    general = parser.add_argument_group("General")
    general.add_argument("--help", "-h", action="store_true", help="Show this and exit.")
    general.add_argument("--version", action="store_true", help="Show the version and exit.")
    general.add_argument("--config", metavar="FILE", help="TOML file with settings.")
    if command.numbers:
        group = parser.add_argument_group(name.capitalize())
        for number in command.numbers:
            group.add_argument(f"--{number.name}", metavar="N", help=f"{number.text} [{number.default:g}]")
    add_settings(parser)
    options = vars(parser.parse_strictly(words))
    if options.pop("help", False):
        return _tell(parser.format_help())
    if options.pop("version", False):
        return _tell_version()
    numbers = {number.name: _value(number, options.pop(number.name, None)) for number in command.numbers}
    loaded = load(options, environment(), options.pop("config", None))
    if command.own_workers and loaded.settings.worker_urls:
        raise UsageError(f"{loaded.origins['worker_urls']}: {name} starts workers of its own; leave one of the two out")
    if not loaded.settings.no_ui and not _terminal():
        # No terminal to draw in (a container, a service, a pipe): the gateway still has its work to do.
        loaded = without_terminal(loaded)
    assert command.start is not None
    return command.start(loaded, numbers)


def _script(words: list[str]) -> int:
    from smg_console.scripts.options import parsed

    if words[-1] in ("--help", "-h") or len(words) == 1:
        text = parsed(words)[2]  # before anything heavy is imported
        if text is not None:
            return _tell(text)
    from smg_console.scripts.run import main as run_script

    gc.enable()
    return run_script(words)


def _value(number: Number, text: str | None) -> float:
    from gateway.settings.flags import UsageError

    if text is None:
        return number.default
    try:
        value: float = number.kind(text)
    except ValueError:
        value = number.least - 1
    if not number.least <= value <= number.most:
        kind = "a whole number" if number.kind is int else "a number"
        raise UsageError(
            f"--{number.name}: given {text!r}, expected {kind} from {number.least:g} to {number.most:.12g}"
        )
    return value


def _tell_version() -> int:
    return _tell(f"smg-console {gateway.__version__}\n")


def _tell(text: str) -> int:
    """Write what was asked for. A reader that has seen enough (`| head`) is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is still buffered would be tried again at exit, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 0
        print(f"smg-console: cannot write: {(error.strerror or str(error)).lower()}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
