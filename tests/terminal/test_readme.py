"""Every command of the README is run, on ports that are free here."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ci.readme_commands import README, commands
from tests.terminal.tmux import Terminal

COMMANDS = commands()
ROOT = README.parent


def free_ports(count: int) -> list[str]:
    """Different ports: all are held until the last one is known, or the same might be given twice."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [str(probe.getsockname()[1]) for probe in probes]


MOVED = ("8000", "8001", "8002", "30000", "29000")
PORTS = dict(zip(MOVED, free_ports(len(MOVED)), strict=True))


def here(command: str) -> str:
    """The command on ports that are free here; curl fails on an error status."""
    command = re.sub(r"127\.0\.0\.1:(\d+)", lambda found: f"127.0.0.1:{PORTS[found[1]]}", command)
    return f'set -euo pipefail\ncurl() {{ command curl --fail-with-body "$@"; }}\n{command}'


def environment() -> dict[str, str]:
    """A PATH on which `smg-console` is the one of this Python."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def gateway() -> Iterator[subprocess.Popen[bytes]]:
    """The README's `serve`, before engines on the ports it names."""
    engines = [
        subprocess.Popen(
            [sys.executable, "-m", "gateway.simulator", "--port", PORTS[port], "--instant"], stdout=subprocess.DEVNULL
        )
        for port in ("8000", "8001", "8002")
    ]
    # As a service runs it: no terminal, so it goes headless by itself. Its ports are moved by the environment.
    moved = {"SMG_CONSOLE_PORT": PORTS["30000"], "SMG_CONSOLE_PROMETHEUS_PORT": PORTS["29000"]}
    process = subprocess.Popen(
        ["bash", "-c", f"exec {here(COMMANDS['serve']).splitlines()[-1]}"],
        env={**environment(), **moved},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_ready()
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    for engine in engines:
        engine.terminate()
        engine.wait(10)


def wait_ready() -> None:
    """Wait until two workers are ready."""
    until = time.monotonic() + 20
    while True:
        done = subprocess.run(
            ["curl", "-s", f"http://127.0.0.1:{PORTS['30000']}/readiness"], capture_output=True, check=False
        )
        if done.returncode == 0 and json.loads(done.stdout).get("healthy_workers") == 2:
            return
        assert time.monotonic() < until, done.stdout
        time.sleep(0.1)


def test_curl_is_there() -> None:
    assert shutil.which("curl"), "the README's commands need curl"


@pytest.mark.parametrize("name", ["ask", "api", "explain"])
def test_the_commands_over_http_work_as_written(gateway: subprocess.Popen[bytes], name: str) -> None:
    done = subprocess.run(
        ["bash", "-c", here(COMMANDS[name])], capture_output=True, text=True, check=False, timeout=30, env=environment()
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    wanted = {"ask": '"chat.completion"', "api": "smg_worker_health", "explain": "cache_aware"}[name]
    assert wanted in done.stdout


def test_the_demo_command_opens_the_console() -> None:
    install, _, demo = COMMANDS["demo"].partition(" && ")
    assert install == "pip install ."
    moved = {"SMG_CONSOLE_PORT": free_ports(1)[0], "SMG_CONSOLE_PROMETHEUS_PORT": "0", "PATH": environment()["PATH"]}
    with Terminal(["bash", "-c", demo], environment=moved) as terminal:
        terminal.wait_for("Fleet: 4 workers", "● ready        w1")


def test_every_marked_command_is_run_somewhere() -> None:
    assert set(COMMANDS) == {"demo", "test", "serve", "ask", "api", "explain"}  # CI runs `test`


def test_the_readme_shows_three_pictures_that_are_there() -> None:
    paths = re.findall(r"!\[[^]]*]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert len(paths) == 3
    for path in paths:
        assert (ROOT / path).is_file()
