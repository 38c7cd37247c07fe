"""The script commands over SSH: `ssh -p 2222 ops@gateway workers drain w3 --wait`, within the gateway's own process.

They are `scripts`', on a client of the gateway's own control socket, so that they do and say the same as anywhere.
What a role may not do is refused before it is asked; which gateway and which key is not for the words to say.
"""

import shlex
from typing import TYPE_CHECKING, Any

from gateway.access import AccessRole, Act, check
from gateway.errors import ReadOnly
from smg_console.client import GatewayClient, Params
from smg_console.scripts.exits import Exit
from smg_console.scripts.out import Out
from smg_console.scripts.run import JOBS, run
from smg_console.ssh.session import Ask
from smg_console.targets import Target

if TYPE_CHECKING:
    from gateway.gateway import Gateway

PROGRAM = "smg-console"
FIRST = tuple(dict.fromkeys(words[0] for words in JOBS))
ELSEWHERE = ("--gateway", "-g", "--api-key-file")
"""Flags for a program on a machine of one's own: here they would reach out from the gateway's."""
NO_SOCKET = "commands over SSH need the control socket, which --control-socket none switches off"
MOST_WAITING = 8 * 1024 * 1024
"""Bytes that may wait for a client before its command ends: more than the largest single answer."""


class TooSlow(Exception):
    """The client does not read what it asked for."""


class PersonalClient(GatewayClient):
    """A client that asks no more than a role may."""

    def __init__(self, target: Target, actor: str, role: AccessRole, *, read_only: bool) -> None:
        super().__init__(target, actor=actor)
        self._role = role
        self._read_only = read_only

    async def command(self, method: str, path: str, body: object = None, params: Params | None = None) -> Any:
        check(self._role, Act.WORKERS if path.split("?")[0].split("/")[1] == "workers" else Act.GATEWAY)
        if self._read_only:
            raise ReadOnly("this gateway is read-only over SSH (--read-only)")
        return await super().command(method, path, body, params)


async def run_command(gateway: "Gateway", ask: Ask) -> int:
    """Run a line of words for somebody; its exit code. It ends when it is cancelled."""
    out = _out(ask)
    try:
        words = shlex.split(ask.line)
    except ValueError as error:
        out.note(f"{PROGRAM}: cannot be read as words: {str(error).lower()}")
        return Exit.USAGE
    words = words[1:] if words[:1] == [PROGRAM] else words
    if not words or words[0] not in FIRST:
        given = f"{words[0][:40]!r} is none of them" if words else "there is none"
        out.note(
            f"{PROGRAM}: over SSH there are the commands {', '.join(FIRST)}; {given}; without one the console opens"
        )
        return Exit.USAGE
    if flag := next((word for word in words if word.partition("=")[0] in ELSEWHERE), None):
        out.note(f"{PROGRAM}: {flag.partition('=')[0]}: not over SSH, where this gateway is the one that is asked")
        return Exit.USAGE
    if gateway.control_socket is None:
        out.note(f"{PROGRAM}: {NO_SOCKET}")
        return Exit.UNREACHABLE
    target = Target("http://localhost", str(gateway.control_socket.path))
    client = PersonalClient(
        target, header_name(ask.client.actor), ask.client.role, read_only=gateway.settings.read_only
    )
    try:
        async with client:
            return await run(words, client, out)
    except TooSlow:
        return Exit.INTERRUPTED


def header_name(actor: str) -> str:
    """The name as a header of the control API takes it."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._:@-") else "-" for c in actor)[:64]


def _out(ask: Ask) -> Out:
    """Where the command writes. A terminal at the other end is a raw one, which wants its line ends whole."""
    terminal = ask.terminal

    def write(text: str) -> None:
        if ask.waiting() > MOST_WAITING:
            raise TooSlow
        ask.write((text if terminal is None else text.replace("\n", "\r\n")).encode("utf-8", "replace"))

    def note(text: str) -> None:
        ask.write_error(f"{text}\n".replace("\n", "\n" if terminal is None else "\r\n").encode("utf-8", "replace"))

    if terminal is None:
        return Out(write, note)
    return Out(write, note, terminal.size[0], not terminal.no_color and terminal.term not in ("dumb", ""))
