"""`doctor`: looks at a gateway and its surroundings, says what is wrong, and what to do about it.

Here it is asked and told; what it means is `findings`' and `surroundings`'.
"""

import time
from typing import Any

from gateway import __version__
from gateway.errors import GatewayError
from smg_console.client import GatewayClient, Unauthorized, Unreachable
from smg_console.scripts import findings, surroundings
from smg_console.scripts.exits import Exit
from smg_console.scripts.findings import Finding, Level
from smg_console.scripts.out import Out
from smg_console.scripts.waiting import seconds_of

MARKS = {Level.OK: ("ok  ", "good"), Level.WARNING: ("warn", "warning"), Level.BAD: ("BAD ", "bad")}
RECENT = 1000
"""Events of the journal that are looked through."""


async def examined(client: GatewayClient, given: Any, out: Out) -> Exit:
    """All findings; the exit code is 1 where something is bad, 3 where there is no answer."""
    try:
        found = await _found(client)
    except Unreachable as error:
        return unreachable(given, out, error.message)
    except Unauthorized as error:
        advice = "give its key with --api-key-file, or in SMG_CONSOLE_API_KEY"
        found = [Finding(Level.BAD, "unauthorized", f"{client.target} wants a key: {error.message}", advice)]
    _told(found, given, out)
    return Exit.REFUSED if any(one.level is Level.BAD for one in found) else Exit.DONE


def unreachable(given: Any, out: Out, why: str) -> Exit:
    """The one finding where nobody answers."""
    advice = "is it running, and is this its address? its log, and systemctl or kubectl, say more"
    _told([Finding(Level.BAD, "unreachable", why, advice)], given, out)
    return Exit.UNREACHABLE


async def _found(client: GatewayClient) -> list[Finding]:
    workers = (await client.get_json("/workers"))["workers"]
    settings = (await client.get_json("/settings"))["settings"]
    now = time.time()
    found = [Finding(Level.OK, "reachable", f"the gateway at {client.target} answers")]
    found += findings.of_readiness(await _readiness(client))
    found += findings.of_workers(workers, now)
    found += findings.of_journal(await _recent(client), {worker["id"]: worker["name"] for worker in workers}, now)
    found += findings.of_discovery(await client.get_json("/discovery"))
    found += findings.of_tokenizers((await client.get_json("/tokenizers"))["tokenizers"], workers)
    found += await _process(client, {one["name"]: one["value"] for one in settings})
    found += surroundings.of_settings(settings)
    return found


async def _readiness(client: GatewayClient) -> str:
    """Why it is not ready; empty where it is. Raises Unreachable."""
    try:
        await client.get_json("/readiness")
    except Unreachable:
        raise
    except GatewayError as error:
        return error.message
    return ""


async def _recent(client: GatewayClient) -> list[Any]:
    last = (await client.get_json("/journal", {"limit": 1}))["seq"]
    events: list[Any] = (await client.get_json("/journal", {"after": max(0, last - RECENT), "limit": RECENT}))["events"]
    return events


async def _process(client: GatewayClient, settings: dict[str, Any]) -> list[Finding]:
    """What the gateway tells of itself; one of another version may tell less."""
    asked = time.time()
    process = await _optional(client, "/process")
    answered = time.time()
    itself = await _optional(client, "/gateway")
    found = []
    if process is not None:
        found += surroundings.of_clock(seconds_of(process["at"]), asked, answered)
        found += surroundings.of_process(process, settings)
    if itself is not None:
        found += surroundings.of_loop(itself["loop_late_ms"])
        found += surroundings.of_version(itself["version"], __version__)
    return found


async def _optional(client: GatewayClient, path: str) -> Any:
    try:
        return await client.get_json(path)
    except GatewayError as error:
        if error.status == 404:
            return None
        raise


def _told(found: list[Finding], given: Any, out: Out) -> None:
    if given.json:
        out.json([{"level": o.level.value, "about": o.about, "what": o.what, "advice": o.advice} for o in found])
        return
    for one in found:
        mark, colour = MARKS[one.level]
        out.lines([f"{out.coloured(mark, colour)}  {_line(one.what)}"])
        if one.advice:
            out.lines([f"      {one.advice}"])


def _line(text: str) -> str:
    """What engines and clusters say may hold line breaks and escape sequences."""
    return "".join(c if c.isprintable() else " " for c in text)
