"""`loads` and `top`: what engines say of their load, and a table of the fleet that renews itself in a terminal."""

import asyncio
import time
from typing import Any

from smg_console.client import GatewayClient
from smg_console.present import numbers
from smg_console.scripts import choose, options, workers
from smg_console.scripts.exits import Exit
from smg_console.scripts.out import Out
from smg_console.scripts.table import table

HOME, BELOW = "\x1b[H", "\x1b[J"
LINE_END = "\x1b[K\n"


async def loads(client: GatewayClient, given: Any, out: Out) -> Exit:
    """What each engine reported last; a dash for what it does not say."""
    found = await workers.fetched(client)
    if given.json:
        out.json(await client.get_json("/get_loads"))
        return Exit.DONE
    rows = [
        (
            worker["name"],
            worker["url"],
            worker["model_id"] or "-",
            str(worker["in_flight"]),
            numbers.count(worker["queue_depth"]),
            numbers.percent(worker["kv_usage"]),
            numbers.rate(worker["requests_per_s"]),
            numbers.duration(_seconds(worker["ttft_ms"]["p50"])),
        )
        for worker in found
    ]
    titles = ("worker", "*url", "*model", ">in flight", ">queue", ">kv", ">req/s", ">first byte")
    out.lines(table(titles, rows, out.width))
    return Exit.DONE


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000


async def top(client: GatewayClient, given: Any, out: Out) -> Exit:
    """The busiest workers first. Into a pipe, or with --once, a single table."""
    pause_s = max(0.2, options.duration(given.every, "--every"))
    wanted = options.filter_of(given)
    if given.json:
        out.json([worker for worker in await workers.fetched(client) if choose.fits(worker, wanted)])
        return Exit.DONE
    once = given.once or out.width is None
    if not once:
        out.write("\x1b[2J")
    while True:
        found = [worker for worker in await workers.fetched(client) if choose.fits(worker, wanted)]
        lines = page(found, out, time.time())
        if once:
            out.lines(lines)
            return Exit.DONE
        out.write(HOME + LINE_END.join([*lines, ""]) + BELOW)
        await asyncio.sleep(pause_s)


def page(found: list[choose.Worker], out: Out, now: float) -> list[str]:
    """The fleet in a line, and a table of its workers."""
    ordered = sorted(found, key=lambda worker: (-worker["requests_per_s"], -worker["in_flight"], worker["name"]))
    ready = sum(worker["routable"] for worker in found)
    per_s = numbers.rate(sum(worker["requests_per_s"] for worker in found))
    errors = numbers.rate(sum(worker["errors_per_s"] for worker in found))
    flying = sum(worker["in_flight"] for worker in found)
    head = f"{ready} of {len(found)} routable   {per_s} req/s   {errors} err/s   {flying} in flight"
    return [out.coloured(head, "bold"), "", *workers.lines_of(ordered, out, now, wide=False)]
