"""The server's files: keys read again when they change, and refused where others could change them or read them."""

import os
from pathlib import Path

import asyncssh
import pytest

from smg_console.ssh.files import KeyFile, default_authorized_keys, default_host_key, host_key


def public_line(role: str = "operator") -> str:
    key = asyncssh.generate_private_key("ssh-ed25519", comment="laptop")
    return f'role="{role}" {key.export_public_key().decode()}'


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_the_usual_places_are_those_of_the_xdg_rules() -> None:
    assert default_authorized_keys({"HOME": "/h"}) == Path("/h/.config/smg-console/authorized_keys")
    assert default_authorized_keys({"XDG_CONFIG_HOME": "/c"}) == Path("/c/smg-console/authorized_keys")
    assert default_host_key({"HOME": "/h"}) == Path("/h/.local/state/smg-console/ssh_host_ed25519_key")
    assert default_host_key({"XDG_STATE_HOME": "/s"}) == Path("/s/smg-console/ssh_host_ed25519_key")


def test_keys_are_read_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "authorized_keys"
    file = KeyFile(path)
    assert file.current().problems == (f"{path}: no such file or directory: nobody may log in",)
    written(path, public_line())
    assert [key.name for key in file.current().keys] == ["laptop"]
    read = file.version
    assert file.current() is file.current()
    assert file.version == read
    written(path, public_line() + public_line() + "nonsense\n")
    assert len(file.current().keys) == 2
    assert file.current().problems[0].startswith(f"{path}: line 3: cannot be read")
    path.unlink()
    assert file.current().keys == ()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_keys_that_others_may_change_let_nobody_in(mode: int, tmp_path: Path) -> None:
    file = KeyFile(written(tmp_path / "authorized_keys", public_line(), mode))
    assert file.current().keys == ()
    assert "may be written by others (chmod go-w): nobody may log in" in file.current().problems[0]
    file.path.chmod(0o644)
    assert len(file.current().keys) == 1


def test_the_host_key_is_made_for_its_owner_alone_and_is_the_same_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "state" / "deeper" / "host_key"
    made = host_key(path)
    assert made.get_algorithm() == "ssh-ed25519"
    assert path.stat().st_mode & 0o777 == 0o600
    assert host_key(path).get_fingerprint() == made.get_fingerprint()
    assert [entry.name for entry in path.parent.iterdir()] == ["host_key"]


def test_a_host_key_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    path = written(tmp_path / "host_key", "not a key")
    with pytest.raises(OSError, match=r"^\[Errno 0\] --ssh-host-key: .*host_key: "):
        host_key(path)
    path.unlink()
    host_key(path)
    path.chmod(0o644)
    with pytest.raises(OSError, match="may be read by others \\(chmod 600\\)"):
        host_key(path)
    with pytest.raises(OSError, match="--ssh-host-key: "):
        host_key(Path(os.devnull) / "key")
