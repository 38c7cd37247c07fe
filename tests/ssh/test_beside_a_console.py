"""A console in the gateway's own terminal and one over SSH, in one process: each as its terminal is."""

import re
import sys
from pathlib import Path

from tests.ssh.world import SshWorld, until
from tests.terminal.tmux import Terminal

READY = "● ready        w1"


class LocalWorld(SshWorld):
    """A gateway whose console is in a terminal of its own, of 16 colours."""

    def started(self) -> Terminal:
        command = [sys.executable, "-m", "smg_console", "--host", "127.0.0.1", "--port", "0", "--prometheus-port", "0"]
        command += ["--ssh-port", "0", "--ssh-authorized-keys", str(self.authorized)]
        command += ["--ssh-host-key", str(self.host_key), *self._options]
        return Terminal(["bash", "-c", f"{' '.join(command)}; echo ended with $?; sleep 60"], term="xterm")


def test_they_do_not_mix_and_quitting_the_local_one_ends_both(tmp_path: Path, engine: str) -> None:
    world = LocalWorld(tmp_path, "--worker-urls", engine, ann="operator")
    with world.started() as local:
        local.wait_for(READY)
        found = until(lambda: re.search(r"SSH on 127\.0\.0\.1:(\d+)", local.screen()), "the SSH server's port")
        world.port = found[1]
        with world.terminal("ann", "-o", "SetEnv=COLORTERM=truecolor") as far:
            far.wait_for(READY, "2 here")
            local.wait_for("2 here")
            for terminal in (local, far, local, far):
                terminal.press("?")
                terminal.wait_for("Acts on the worker")
                terminal.press("Escape")
                terminal.wait_for(READY)
            assert re.search(r"38;2;", far.coloured()), "fewer colours than it has"
            assert not re.search(r"[34]8;[25];", local.coloured()), "more colours than it has"
            far.press("q")
            far.wait_for("ended with 0")
        local.wait(lambda screen: "2 here" not in screen, "him to be alone")
        with world.terminal("ann") as far:
            far.wait_for(READY)
            local.press("q")
            local.wait_for("ended with 0")
            far.wait_for("the gateway has stopped", "ended with")
