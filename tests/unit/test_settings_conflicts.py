"""Settings that cannot hold together: refused where given knowingly, with names as the user wrote them."""

from pathlib import Path

import pytest

from gateway.settings.flags import UsageError, add_settings, new_parser
from gateway.settings.load import load


def problem(tmp_path: Path, *words: str, environment: dict[str, str] | None = None, file: str = "") -> str:
    """What is refused, with the file shown as FILE; empty if nothing is."""
    path = tmp_path / "s.toml"
    path.write_text(file, encoding="utf-8")
    parser = new_parser("smg-console", "")
    add_settings(parser)
    try:
        load(vars(parser.parse_strictly(list(words))), environment or {}, str(path))
    except UsageError as error:
        return str(error).replace(str(path), "FILE")
    return ""


def test_a_setting_beside_or_over_the_switch_that_makes_it_useless_is_refused(tmp_path: Path) -> None:
    assert problem(tmp_path, "--no-ui", "--ascii").startswith("--ascii is for the console, which --no-ui switches off")
    assert problem(tmp_path, "--theme", "x", file="no_ui = true").startswith(
        "--theme is for the console, which FILE: no_ui switches off"
    )
    assert problem(tmp_path, "--disable-prometheus", "--prometheus-host", "::1").startswith(
        "--prometheus-host has no effect with --disable-prometheus"
    )
    assert problem(tmp_path, file="disable_prometheus = true\nprometheus_port = 1").startswith(
        "FILE: prometheus_port has no effect with FILE: disable_prometheus"
    )
    assert problem(
        tmp_path, "--load-monitor-interval", "5", environment={"SMG_CONSOLE_DISABLE_LOAD_MONITORING": "1"}
    ).startswith("--load-monitor-interval has no effect with SMG_CONSOLE_DISABLE_LOAD_MONITORING")


@pytest.mark.parametrize(
    ("switch", "file"),
    [
        ("--no-ui", "theme = 'x'\nread_only = true"),
        ("--disable-prometheus", "prometheus_port = 1"),
        ("--disable-health-check", "health_failed_threshold = 3"),
        ("--disable-load-monitoring", "load_monitor_interval = 3"),
    ],
)
def test_a_switch_on_the_command_line_needs_no_change_of_the_file_it_shares(
    switch: str, file: str, tmp_path: Path
) -> None:
    assert problem(tmp_path, switch, file=file) == ""
    assert problem(tmp_path, switch) == ""


def test_switches_that_were_turned_off_again_are_no_conflict(tmp_path: Path) -> None:
    assert problem(tmp_path, "--no-no-ui", "--theme", "x", file="no_ui = true") == ""
    assert problem(tmp_path, "--no-ui", "--no-read-only", file="read_only = true") == ""


def test_two_ports_that_are_one_are_refused_as_they_were_written(tmp_path: Path) -> None:
    said = problem(tmp_path, "--prometheus-port", "7", environment={"SMG_CONSOLE_PORT": "7"})
    assert said.startswith("SMG_CONSOLE_PORT and --prometheus-port are both 7")
    assert problem(tmp_path, "--port", "0", "--prometheus-port", "0") == ""
    assert problem(tmp_path, "--port", "29000", "--disable-prometheus") == ""


def test_a_key_without_workers_is_refused_without_showing_it(tmp_path: Path) -> None:
    said = problem(tmp_path, environment={"SMG_CONSOLE_WORKER_API_KEY": "s3cret"})
    assert said == "SMG_CONSOLE_WORKER_API_KEY is for the workers of --worker-urls, and there are none"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:30000"),
        ("0.0.0.0", "http://localhost:30000"),
        ("::", "http://[::1]:30000"),
        ("127.0.0.1", "http://127.0.0.1:30000"),
        ("gateway.local", "http://gateway.local:30000"),
    ],
)
def test_a_worker_that_is_this_gateway_is_refused_before_requests_go_round_in_circles(
    host: str, url: str, tmp_path: Path
) -> None:
    said = problem(tmp_path, "--host", host, "--worker-urls", url)
    assert said == f"--worker-urls: {url} is where --port makes this gateway itself listen"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:30001"),
        ("0.0.0.0", "http://other:30000"),
        ("10.0.0.5", "http://127.0.0.1:30000"),
    ],
)
def test_a_worker_that_only_looks_like_this_gateway_is_fine(host: str, url: str, tmp_path: Path) -> None:
    assert problem(tmp_path, "--host", host, "--worker-urls", url) == ""
