"""Keeps what an operator wants to show to others: pictures of the screen, and reports. Files for their owner alone.

Drawing a picture and writing a report take tens of milliseconds, so both happen in a thread.
"""

import asyncio
import io
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rich.console import Console, RenderableType
from textual.app import App

from smg_console.places import state_directory

MOST_OF_A_SECOND = 100


class CannotKeep(Exception):
    """The file cannot be written; the message says which and why."""


async def save_picture(app: App[None], now: float, directory: Path | None = None) -> Path:
    """The screen as it is, as SVG, and as text beside it. Returns the SVG's path. Raises CannotKeep."""
    width, height = app.size
    compositor = app.screen._compositor
    update = compositor.render_update(full=True, screen_stack=app._background_screens)
    strips = compositor.render_strips(app.size)
    text = "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips) + "\n"

    def work() -> Path:
        picture = _svg(update, width, height) if update is not None else ""
        path = _write(directory or state_directory() / "screens", "screen", now, ".svg", picture)
        _put(path.with_suffix(".txt"), text)
        return path

    return await asyncio.to_thread(work)


def _svg(update: RenderableType, width: int, height: int) -> str:
    console = Console(
        width=width,
        height=height,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        record=True,
        legacy_windows=False,
        safe_box=False,
    )
    console.print(update)
    return console.export_svg(title="smg-console")


async def save_report(
    made: Callable[[], str], name: str, ending: str, now: float, directory: Path | None = None
) -> Path:
    """What `made` gives, in a file of this name. Raises CannotKeep."""
    return await asyncio.to_thread(
        lambda: _write(directory or state_directory() / "reports", name, now, ending, made())
    )


def _write(directory: Path, name: str, now: float, ending: str, text: str) -> Path:
    """A new file; none is ever overwritten."""
    when = datetime.fromtimestamp(now).astimezone().strftime("%Y%m%d-%H%M%S")
    for number in range(1, MOST_OF_A_SECOND + 1):
        more = "" if number == 1 else f"-{number}"
        path = directory / f"{name}-{when}{more}{ending}"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.exists():
                continue
            _put(path, text)
        except FileExistsError:
            continue
        except OSError as error:
            raise CannotKeep(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None
        return path
    raise CannotKeep(f"there are {MOST_OF_A_SECOND} files of that second in {directory}")


def _put(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
