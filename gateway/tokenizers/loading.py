"""Fetching and building a tokenizer away from the loop: in threads of their own, with progress and cancellation.

A try that failed for the moment (the network, a hub that is overloaded) is made again. The `tokenizers` library
holds the interpreter lock while it builds a tokenizer, 20 to 40 ms a MB of its file; everything else here lets go.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from threading import Event

from gateway.errors import GatewayError
from gateway.tokenizers.errors import SourceUnusable
from gateway.tokenizers.hub import HubSettings, fetch, is_repository
from gateway.tokenizers.model import Model, built
from gateway.tokenizers.places import FromWorker, Named, Place
from gateway.tokenizers.sources import MAX_ARCHIVE, ModelFiles, looked_at, read_archive, read_path, with_template

TRIES = 3
PAUSE_S = 2.0
TRY_S = 300.0
NOT_IMPLEMENTED = 501

Say = Callable[[str], None]
"""Hears what is under way, from any thread."""


class Stopped(Exception):
    """Nobody waits for it any more."""


async def load(place: Place, pool: Executor, say: Say, hub: HubSettings | None = None) -> Model:
    """The tokenizer of a place. Raises SourceUnusable. A cancelled load's thread ends at its next report."""
    hub = hub or HubSettings()
    for number in range(1, TRIES + 1):
        try:
            async with asyncio.timeout(TRY_S):
                return await _tried(place, pool, say, hub)
        except TimeoutError:
            error = SourceUnusable(f"{place}: it took longer than {TRY_S:g} seconds", temporary=True)
        except SourceUnusable as refused:
            error = refused
        if not error.temporary or number == TRIES:
            raise error
        say(f"try {number} of {TRIES} failed: {error.message}")
        await asyncio.sleep(PAUSE_S)
    raise AssertionError("unreachable: the last try returns or raises")


async def _tried(place: Place, pool: Executor, say: Say, hub: HubSettings) -> Model:
    stop = Event()

    def report(text: str) -> None:
        if stop.is_set():
            raise Stopped
        say(text)

    loop = asyncio.get_running_loop()
    try:
        if isinstance(place, Named):
            return await loop.run_in_executor(pool, partial(_from_name, place, hub, report))
        data = await _collected(place, say)
        return await loop.run_in_executor(pool, partial(_from_archive, place, data, report))
    finally:
        stop.set()


async def _collected(place: FromWorker, say: Say) -> bytes:
    """The whole archive a worker sends. Raises SourceUnusable."""
    parts, size = [], 0
    try:
        async with aclosing(place.archive()) as pieces:
            async for part in pieces:
                parts.append(part)
                size += len(part)
                if size > MAX_ARCHIVE:
                    raise SourceUnusable(f"{place}: the archive it sends is larger than {MAX_ARCHIVE} bytes")
                say(f"{size / 1e6:.1f} MB from {place}")
    except SourceUnusable:
        raise
    except GatewayError as error:
        heals = error.status >= 500 and error.status != NOT_IMPLEMENTED
        raise SourceUnusable(f"{place}: it did not send its tokenizer: {error.message}", temporary=heals) from None
    except OSError as error:
        raise SourceUnusable(f"{place}: it did not send its tokenizer: {error}", temporary=True) from None
    return b"".join(parts)


def _from_archive(place: FromWorker, data: bytes, report: Say) -> Model:
    report("reading the archive")
    return _built(read_archive(data, place.sha256, str(place)), place.template, report)


def _from_name(place: Named, hub: HubSettings, report: Say) -> Model:
    path = Path(place.text).expanduser()
    report(f"looking at {place.text}")
    if not _is_here(place):
        path = fetch(place.text, hub, report)
    report(f"reading {path}")
    return _built(read_path(path), place.template, report)


def _built(files: ModelFiles, template: Path | None, report: Say) -> Model:
    if template is not None:
        files = with_template(files, template)
    report("building")
    return built(files)


def _is_here(place: Named) -> bool:
    """Whether a name means a path. Raises SourceUnusable where it can mean nothing."""
    if place.is_path or Path(place.text).exists():
        return True
    if is_repository(place.text):
        return False
    raise SourceUnusable(f"{place}: neither a file or directory here nor the id of a HuggingFace repository")


def look(place: Named) -> None:
    """What can be told at once of a place here: that it is there, and that its files are what they are called.

    Blocking, some milliseconds. Raises SourceUnusable. Says nothing of what the hub has.
    """
    if _is_here(place):
        looked_at(Path(place.text).expanduser(), place.template)
