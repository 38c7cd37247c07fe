"""Draw the console to an SVG file: `python -m tests.console.picture 120x40 midnight out.svg [keys …]`."""

import asyncio
import sys
from pathlib import Path

from smg_console.app import ConsoleApp
from tests.console.fleet import busy_fleet


async def drawn(size: str, theme: str, *keys: str) -> str:
    """The SVG text of a busy fleet's console after some keys."""
    columns, rows = map(int, size.split("x"))
    ascii_only = theme.endswith("+ascii")
    app = ConsoleApp(busy_fleet().plane, theme=theme.removesuffix("+ascii"), ascii_only=ascii_only)
    async with app.run_test(size=(columns, rows)) as pilot:
        await pilot.pause(0.4)
        await pilot.press(*keys)
        await pilot.pause(0.4)
        return app.export_screenshot(title="smg-console")


def main(size: str, theme: str, out: str, *keys: str) -> None:
    Path(out).write_text(asyncio.run(drawn(size, theme, *keys)), encoding="utf-8")


if __name__ == "__main__":
    import tests.conftest  # noqa: F401 - sets the time zone

    main(*sys.argv[1:])
