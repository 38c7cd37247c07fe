"""Keys and sizes from an SSH client: parsed in slices, held back when there are too many, and never kept for good."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from textual import events

from gateway.access import AccessRole
from smg_console.ssh import driver
from smg_console.ssh.console import SshConsole
from smg_console.ssh.terminal import Terminal
from smg_console.ssh.wire import Nowhere
from tests.console.fleet import Fleet
from tests.integration.fleet import until


class Screen(Nowhere):
    """A `Line` that keeps what was written."""

    def __init__(self) -> None:
        self.got = b""

    def write(self, data: bytes) -> None:
        self.got += data


class Console(SshConsole):
    """Notes the keys and pastes that reach it."""

    def __init__(self, fleet: Fleet, line: Screen, term: str = "xterm-256color") -> None:
        self.heard: list[str] = []
        self.drawn = asyncio.Event()
        super().__init__(
            fleet.plane,
            line,
            Terminal(term, (80, 24), {"TERM": term}),
            AccessRole.ADMIN,
            theme=None,
            ascii_only=False,
            log_ring=None,
            drawn=self.drawn.set,
            pencil=asyncio.Lock(),
        )

    async def on_event(self, event: events.Event) -> None:
        if event.is_forwarded:  # it was heard when it came
            pass
        elif isinstance(event, events.Key):
            self.heard.append(event.key)
        elif isinstance(event, events.Paste):
            self.heard.append(f"paste {len(event.text)}")
        await super().on_event(event)

    async def hears(self, wanted: list[str]) -> None:
        async def check() -> bool:
            return self.heard == wanted

        await until(check, f"{wanted}, heard {self.heard}", 5)


@asynccontextmanager
async def running(console: Console) -> AsyncIterator[driver.SshDriver]:
    task = asyncio.create_task(console.run_async())  # noqa: TID251 - a test's own
    try:
        await asyncio.wait_for(console.drawn.wait(), 10)
        assert console.driver is not None
        yield console.driver
    finally:
        console.exit()
        await asyncio.wait_for(task, 10)


async def test_keys_in_any_pieces_are_the_same_keys(fleet: Fleet) -> None:
    console = Console(fleet, Screen())
    async with running(console) as screen:
        for byte in "j\x1b[B\x1b[1;5Cü".encode():
            screen.fed(bytes([byte]))
        await console.hears(["j", "down", "ctrl+right", "ü"])


async def test_a_lone_escape_is_one_even_right_after_another_key(fleet: Fleet) -> None:
    console = Console(fleet, Screen())
    async with running(console) as screen:
        screen.fed(b"j")
        await console.hears(["j"])
        screen.fed(b"\x1b")
        await console.hears(["j", "escape"])


async def test_a_paste_without_an_end_is_given_up_and_keys_work_again(fleet: Fleet) -> None:
    console = Console(fleet, Screen())
    async with running(console) as screen:
        screen.fed(b"\x1b[200~hello\x1b[201~")
        await console.hears(["paste 5"])
        screen.fed(b"\x1b[200~" + b"x" * (driver.MOST_UNFINISHED + driver.SLICE))

        async def parsed() -> bool:
            return not screen.waiting

        await until(parsed, "all of it to be parsed")
        screen.fed(b"k")

        async def heard() -> bool:
            return console.heard[-1] == "k"

        await until(heard, "the key after it")


async def test_a_flood_of_keys_lets_the_loop_go_and_waits_for_the_console(fleet: Fleet) -> None:
    console = Console(fleet, Screen())
    async with running(console) as screen:
        loop = asyncio.get_running_loop()
        worst, ticking = 0.0, True

        def tick(wanted: float) -> None:
            nonlocal worst
            worst = max(worst, loop.time() - wanted)
            if ticking:
                loop.call_at(loop.time() + 0.005, tick, loop.time() + 0.005)

        tick(loop.time())
        screen.fed(b"j" * 2000)
        assert screen.waiting == 2000

        async def heard() -> bool:
            return len(console.heard) >= 2000

        await until(heard, "all keys")
        ticking = False
        assert worst < 0.15, f"the loop was held for {worst:.3f} s"


async def test_the_terminal_is_given_back_as_it_was_found(fleet: Fleet) -> None:
    for term, asked in (("xterm-256color", True), ("linux", False)):
        line = Screen()
        async with running(Console(fleet, line, term)):
            pass
        assert line.got.startswith(b"\x1b[?1049h")
        for mode in (b"?1000", b"?1002", b"?1006", b"?2004", b"?1004"):
            assert (mode + b"h" in line.got) == asked
            assert (mode + b"l" in line.got) == asked
        assert line.got.endswith(b"\x1b[?7h\x1b[0m\x1b[?1049l\x1b[?25h")
