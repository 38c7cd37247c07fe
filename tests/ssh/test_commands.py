"""The script commands over SSH: what they do and say, in whose name, and what a role or a word may not do."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.ssh.world import SshWorld, until
from tests.terminal.tmux import Terminal


@pytest.fixture
def world(tmp_path: Path, engine: str) -> SshWorld:
    socket = tmp_path / "control.sock"
    options = ("--worker-urls", engine, "--control-socket", str(socket))
    return SshWorld(tmp_path, *options, ann="operator", vic="viewer")


def ready(world: SshWorld) -> None:
    until(lambda: world.get("/workers")["workers"] and world.worker("w1")["state"] == "ready", "the worker")


def test_a_drain_is_a_step_of_a_script_in_its_owners_name(world: SshWorld) -> None:
    with world:
        ready(world)
        done = world.run("ann", then=["smg-console", "workers", "drain", "w1", "--wait"])
        assert (done.returncode, done.stderr) == (0, "")
        assert "w1" in done.stdout
        assert world.worker("w1")["state"] == "draining"
        moves = [move for move in world.get("/workers/w1/history")["transitions"] if move["to"] == "draining"]
        assert moves[-1]["who"] == "ssh:ops@ann-laptop"
        assert world.run("ann", then=["workers", "resume", "w1"]).returncode == 0
        assert world.worker("w1")["state"] == "ready"
        assert "ssh:ops@ann-laptop: command opened from 127.0.0.1 as operator" in world.notes()


def test_a_viewer_reads_and_may_not_act(world: SshWorld) -> None:
    with world:
        ready(world)
        listed = world.run("vic", then=["workers", "list", "--json"])
        assert listed.returncode == 0
        assert [worker["name"] for worker in json.loads(listed.stdout)] == ["w1"]
        refused = world.run("vic", then=["workers", "drain", "w1"])
        assert refused.returncode == 1
        assert refused.stderr == "smg-console: your key's role is viewer; acting on workers takes operator\n"
        assert world.worker("w1")["state"] == "ready"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rm -rf /", "over SSH there are the commands workers, events, loads, top, doctor; 'rm' is none of them"),
        ("smg-console", "there is none"),
        ("smg-console run --port 0", "'run' is none of them"),
        ("completion bash", "'completion' is none of them"),
        ("workers list --gateway http://127.0.0.1:9", "--gateway: not over SSH"),
        ("workers list --api-key-file=/etc/shadow", "--api-key-file: not over SSH"),
        ("workers 'list", "cannot be read as words: no closing quotation"),
        ("workers lst", "workers: unknown command 'lst'"),
        ("workers list; touch /tmp/never", "workers: unknown command 'list;'"),
    ],
)
def test_there_is_no_shell_and_nothing_but_these_commands(line: str, said: str, world: SshWorld) -> None:
    with world:
        done = world.run("ann", then=[line])
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_a_gateway_without_its_socket_says_what_commands_need(tmp_path: Path) -> None:
    with SshWorld(tmp_path, "--control-socket", "none", ann="operator") as world:
        done = world.run("ann", then=["workers", "list"])
        assert done.returncode == 3
        assert "need the control socket" in done.stderr


def test_a_client_that_leaves_ends_its_command(world: SshWorld) -> None:
    with world:
        ready(world)
        command = [*world.command("ann"), "events", "--follow"]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        try:
            until(lambda: "ssh:ops@ann-laptop: command opened from 127.0.0.1 as operator" in world.notes(), "it")
        finally:
            client.kill()
            client.wait(10)
            assert client.stdout is not None
            client.stdout.close()
        until(lambda: "ssh:ops@ann-laptop: command closed" in world.notes(), "the command's end")


def test_in_a_terminal_a_command_has_its_width_and_ctrl_c_ends_it(world: SshWorld) -> None:
    with world:
        ready(world)
        line = " ".join(f"'{word}'" for word in [*world.command("ann", "-t"), "top", "--every", "1s"])
        with Terminal(["bash", "-c", f"{line}; echo ended with $?; sleep 60"], columns=80, rows=24) as terminal:
            screen = terminal.wait_for("1 of 1 routable", "w1")
            assert max(map(len, screen.splitlines())) <= 80
            terminal.press("C-c")
            terminal.wait_for("ended with 130")
