"""The console in a real terminal over a cluster: an API server on a socket, and the view of what is seen of it."""

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kube.pods import pod
from tests.kube.server import Server
from tests.terminal.tmux import Terminal

CONSOLE = [sys.executable, "-m", "smg_console", "--host", "127.0.0.1", "--port", "0", "--prometheus-port", "0"]
DISCOVERY = ["--service-discovery", "--selector", "app=sglang", "--service-discovery-namespace", "llm"]


@contextmanager
def api_server(server: Server) -> Iterator[asyncio.AbstractEventLoop]:
    """The server in a thread of its own: the terminal's tests wait without a loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def kubeconfig(folder: Path, url: str) -> str:
    file = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    return str(file)


def test_s_shows_a_skipped_pod_with_its_reason_and_the_strip_a_dead_api_server(tmp_path: Path) -> None:
    server = Server()
    server.cluster.create(pod("engine-0"), "llm")  # no node has given it an address yet
    with api_server(server) as loop:
        command = [*CONSOLE, *DISCOVERY, "--kubeconfig", kubeconfig(tmp_path, server.url)]
        with Terminal(command, columns=80, rows=24) as terminal:
            terminal.wait_for("No workers yet")
            terminal.press("s")
            terminal.wait_for("Service discovery", "sees every change", "matched 1", "skipped 1", "llm/engine-0  ")
            assert "pod IP" in terminal.screen() or "Pending" in terminal.screen()
            terminal.press("Escape")
            terminal.wait(lambda screen: "Fleet" in screen and "discovery is blind" not in screen, "the main screen")
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
            terminal.wait_for("discovery is blind since", "s shows it")
            terminal.press("s")
            terminal.wait_for("blind  since", "why")
            asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
            terminal.wait_for("sees every change", timeout_s=40)
            terminal.press("Escape")
            terminal.wait(lambda screen: "Fleet" in screen and "discovery is blind" not in screen, "no strip")
            terminal.press("q")
            assert terminal.wait_exit() == 0
