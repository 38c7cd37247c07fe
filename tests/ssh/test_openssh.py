"""OpenSSH's client against the built-in server: who gets in, what may be opened, and what a role may do."""

import re
import signal
from pathlib import Path

import pytest

from tests.ssh.world import SshWorld, kill, until
from tests.terminal.test_terminal import children_of

READY = "● ready        w1"


def test_the_console_is_drawn_and_a_worker_drained_by_key_in_its_owners_name(tmp_path: Path, engine: str) -> None:
    with SshWorld(tmp_path, "--worker-urls", engine, ann="operator") as world, world.terminal("ann") as terminal:
        terminal.wait_for("Fleet: 1 worker", READY)
        terminal.press("d")
        terminal.wait_for("Drain w1?", "LAST worker")
        terminal.type("w1")
        terminal.press("Enter")
        until(lambda: world.worker("w1")["state"] == "draining", "the drain")
        moves = [e for e in world.get("/workers/w1/history")["transitions"] if e["to"] == "draining"]
        assert moves[-1]["who"] == "ssh:ops@ann-laptop"
        terminal.press("q")
        screen = terminal.wait_for("ended with 0", "speed")
        assert "Fleet" not in screen, "the alternate screen was not left"
        assert re.search(r"(?<!-)\bicanon\b", screen), "the terminal was left raw"
        world.logged("ssh_logout", who="ssh:ops@ann-laptop", address="127.0.0.1")
        assert world.get("/workers")["workers"], "quitting a session ended the gateway"
        assert world.notes()[-2:] == [
            "ssh:ops@ann-laptop: console opened from 127.0.0.1 as operator",
            "ssh:ops@ann-laptop: console closed",
        ]


def test_a_viewer_sees_everything_and_may_not_drain(tmp_path: Path, engine: str) -> None:
    with SshWorld(tmp_path, "--worker-urls", engine, vic="viewer") as world, world.terminal("vic") as terminal:
        terminal.wait_for(READY, "READ-ONLY")
        for key in ("d", "c", "x", "a"):
            terminal.press(key)
            terminal.wait_for("your key's role is viewer")
        assert world.worker("w1")["state"] == "ready"
        assert not world.worker("w1")["cordoned"]


def test_a_gateway_that_is_read_only_is_so_for_admins(tmp_path: Path, engine: str) -> None:
    options = ("--worker-urls", engine, "--read-only")
    with SshWorld(tmp_path, *options, root="admin") as world, world.terminal("root") as terminal:
        terminal.wait_for(READY, "READ-ONLY")
        terminal.press("c")
        terminal.wait_for("this console is read-only")


def test_passwords_and_unknown_keys_are_refused_and_logged(tmp_path: Path) -> None:
    with SshWorld(tmp_path, ann="operator") as world:
        asked = world.run("ann", "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1")
        assert asked.returncode == 255
        assert "Permission denied (publickey)" in asked.stderr, "another way in is offered"
        unknown = world.run("stranger", "-tt")
        assert unknown.returncode == 255
        assert "Permission denied (publickey)" in unknown.stderr
        refused = world.logged("ssh_refused", address="127.0.0.1")
        assert refused["why"] == "the key is not among the authorized keys"
        assert refused["key"].startswith("SHA256:")
        assert world.log("ssh_login") == []


