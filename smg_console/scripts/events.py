"""`events`: the journal in lines, and with `-f` what happens from now on, over lost connections and restarts."""

import time
from typing import Any

from smg_console.client import GatewayClient
from smg_console.scripts import choose, options, workers
from smg_console.scripts.exits import Exit
from smg_console.scripts.out import Out
from smg_console.scripts.waiting import seconds_of

Event = dict[str, Any]


async def told(client: GatewayClient, given: Any, out: Out) -> Exit:
    """Oldest first. Following ends with Ctrl+C only."""
    most = options.whole(given.most, "--most", 0, 10_000)
    since = time.time() - options.duration(given.since, "--since") if given.since else None
    names = {worker["id"]: worker["name"] for worker in await workers.fetched(client)}
    only = None
    if given.worker:
        only = choose.by_name(await workers.fetched(client), given.worker)["id"]
    journal = await client.get_json("/journal", {"after": 0, "limit": 10_000})

    def fits(event: Event) -> bool:
        if event["event"] == "worker_registered":
            names[event["worker"]] = event["data"]["name"]
        return (
            (only is None or event["worker"] == only)
            and (not given.kind or given.kind in event["event"])
            and (since is None or seconds_of(event["at"]) >= since)
        )

    def say(event: Event) -> None:
        out.json(event) if given.json else out.lines([line(event, names.get(event["worker"], "gateway"))])

    past = [event for event in journal["events"] if fits(event)]
    for event in past[len(past) - most if most < len(past) else 0 :]:
        say(event)
    if given.follow:
        await _follow(client, journal["seq"], fits, say)
    return Exit.DONE


async def _follow(client: GatewayClient, seq: int, fits: Any, say: Any) -> None:
    """Events after a number. A snapshot, which comes first and after a restart, tells only where one is."""
    first = True
    async for message in client.follow():
        if message.name == "snapshot":
            if first:
                missed = await client.get_json("/journal", {"after": seq, "limit": 10_000})
                for event in missed["events"]:
                    if fits(event) and event["seq"] <= message.data["seq"]:
                        say(event)
            first = False
        elif message.name != "meters" and isinstance(message.data, dict) and "event" in message.data:
            event = {key: value for key, value in message.data.items() if key != "facts"}
            if fits(event):
                say(event)


def line(event: Event, worker: str) -> str:
    """An event for people: when, whose, what, why, by whom."""
    data = event["data"]
    what = event["event"].removeprefix("worker_").replace("_", " ")
    if "old" in data and "new" in data:
        what = f"{data['old'] or '-'} -> {data['new']}"
    why = data.get("reason") or data.get("text") or ""
    if "topic" in data:
        what = data["topic"]
    text = f"{event['at']}  {worker:<8}  {what}{f': {why}' if why else ''}  ({event['actor']})"
    return "".join(c if c.isprintable() else " " for c in text)
