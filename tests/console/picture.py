"""Draw the console to an SVG file: `python -m tests.console.picture 120x40 midnight out.svg [keys …]`.

The fleet is that of the snapshot tests; `fleet=14` (or 1000, or 0) among the keys takes a bigger one, or none, and
`fleet=day` one with a day of history. Those of the README are `fleet=14`, `fleet=day enter`, and `fleet=day h`.
"""

import asyncio
import sys
from pathlib import Path

from smg_console.app import ConsoleApp
from tests.console.day import day_fleet
from tests.console.fleet import Fleet, busy_fleet
from tests.console.night import night_fleet


async def fleet_of(name: str) -> Fleet:
    """The fleet that is called so, or has so many workers."""
    if name.isdigit():
        return await night_fleet(int(name)) if int(name) else Fleet()
    return day_fleet() if name == "day" else busy_fleet()


async def drawn(size: str, theme: str, named: str, *keys: str) -> str:
    """The SVG text of a fleet's console after some keys."""
    columns, rows = map(int, size.split("x"))
    ascii_only = theme.endswith("+ascii")
    fleet = await fleet_of(named)
    app = ConsoleApp(fleet.plane, theme=theme.removesuffix("+ascii"), ascii_only=ascii_only)
    async with app.run_test(size=(columns, rows), notifications=True) as pilot:
        await pilot.pause(0.4)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.1)
        await app.frame()
        await pilot.pause(0.2)
        return app.export_screenshot(title="smg-console")


def main(size: str, theme: str, out: str, *keys: str) -> None:
    """Draw and write."""
    named = next((key.removeprefix("fleet=") for key in keys if key.startswith("fleet=")), "")
    rest = [key for key in keys if not key.startswith("fleet=")]
    Path(out).write_text(asyncio.run(drawn(size, theme, named, *rest)), encoding="utf-8")


if __name__ == "__main__":
    import tests.conftest  # noqa: F401 - sets the time zone

    main(*sys.argv[1:])