@pytest.mark.parametrize(
    ("words", "then", "said"),
    [
        (("-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9"), (), "remote port forwarding failed"),
        (("-N", "-o", "ExitOnForwardFailure=yes", "-R", "/tmp/no:127.0.0.1:9"), (), "remote port forwarding failed"),
        (("-W", "127.0.0.1:9"), (), "stdio forwarding failed"),
        (("-s",), ("sftp",), "subsystem request failed"),
    ],
    ids=["remote", "socket", "direct", "sftp"],
)
def test_nothing_is_forwarded_and_there_are_no_subsystems(
    words: tuple[str, ...], then: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with SshWorld(tmp_path, root="admin") as world:
        done = world.run("root", *words, then=then)
        assert done.returncode == 255
        assert said in done.stderr


def test_a_client_without_a_terminal_gets_a_sentence(tmp_path: Path) -> None:
    with SshWorld(tmp_path, root="admin") as world:
        done = world.run("root", "-T")
        assert (done.returncode, done.stdout) == (126, "")
        assert done.stderr.startswith("smg-console: the console needs a terminal")


def test_the_host_key_is_made_once_for_its_owner_alone_and_stays(tmp_path: Path) -> None:
    world = SshWorld(tmp_path, ann="operator")
    with world:
        assert world.run("ann", "-T").returncode == 126
        made = world.host_key.read_bytes()
        assert world.host_key.stat().st_mode & 0o777 == 0o600
        first = world.logged("ssh_listening")["host_key"]
        assert world.stop() == 0
    with world:
        assert world.logged("ssh_listening")["host_key"] == first
        assert world.host_key.read_bytes() == made
        known = tmp_path / "known_hosts"
        known.write_text(re.sub(r":\d+", f":{world.port}", known.read_text("utf-8")), encoding="utf-8")
        assert world.run("ann", "-T", "-o", "StrictHostKeyChecking=yes").returncode == 126


def test_keys_are_read_again_when_they_change_and_who_is_in_goes_when_his_key_goes(tmp_path: Path) -> None:
    with SshWorld(tmp_path, ann="viewer") as world, world.terminal("ann") as terminal:
        terminal.wait_for("No workers yet", "READ-ONLY")
        world.authorize(f'role="viewer" {world.public("stranger")}')
        terminal.wait_for("its key is no longer admitted", "ended with 0")
        with world.terminal("stranger") as other:
            other.wait_for("No workers yet", "READ-ONLY")
            world.authorize(f'role="operator" {world.public("stranger")}')
            other.wait_for("its key's role is operator now")
        with world.terminal("stranger") as other:
            screen = other.wait_for("No workers yet")
            assert "READ-ONLY" not in screen


def test_a_client_that_is_killed_leaves_nothing_behind(tmp_path: Path, engine: str) -> None:
    with SshWorld(tmp_path, "--worker-urls", engine, ann="operator") as world:
        with world.terminal("ann") as terminal:
            terminal.wait_for(READY)
            (client,) = children_of(terminal.process())
            kill(client, signal.SIGKILL)
            world.logged("ssh_logout", who="ssh:ops@ann-laptop")
        until(lambda: "ssh:ops@ann-laptop: console closed" in world.notes(), "the session's end")
        with world.terminal("ann") as terminal:
            terminal.wait_for(READY)


def test_the_end_of_the_gateway_is_told_and_gives_the_terminal_back(tmp_path: Path) -> None:
    with SshWorld(tmp_path, ann="operator") as world, world.terminal("ann") as terminal:
        terminal.wait_for("No workers yet")
        assert world.stop() == 0
        screen = terminal.wait_for("the gateway has stopped", "ended with", "speed")
        assert re.search(r"(?<!-)\becho\b", screen)
        assert "Fleet" not in screen


def test_each_session_has_its_own_size_theme_colours_and_characters(tmp_path: Path, engine: str) -> None:
    with (
        SshWorld(tmp_path, "--worker-urls", engine, ann="operator") as world,
        world.terminal("ann", "-o", "SetEnv=SMG_CONSOLE_THEME=daylight COLORTERM=truecolor") as light,
        world.terminal("ann", "-o", "SetEnv=LC_ALL=C", columns=80, rows=24, term="xterm") as plain,
        world.terminal("ann", "-o", "SetEnv=COLORTERM=truecolor", columns=200, rows=60) as large,
    ):
        light.wait_for(READY, "│◌ registering│")
        large.wait_for(READY, "│◌ registering│")
        assert plain.wait_for("O ready        w1").isascii()
        for _ in range(2):  # drawn anew by all while the others are there
            for terminal in (light, plain, large):
                terminal.press("?")
                terminal.wait_for("Acts on the worker")
            for terminal in (light, plain, large):
                terminal.press("Escape")
                terminal.wait_for("Fleet: 1 worker")
        assert re.search(r"48;2;(2[2-5]\d);(2[2-5]\d);(2[2-5]\d)", light.coloured()), "no light background"
        assert not re.search(r"48;2;(2[2-5]\d);(2[2-5]\d);(2[2-5]\d)", large.coloured()), "the other's colours"
        assert re.search(r"38;2;", large.coloured()), "fewer colours than it has"
        assert not re.search(r"[34]8;[25];", plain.coloured()), "more colours than it has"
        large.resize(80, 24)
        large.wait_for("registering 0 → ● ready 1")
        light.wait_for("│◌ registering│")


def test_operators_see_one_anothers_acts(tmp_path: Path, engine: str) -> None:
    with (
        SshWorld(tmp_path, "--worker-urls", engine, ann="operator", bob="admin") as world,
        world.terminal("ann") as one,
        world.terminal("bob", user="bob") as two,
    ):
        one.wait_for(READY, "2 here")
        two.wait_for(READY, "2 here")
        one.press("U")
        one.wait_for("ssh:ops@ann-laptop", "operator", "ssh:bob@bob-laptop", "admin", "127.0.0.1", "120x40")
        one.press("Escape")
        one.wait_for(READY)
        one.cordon_last("w1")
        two.wait_for("⊘ cordoned     w1", "ssh:ops@ann-laptop")
        two.press("c")
        one.wait_for(READY, "ssh:bob@bob-laptop")
