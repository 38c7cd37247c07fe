"""`smg-console attach`: reads its words, finds the gateway and opens the console on it.

Exit codes: 0 after quitting, 1 when there is no gateway or it cannot be reached at first, 2 for words that cannot be
meant. A connection that is lost later is the console's to show and to mend.
"""

import asyncio
import os
import sys
from collections.abc import Mapping

from gateway.errors import GatewayError
from gateway.settings.flags import Parser, UsageError, new_parser
from smg_console.targets import KEY_VARIABLE, VARIABLE, NoGateway, Target, actor_name, api_key, chosen_target

ABOUT = """\
The console on a gateway that runs elsewhere, or headless.

  smg-console attach                       your only gateway on this machine
  smg-console attach 30001                 the one on this port
  smg-console attach http://gateway:30000  one on another machine
  smg-console attach /run/gateway.sock     one at a Unix socket

Quitting leaves the gateway alone.
"""
EPILOG = f"""\
{VARIABLE} names the gateway where no argument does, {KEY_VARIABLE} is
the key where no file gives one. SMG_CONSOLE_THEME, SMG_CONSOLE_ASCII and
SMG_CONSOLE_READ_ONLY hold as for a console of its own.
"""
TRUE = ("1", "true", "yes", "on")


def attach(words: list[str]) -> int:
    """Run the command. Raises UsageError."""
    options = _options(words)
    if options.get("help"):
        sys.stdout.write(_parser().format_help())
        return 0
    environment = os.environ
    try:
        target = chosen_target(options.get("gateway"), environment)
    except NoGateway as error:
        print(f"smg-console: {error}", file=sys.stderr)  # noqa: T201 - the one line of an error
        return 1
    key = api_key(options.get("api_key_file"), environment)
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        raise UsageError("attach needs a terminal; GET /workers and GET /events tell the same to programs")
    return _run(target, key, options, environment)


def _parser() -> Parser:
    parser = new_parser("smg-console attach", ABOUT, EPILOG)
    parser.usage = "smg-console attach [URL | PORT | SOCKET] [flags]"
    parser.add_argument("gateway", nargs="?", metavar="GATEWAY", help="A URL, a port of this machine, or a path.")
    parser.add_argument("--api-key-file", metavar="FILE", help="File with the key for the gateway's control API.")
    parser.add_argument("--theme", metavar="NAME", help="Colour theme.")
    parser.add_argument("--ascii", action="store_true", help="Draw with ASCII characters only.")
    parser.add_argument("--read-only", action="store_true", help="Show everything and change nothing.")
    parser.add_argument("--help", "-h", action="store_true", help="Show this and exit.")
    return parser


def _options(words: list[str]) -> dict[str, str]:
    return vars(_parser().parse_strictly(words))


def _run(target: Target, key: str | None, options: Mapping[str, object], environment: Mapping[str, str]) -> int:
    from gateway.telemetry.logs import configure
    from smg_console.process import new_loop

    def switched_on(name: str) -> bool:
        return bool(options.get(name)) or environment.get(f"SMG_CONSOLE_{name.upper()}", "").lower() in TRUE

    configure(level="warn", as_json=False, directory=None, console=True)  # nothing is to write over the screen
    theme = options.get("theme") or environment.get("SMG_CONSOLE_THEME") or None
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(
                _open(
                    target,
                    key,
                    theme=str(theme) if theme else None,
                    ascii_only=switched_on("ascii"),
                    read_only=switched_on("read_only"),
                )
            )
    except GatewayError as error:
        print(f"smg-console: {error}", file=sys.stderr)  # noqa: T201 - the terminal is not ours yet
        return 1


async def _open(target: Target, key: str | None, *, theme: str | None, ascii_only: bool, read_only: bool) -> int:
    """Connect, and show. Raises GatewayError where the first connection fails."""
    from smg_console.client import GatewayClient
    from smg_console.memory import Memory, state_file
    from smg_console.process import on_signals, settle_memory
    from smg_console.remote.console import AttachedConsole
    from smg_console.remote.plane import RemotePlane

    async with (
        GatewayClient(target, api_key=key, actor=actor_name("attach")) as client,
        RemotePlane(client, read_only=read_only) as plane,
    ):
        app = AttachedConsole(
            plane, theme=theme, ascii_only=ascii_only, settled=settle_memory, memory=Memory(state_file())
        )
        on_signals(app.exit)
        await app.run_async()
    # Textual swallows a crash inside the app and tells it by its return code alone.
    return app.return_code or 0
