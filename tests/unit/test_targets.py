"""Which gateway is meant: every way to name one, and what is said where none or several are."""

from pathlib import Path

import pytest

from gateway.proxy.unix_socket import listening
from gateway.settings.flags import UsageError
from smg_console.targets import NoGateway, Target, actor_name, api_key, chosen_target, target_of


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("http://gw:30000", Target("http://gw:30000")),
        ("https://gw.example/smg/", Target("https://gw.example/smg")),
        ("gw:30000", Target("http://gw:30000")),
        ("[::1]:30000", Target("http://[::1]:30000")),
        ("/run/gw.sock", Target("http://localhost", "/run/gw.sock")),
        ("unix:/run/gw", Target("http://localhost", "/run/gw")),
        ("unix:///run/gw", Target("http://localhost", "/run/gw")),
    ],
)
def test_a_gateway_is_named_by_url_or_socket(text: str, target: Target) -> None:
    assert target_of(text) == target


def test_a_relative_path_is_a_socket_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert target_of("gw.sock") == target_of("./gw.sock") == Target("http://localhost", str(tmp_path / "gw.sock"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ftp://gw", "given 'ftp://gw', expected a URL such as"),
        ("", "given '', expected a URL such as"),
        ("http://", "expected a URL such as"),
        ("gw:port", "expected a URL such as"),
        ("gw 1", "expected a URL such as"),
        ("0", "expected a port from 1 to 65535"),
        ("70000", "expected a port from 1 to 65535"),
        ("unix:gw", "expected an absolute path"),
        ("http://gw/?a=b", "expected a URL without ? and #"),
        ("http://anna:s3cret@gw", "credentials do not belong in a URL, use --api-key-file"),
        ("/" + "s" * 200, "201 bytes, and a socket's path has at most"),
    ],
)
def test_what_names_no_gateway_is_refused_and_no_password_repeated(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        target_of(text)
    assert said in str(error.value)
    assert "s3cret" not in str(error.value)


def test_the_only_gateway_here_needs_no_name_and_of_several_one_has_to_be_named(tmp_path: Path) -> None:
    home = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with pytest.raises(NoGateway, match="no gateway of yours runs here: start one with smg-console, or name one"):
        chosen_target(None, home)
    first = listening(None, 30000, home)
    assert chosen_target(None, home) == Target("http://localhost", str(first.path))
    second = listening(None, 30001, home)
    with pytest.raises(UsageError, match="2 gateways of yours run here: 30000, 30001; name one, as in: attach 30000"):
        chosen_target(None, home)
    assert chosen_target("30001", home) == Target("http://localhost", str(second.path))
    for one in (first, second):
        one.socket.close()
        one.close()
    assert chosen_target("30001", home) == Target("http://127.0.0.1:30001")


def test_the_variable_names_the_gateway_where_no_argument_does() -> None:
    home = {"SMG_CONSOLE_GATEWAY": "gw:1"}
    assert chosen_target(None, home) == Target("http://gw:1")
    assert chosen_target("gw:2", home) == Target("http://gw:2")


def test_a_directory_that_is_not_to_be_trusted_names_no_gateway(tmp_path: Path) -> None:
    (tmp_path / "smg-console").mkdir()
    (tmp_path / "smg-console").chmod(0o777)
    with pytest.raises(NoGateway, match="is open to others"):
        chosen_target(None, {"XDG_RUNTIME_DIR": str(tmp_path)})


def test_the_key_comes_from_a_file_before_the_environment_and_is_never_repeated(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("k1\n", encoding="utf-8")
    home = {"SMG_CONSOLE_API_KEY": "k2"}
    assert api_key(str(file), home) == "k1"
    assert api_key(None, home) == "k2"
    assert api_key(None, {}) is None
    file.write_text("a secret\nb", encoding="utf-8")
    with pytest.raises(UsageError) as error:
        api_key(str(file), home)
    assert "secret" not in str(error.value)
    with pytest.raises(UsageError, match=r"--api-key-file: cannot read .*absent: no such file"):
        api_key(str(tmp_path / "absent"), home)


def test_who_acts_is_named_in_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "anna maria\n")
    assert actor_name("attach") == "attach:anna_maria_"
