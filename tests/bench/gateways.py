"""The gateways that are compared: how each is installed, started, and known to be ready.

Peers come from the package index into virtualenvs of their own, since two of them install a script of one name.
All run as they are shipped; what is set is the policy, the ports, and that nobody reaches outside.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.load import ask, chat_body, same_each_time
from tests.bench.processes import GATEWAY_CORE, Process, Workers, free_ports

OURS = "smg-console"
INSTALL_S = 600.0
SETTLE_S = 2.0
OFFLINE = {"HF_HUB_OFFLINE": "1", "NO_PROXY": "*"}

_numbers = itertools.count(1)


class Unavailable(Exception):
    """A gateway that cannot take part; the text says why in one line."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What every gateway is told."""

    urls: Sequence[str]
    policy: str
    port: int
    metrics_port: int

    @property
    def flags(self) -> list[str]:
        """As all of them spell it, SMG's way."""
        ports = ["--port", str(self.port), "--prometheus-port", str(self.metrics_port)]
        return ["--host", "127.0.0.1", *ports, "--policy", self.policy, "--worker-urls", *self.urls]


@dataclass(frozen=True, slots=True)
class Kind:
    """A gateway program. `requirement` empty: it is this checkout's, in the running interpreter."""

    name: str
    requirement: str
    command: Callable[[Path, Launch], list[str]]

    def prepared(self) -> Path:
        """The directory of its programs, installed if it was not yet. Raises Unavailable."""
        if not self.requirement:
            return Path(sys.executable).parent
        home = cache_directory(os.environ) / self.requirement
        done = home / "installed"
        if not done.exists():
            print(f"installing {self.requirement} into {home} ...", flush=True)
            shutil.rmtree(home, ignore_errors=True)
            _install(home, self.requirement)
            done.touch()
        return home / "bin"


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Where the peers' virtualenvs are kept."""
    base = environment.get("XDG_CACHE_HOME", "")
    root = Path(base) if base.startswith("/") else Path(environment.get("HOME", "/tmp")) / ".cache"
    return root / "smg-console" / "bench"


def _install(home: Path, requirement: str) -> None:
    steps = (
        [sys.executable, "-m", "venv", str(home)],
        [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", requirement],
    )
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{requirement} did not install within {INSTALL_S:g} s") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
            raise Unavailable(f"{requirement} does not install: {last}")


KINDS = {
    kind.name: kind
    for kind in (
        Kind(OURS, "", lambda _bin, launch: [sys.executable, "-m", "smg_console", "--no-ui", *launch.flags]),
        Kind(
            "smg",
            "smg==1.13.0",
            lambda bin_, launch: [str(bin_ / "smg"), "launch", *launch.flags, "--disable-tokenizer-autoload"],
        ),
        Kind("vllm-router", "vllm-router==0.1.17", lambda bin_, launch: [str(bin_ / "vllm-router"), *launch.flags]),
        Kind(
            "sglang-router",
            "sglang-router==0.3.2",
            lambda bin_, launch: [str(bin_ / "sglang-router"), "launch", *launch.flags],
        ),
    )
}
WITH_CONSOLE = Kind("with console", "", lambda _bin, launch: [sys.executable, "-m", "smg_console", *launch.flags])
PEERS = tuple(name for name in KINDS if name != OURS)


class Gateway(Process):
    """A running gateway on the gateways' core."""

    def __init__(self, kind: Kind, urls: Sequence[str], policy: str, *, terminal: int | None = None) -> None:
        launch = Launch(urls, policy, *free_ports(2))
        env = {**OFFLINE, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        super().__init__(kind.name, kind.command(kind.prepared(), launch), GATEWAY_CORE, env=env, terminal=terminal)
        self.policy = policy
        self.url = f"http://127.0.0.1:{launch.port}"
        self.metrics_url = f"http://127.0.0.1:{launch.metrics_port}/metrics"

    def ready(self, workers: Workers, timeout_s: float) -> None:
        """Wait until it serves with every worker. Raises Unavailable with the gateway's last words.

        Where the policy gives each worker its turn, all of them must have got a request; else it is enough that
        different prompts are answered, once the gateway had time to register both.
        """
        deadline = time.monotonic() + timeout_s
        before = workers_hit(workers)
        missing, pause_s = len(workers.ports), 0.05
        while missing:
            if self.returncode is not None:
                raise Unavailable(f"{self.name} ended with exit code {self.returncode}: {_last_line(self.output())}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.name}: {missing} of {len(workers.ports)} workers got no request in time")
            try:
                for _ in range(max(8, missing)):
                    ask(self.url, same_each_time(chat_body(1024, text=f"{next(_numbers)} ")))
                after = workers_hit(workers)
            except (OSError, ValueError):
                time.sleep(pause_s)
                pause_s = min(1.0, pause_s * 1.5)
                continue
            missing = sum(after[port] == before[port] for port in after)
            if self.policy != "round_robin" and missing < len(after):
                time.sleep(SETTLE_S)
                return


def workers_hit(workers: Workers) -> dict[str, int]:
    """Chat requests that each port got so far."""
    with urllib.request.urlopen(f"{workers.urls[0]}/_bench/hits", timeout=10) as answer:
        found: dict[str, int] = json.load(answer)
        return found


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it wrote nothing")
