"""Settings of the SSH server: each as a flag, and those that mean nothing without it or cannot hold together."""

from pathlib import Path

import pytest

from gateway.settings.flags import UsageError, add_settings, new_parser
from gateway.settings.load import load
from gateway.settings.model import Settings, flag
from gateway.settings.ssh import SshSettings

GOOD = {
    "ssh_port": ("2222", 2222),
    "ssh_host": ("::1", "::1"),
    "ssh_authorized_keys": ("/etc/keys", Path("/etc/keys")),
    "ssh_host_key": ("/etc/key", Path("/etc/key")),
    "ssh_max_sessions": ("5", 5),
    "ssh_max_unauthenticated": ("6", 6),
    "ssh_login_timeout_secs": ("7.5", 7.5),
    "ssh_keepalive_secs": ("0", 0.0),
}


def parsed(*words: str) -> Settings:
    parser = new_parser("smg-console", "")
    add_settings(parser)
    return load(vars(parser.parse_strictly(list(words))), {}, None).settings


def refused(*words: str) -> str:
    with pytest.raises(UsageError) as error:
        parsed(*words)
    return str(error.value)


def test_every_setting_is_in_the_table_of_these_tests() -> None:
    assert set(GOOD) == set(SshSettings.model_fields)


def test_each_flag_sets_its_value_and_without_the_port_there_is_no_server() -> None:
    assert parsed().ssh_port is None
    settings = parsed(*(word for name, (text, _) in GOOD.items() for word in (flag(name), text)))
    assert {name: getattr(settings, name) for name in GOOD} == {name: value for name, (_, value) in GOOD.items()}


@pytest.mark.parametrize("name", sorted(set(GOOD) - {"ssh_port"}))
def test_what_is_for_the_server_is_refused_without_it(name: str) -> None:
    assert refused(flag(name), GOOD[name][0]) == f"{flag(name)} is for --ssh-port, which is not given"


def test_a_port_is_given_away_once() -> None:
    assert refused("--ssh-port", "30000") == "--ssh-port and --port are both 30000; give them different ports"
    assert "--prometheus-port are both 29000" in refused("--ssh-port", "29000")
    assert parsed("--ssh-port", "29000", "--disable-prometheus").ssh_port == 29000
    assert parsed("--ssh-port", "0", "--port", "0").ssh_port == 0


def test_a_headless_gateway_with_the_server_takes_what_is_for_the_console() -> None:
    settings = parsed("--no-ui", "--ssh-port", "0", "--theme", "daylight", "--ascii", "--read-only")
    assert (settings.theme, settings.ascii, settings.read_only) == ("daylight", True, True)
