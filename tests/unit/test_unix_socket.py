"""The gateway's Unix socket: whose it is, who may open it, and what becomes of those that the dead leave behind."""

import os
import socket
import stat
from pathlib import Path

import pytest

from gateway.proxy import unix_socket
from gateway.proxy.unix_socket import LONGEST, NoSocket, UnixSocket, listening, local_gateways, usual_path


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user with a runtime directory."""
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


def opened(home: dict[str, str], port: int = 30000, given: str | None = None) -> UnixSocket:
    return listening(given, port, home)


def closed(found: UnixSocket) -> None:
    found.socket.close()
    found.close()


def left_behind(path: Path) -> None:
    """What a killed gateway leaves: a socket's file that nobody listens on."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def test_a_socket_is_its_users_alone_and_leaves_with_its_gateway(home: dict[str, str], tmp_path: Path) -> None:
    found = opened(home)
    assert found.path == tmp_path / "smg-console" / "30000.sock"
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(found.path.parent.stat().st_mode) == 0o700
    assert [(one.name, one.path) for one in local_gateways(home)] == [("30000", found.path)]
    closed(found)
    assert not found.path.exists()
    assert local_gateways(home) == []


def test_without_a_runtime_directory_it_is_in_a_private_one_under_the_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_socket.tempfile, "gettempdir", lambda: str(tmp_path))
    for home in ({}, {"XDG_RUNTIME_DIR": str(tmp_path / "absent")}, {"XDG_RUNTIME_DIR": "run"}):
        found = opened(home)
        assert found.path == tmp_path / f"smg-console-{os.getuid()}" / "30000.sock"
        assert stat.S_IMODE(found.path.parent.stat().st_mode) == 0o700
        closed(found)


def test_what_a_killed_gateway_left_is_replaced_on_its_port_and_swept_away_on_others(home: dict[str, str]) -> None:
    for port in (30000, 30007):
        left_behind(usual_path(port, home))
    found = opened(home)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(found.path))
    assert [path.name for path in found.path.parent.iterdir()] == ["30000.sock"]
    closed(found)


def test_a_living_gateways_socket_is_never_taken_from_it(home: dict[str, str]) -> None:
    first = opened(home)
    with pytest.raises(NoSocket, match=r"another process listens on .*30000.sock"):
        opened(home)
    other = opened(home, 30001)
    assert [one.name for one in local_gateways(home)] == ["30000", "30001"]
    closed(other)
    assert first.path.exists()
    closed(first)


def test_a_gateway_whose_queue_is_full_lives(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix_socket, "BACKLOG", 0)
    found = opened(home)
    waiting = []
    for _ in range(3):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        waiting.append(client)
        client.connect_ex(str(found.path))
    with pytest.raises(NoSocket, match="another process listens"):
        opened(home)
    for client in waiting:
        client.close()
    closed(found)


def test_a_file_that_is_no_socket_is_left_alone(home: dict[str, str], tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine", encoding="utf-8")
    with pytest.raises(NoSocket, match=r"precious.txt is there already and is no socket"):
        opened(home, given=str(precious))
    assert precious.read_text(encoding="utf-8") == "mine"


def test_a_directory_that_others_can_enter_or_that_is_a_link_is_not_trusted(
    home: dict[str, str], tmp_path: Path
) -> None:
    directory = tmp_path / "smg-console"
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    for use in (lambda: opened(home), lambda: local_gateways(home)):
        with pytest.raises(NoSocket, match=r"is open to others \(mode 0755, expected 0700\)"):
            use()
    directory.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    directory.symlink_to(elsewhere)
    for use in (lambda: opened(home), lambda: local_gateways(home)):
        with pytest.raises(NoSocket, match="is no directory"):
            use()


def test_a_directory_of_another_user_is_not_trusted(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    closed(opened(home))
    monkeypatch.setattr(unix_socket.os, "getuid", lambda: 4242)
    with pytest.raises(NoSocket, match="belongs to another user"):
        local_gateways(home)


def test_a_path_too_long_for_an_address_is_said_to_be(home: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / ("s" * 200)
    with pytest.raises(NoSocket, match=f"{len(os.fsencode(path))} bytes, and a socket's path has at most {LONGEST}"):
        opened(home, given=str(path))


def test_a_directory_that_is_not_there_is_named(home: dict[str, str]) -> None:
    with pytest.raises(NoSocket, match=r"cannot listen on /no/such/gw.sock: no such file or directory"):
        opened(home, given="/no/such/gw.sock")


def test_a_socket_that_another_gateway_put_in_its_place_is_not_taken_away(home: dict[str, str]) -> None:
    first = opened(home)
    first.socket.close()
    second = opened(home)
    first.close()
    assert second.path.is_socket()
    closed(second)
