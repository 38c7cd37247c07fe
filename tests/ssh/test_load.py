"""Many sessions, slow ones, and ones that are killed: the gateway serves on, and nothing of them is left."""

import os
import random
import re
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from tests.ssh.world import SshWorld, kill, until
from tests.terminal.test_terminal import children_of

SESSIONS = 20
READY = "● ready        w1"


class Screen:
    """A client under a pseudo-terminal of its own that reads all the time, and may be told to read no more."""

    def __init__(self, world: SshWorld, key: str = "ann", columns: int = 120, rows: int = 40) -> None:
        self.got = bytearray()
        size = f"stty rows {rows} cols {columns}; exec "
        line = " ".join(f"'{word}'" for word in world.command(key, "-tt"))
        master, slave = os.openpty()
        self._master = master
        self.process = subprocess.Popen(
            ["bash", "-c", size + line],
            stdin=slave,
            stdout=slave,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            if not data:
                return
            self.got += data

    def shows(self, text: str) -> bool:
        plain = re.sub(rb"\x1b\[[0-9;?$<>]*[a-zA-Z]", b"", bytes(self.got))
        return text.encode() in plain

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self._reader.join(0.5)
        os.close(self._master)


def lateness_s(world: SshWorld) -> float:
    """How late the gateway's loop was at worst within the last second or two."""
    metrics = world.logged("gateway_listening")["metrics_address"]
    with urllib.request.urlopen(f"{metrics}/metrics", timeout=10) as answer:
        found = re.search(r"^smg_loop_lateness_seconds (\S+)", answer.read().decode(), re.MULTILINE)
    assert found
    return float(found[1])


def test_twenty_sessions_at_once_are_all_drawn_and_one_more_than_may_be_is_refused(tmp_path: Path, engine: str) -> None:
    options = ("--worker-urls", engine, "--ssh-max-sessions", str(SESSIONS))
    with SshWorld(tmp_path, *options, ann="operator") as world:
        assert world.run("ann", "-T").returncode == 126  # so that all of them know the host
        screens = [Screen(world) for _ in range(SESSIONS)]
        try:
            until(lambda: all(screen.shows("ready        w1") for screen in screens), "twenty consoles", 40)
            assert len(world.log("ssh_login")) == SESSIONS + 1
            refused = world.run("ann", "-T", "-o", "LogLevel=INFO")
            assert refused.returncode == 255
            assert "too many sessions are open here" in refused.stderr
            screens[0].type("c")
            until(lambda: screens[0].shows("Type w1 to go on"), "the question", 20)
            screens[0].type("w1\r")
            until(lambda: all(screen.shows("cordoned     w1") for screen in screens), "one's act on all screens", 20)
            assert world.worker("w1")["cordoned"]
            for screen in screens[:5]:
                screen.type("q")
                assert screen.process.wait(10) == 0
            until(lambda: world.run("ann", "-T").returncode == 126, "room for another one")
        finally:
            for screen in screens:
                screen.close()
        until(lambda: len(world.log("ssh_logout")) >= len(world.log("ssh_login")), "the end of all")


def test_a_client_that_does_not_read_is_left_behind_and_gets_a_whole_screen_when_it_reads(
    tmp_path: Path, engine: str
) -> None:
    with (
        SshWorld(tmp_path, "--worker-urls", engine, ann="operator") as world,
        world.terminal("ann", columns=200, rows=60) as terminal,
    ):
        terminal.wait_for(READY)
        (client,) = children_of(terminal.process())
        kill(client, signal.SIGSTOP)
        until(lambda: lateness_s(world) < 0.05, "the end of what starting cost")
        before = world.resident_kb()
        with world.terminal("ann", columns=200, rows=60) as other:  # makes work that both are shown
            other.wait_for(READY)
            for number in range(12):
                if number % 2 == 0:
                    other.cordon_last("w1")
                    other.wait_for("⊘ cordoned     w1")
                else:
                    other.press("c")
                    other.wait_for(READY)
            assert world.resident_kb() - before < 20_000
        assert lateness_s(world) < 0.1
        kill(client, signal.SIGCONT)
        terminal.wait_for(READY, "Fleet: 1 worker")
        terminal.cordon_last("w1")
        terminal.wait_for("⊘ cordoned     w1")


def test_a_client_that_is_gone_without_a_word_is_dropped(tmp_path: Path) -> None:
    options = ("--ssh-keepalive-secs", "0.3")
    with SshWorld(tmp_path, *options, ann="operator") as world, world.terminal("ann") as terminal:
        terminal.wait_for("No workers yet")
        (client,) = children_of(terminal.process())
        kill(client, signal.SIGSTOP)
        gone = world.logged("ssh_logout")
        assert gone["why"] == "Client not responding to keepalive"
        until(lambda: "ssh:ops@ann-laptop: console closed" in world.notes(), "the session's end")
        kill(client, signal.SIGKILL)


def test_who_knocks_and_never_logs_in_is_shown_out_and_keeps_nobody_from_it(tmp_path: Path) -> None:
    options = ("--ssh-login-timeout-secs", "1", "--ssh-max-unauthenticated", "2")
    with SshWorld(tmp_path, *options, ann="operator") as world:
        knock = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{world.port}; cat <&3 >/dev/null"]
        knocking = [subprocess.Popen(knock) for _ in range(3)]
        try:
            world.logged("ssh_refused", why="too many connections that have not logged in")
            for process in knocking:
                process.wait(10)
            assert world.run("ann", "-T").returncode == 126
        finally:
            for process in knocking:
                if process.poll() is None:
                    process.kill()
                    process.wait(10)


def test_clients_killed_at_any_moment_leave_no_session_and_no_memory(tmp_path: Path, engine: str) -> None:
    chance = random.Random(11)
    with SshWorld(tmp_path, "--worker-urls", engine, ann="operator") as world:
        assert world.run("ann", "-T").returncode == 126

        def round_of_deaths() -> None:
            screens = [Screen(world) for _ in range(8)]
            try:
                for screen in screens:
                    time.sleep(chance.uniform(0, 0.15))  # whatever it is doing: greeting, login, first frame, drawing
                    screen.process.kill()
            finally:
                for screen in screens:
                    screen.close()

        for _ in range(2):
            round_of_deaths()
        until(lambda: len(world.log("ssh_logout")) == len(world.log("ssh_login")), "the end of all")
        first = world.resident_kb()
        for _ in range(4):
            round_of_deaths()
        until(lambda: len(world.log("ssh_logout")) == len(world.log("ssh_login")), "the end of all")
        opened = [note for note in world.notes() if "console opened" in note]
        until(
            lambda: len([note for note in world.notes() if "console closed" in note]) == len(opened),
            "the end of all sessions",
        )
        assert world.log("task_crashed") == []
        assert world.log("ssh_console_crashed") == []
        assert world.resident_kb() - first < 12_000
        with world.terminal("ann") as terminal:
            terminal.wait_for(READY)
