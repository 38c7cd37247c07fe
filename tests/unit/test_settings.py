"""Settings: every flag, where a value came from, and one clear line for what cannot be."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.routing.policies import DEFAULT_POLICY, POLICY_NAMES
from gateway.settings.discovery import DiscoverySettings
from gateway.settings.flags import UsageError, add_settings, new_parser
from gateway.settings.load import load
from gateway.settings.model import Settings, environment_name, flag
from gateway.settings.ssh import SshSettings
from gateway.settings.tokenizers import TokenizerSettings
from gateway.settings.traffic import prefill_workers


def parsed(*words: str, environment: dict[str, str] | None = None, file: Path | None = None) -> Settings:
    parser = new_parser("smg-console", "")
    add_settings(parser)
    options = vars(parser.parse_strictly(list(words)))
    return load(options, environment or {}, str(file) if file else None).settings


def refused(*words: str, environment: dict[str, str] | None = None, file: Path | None = None) -> str:
    with pytest.raises(UsageError) as error:
        parsed(*words, environment=environment, file=file)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_the_defaults_are_the_missions() -> None:
    settings = parsed()
    assert (settings.health_check_interval_secs, settings.health_check_timeout_secs) == (30, 10)
    assert (settings.health_success_threshold, settings.health_failure_threshold) == (2, 3)
    assert (settings.host, settings.port, settings.prometheus_port) == ("0.0.0.0", 30000, 29000)
    assert (settings.worker_startup_timeout_secs, settings.drain_timeout_secs) == (1800, 300)


GOOD = {
    "worker_urls": (["http://a:8000/", "https://b"], ("http://a:8000", "https://b")),
    "worker_startup_timeout_secs": (["60"], 60.0),
    "worker_startup_check_interval": (["5"], 5.0),
    "drain_timeout_secs": (["0"], 0.0),
    "host": (["::1"], "::1"),
    "port": (["0"], 0),
    "control_socket": (["/run/gateway.sock"], "/run/gateway.sock"),
    "policy": (["round_robin"], "round_robin"),
    "model_alias": (["fast=llama", "slow=qwen"], ("fast=llama", "slow=qwen")),
    "cache_threshold": (["0.5"], 0.5),
    "balance_abs_threshold": (["32"], 32),
    "balance_rel_threshold": (["1.1"], 1.1),
    "max_tree_size": (["4096"], 4096),
    "cache_ttl_secs": (["60"], 60.0),
    "prefix_token_count": (["128"], 128),
    "prefix_hash_load_factor": (["2"], 2.0),
    "prefix_hash_balance_abs_threshold": (["0"], 0),
    "least_load_kv_pressure_weight": (["0"], 0.0),
    "least_load_default_throughput": (["500"], 500.0),
    "least_load_mean_prefill_tokens": (["512"], 512),
    "max_idle_secs": (["60"], 60.0),
    "assignment_mode": (["min_group"], "min_group"),
    "bucket_adjust_interval_secs": (["1"], 1.0),
    "pd_disaggregation": ([], True),
    "prefill_policy": (["random"], "random"),
    "decode_policy": (["round_robin"], "round_robin"),
    "max_concurrent_requests": (["0"], 0),
    "queue_size": (["0"], 0),
    "queue_timeout_secs": (["1"], 1.0),
    "rate_limit_tokens_per_second": (["2.5"], 2.5),
    "worker_overload_waiting_requests": (["1"], 1),
    "worker_overload_token_usage": (["1"], 1.0),
    "disable_worker_overload_protection": ([], True),
    "worker_overload_shed": ([], True),
    "stream_body_stall_timeout_secs": (["10"], 10.0),
    "first_byte_timeout_secs": (["30"], 30.0),
    "websocket_idle_timeout_secs": (["60"], 60.0),
    "worker_stall_secs": (["0"], 0.0),
    "retry_max_retries": (["3"], 3),
    "retry_initial_backoff_ms": (["10"], 10.0),
    "retry_max_backoff_ms": (["500"], 500.0),
    "retry_backoff_multiplier": (["2"], 2.0),
    "retry_jitter_factor": (["0"], 0.0),
    "disable_retries": ([], True),
    "cb_failure_threshold": (["5"], 5),
    "cb_failure_share": (["0"], 0.0),
    "cb_success_threshold": (["2"], 2),
    "cb_half_open_requests": (["1"], 1),
    "cb_timeout_duration_secs": (["30"], 30.0),
    "cb_window_duration_secs": (["60"], 60.0),
    "disable_circuit_breaker": ([], True),
    "request_timeout_secs": (["9.5"], 9.5),
    "connect_timeout_secs": (["1"], 1.0),
    "max_payload_size": (["1024"], 1024),
    "header_read_timeout_secs": (["1"], 1.0),
    "idle_connection_timeout_secs": (["1"], 1.0),
    "upstream_pool_idle_timeout_secs": (["1"], 1.0),
    "upstream_pool_max_idle": (["0"], 0),
    "request_id_headers": (["X-My-Id"], ("x-my-id",)),
    "shutdown_grace_period_secs": (["0"], 0.0),
    "health_check_interval_secs": (["0.5"], 0.5),
    "health_check_timeout_secs": (["2"], 2.0),
    "health_success_threshold": (["1"], 1),
    "health_failure_threshold": (["5"], 5),
    "health_failed_threshold": (["9"], 9),
    "health_check_endpoint": (["/ping"], "/ping"),
    "health_check_concurrency": (["7"], 7),
    "disable_health_check": ([], True),
    "load_monitor_interval": (["1"], 1.0),
    "disable_load_monitoring": ([], True),
    "prometheus_port": (["0"], 0),
    "prometheus_host": (["127.0.0.1"], "127.0.0.1"),
    "disable_prometheus": ([], True),
    "log_level": (["debug"], "debug"),
    "log_json": ([], True),
    "log_dir": (["/tmp/logs"], Path("/tmp/logs")),
    "no_ui": ([], True),
    "theme": (["daylight"], "daylight"),
    "ascii": ([], True),
    "read_only": ([], True),
}


def test_every_setting_is_in_the_table_of_these_tests() -> None:
    others = {"worker_api_key", "prefill", "decode", *DiscoverySettings.model_fields, *TokenizerSettings.model_fields}
    others |= set(SshSettings.model_fields)
    assert set(GOOD) | others == set(Settings.model_fields)


def test_prefill_workers_have_their_bootstrap_ports_behind_them(tmp_path: Path) -> None:
    words = ["--pd-disaggregation", "--prefill", "http://p:1", "8998", "http://p:2", "none", "--prefill", "http://p:3"]
    settings = parsed(*words, "--decode", "http://d:1/")
    assert prefill_workers(settings.prefill) == [("http://p:1", 8998), ("http://p:2", None), ("http://p:3", None)]
    assert settings.decode == ("http://d:1",)
    file = tmp_path / "s.toml"
    file.write_text('pd_disaggregation = true\nprefill = ["http://p:1", 8998]\n', encoding="utf-8")
    assert prefill_workers(parsed(file=file).prefill) == [("http://p:1", 8998)]


@pytest.mark.parametrize("name", GOOD)
def test_each_setting_comes_from_flag_environment_and_file(name: str, tmp_path: Path) -> None:
    words, value = GOOD[name]
    assert getattr(parsed(flag(name), *words), name) == value
    text = " ".join(words) or "true"
    assert getattr(parsed(environment={environment_name(name): text}), name) == value
    file = tmp_path / "settings.toml"
    for key in (name, name.replace("_", "-")):
        if isinstance(value, tuple):
            shown = "[" + ", ".join(f'"{word}"' for word in words) + "]"
        else:
            shown = "true" if not words else words[0] if isinstance(value, int | float) else f'"{words[0]}"'
        file.write_text(f"{key} = {shown}\n", encoding="utf-8")
        assert getattr(parsed(file=file), name) == value


def test_flags_win_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("port = 1\nlog_level = 'debug'\nno_ui = true\nload-monitor-interval = 7\n", encoding="utf-8")
    environment = {"SMG_CONSOLE_PORT": "2", "SMG_CONSOLE_LOG_LEVEL": "warn"}
    parser = new_parser("x", "")
    add_settings(parser)
    loaded = load(vars(parser.parse_strictly(["--port", "3", "--no-no-ui"])), environment, str(file))
    settings, origins = loaded.settings, loaded.origins
    assert (settings.port, settings.log_level, settings.no_ui, settings.load_monitor_interval) == (3, "warn", False, 7)
    assert origins["port"] == "--port"
    assert origins["log_level"] == "SMG_CONSOLE_LOG_LEVEL"
    assert origins["load_monitor_interval"] == f"{file}: load_monitor_interval"
    assert origins["host"] == "default"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--port", "abc"], "--port: given 'abc', expected a whole number from 0 to 65535"),
        (["--port=70000"], "--port: given '70000', expected a whole number from 0 to 65535"),
        (["--policy", "best"], f"--policy: given 'best', expected one of {', '.join(POLICY_NAMES)}"),
        (["--worker-urls", "ipc://a:1"], "--worker-urls: given 'ipc://a:1', it must start with http://"),
        (["--worker-urls", "http://a:1", "http://a:1/"], "http://a:1 is given twice"),
        (["--health-check-endpoint", "health"], "--health-check-endpoint: given 'health', expected a path"),
        (["--health-success-threshold", "0"], "expected a whole number from 1 to 1000"),
        (["--request-timeout-secs", "0"], "expected a number above 0 to"),
        (["--prot", "1"], "--prot: unknown flag; did you mean --port?"),
        (["--wholly-unknown"], "--wholly-unknown: unknown flag"),
        (["--log", "x"], "--log: unknown flag"),
        (["stray"], "unexpected argument 'stray'"),
        (["--port"], "--port: given no value, expected PORT"),
        (["--policy"], "--policy: given no value, expected NAME"),
        (["--no-ui=1"], "--no-ui: takes no value"),
        (["--po\nrt", "1"], "--po\\nrt: unknown flag; did you mean --port?"),
        (["--port", "29000"], "--port and --prometheus-port are both 29000"),
        (["--no-ui", "--theme", "x"], "--theme is for the console, which --no-ui switches off"),
        (["--no-ui", "--read-only"], "--read-only is for the console"),
        (["--disable-prometheus", "--prometheus-port", "1"], "--prometheus-port has no effect with"),
        (["--disable-health-check", "--health-failed-threshold", "3"], "--health-failed-threshold has no effect with"),
        (["--worker-startup-timeout-secs", "5"], "--worker-startup-check-interval (30) is longer than"),
        (["--worker-api-key", "k"], "--worker-api-key is for the workers of --worker-urls"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_flag(words: list[str], line: str) -> None:
    assert line in refused(*words)


def test_a_wrong_value_names_the_variable_or_the_file_it_came_from(tmp_path: Path) -> None:
    assert refused(environment={"SMG_CONSOLE_PORT": "x"}).startswith("SMG_CONSOLE_PORT: given 'x'")
    assert refused(environment={"SMG_CONSOLE_NO_UI": "maybe"}).startswith("SMG_CONSOLE_NO_UI: given 'maybe'")
    assert "did you mean SMG_CONSOLE_PORT?" in refused(environment={"SMG_CONSOLE_PORTT": "1"})
    file = tmp_path / "s.toml"
    for text, line in (
        ("port = 'x'", f"{file}: port: given 'x', expected a whole number"),
        ("prot = 1", "prot: unknown setting; did you mean port?"),
        ("port = ", "is not valid TOML"),
        ("[port]\na = 1", "port: given"),
    ):
        file.write_text(text, encoding="utf-8")
        assert line in refused(file=file)
    assert "--config: cannot read" in refused(file=tmp_path / "absent.toml")


def test_keys_are_never_repeated() -> None:
    urls = ["--worker-urls", "http://a:1"]
    settings = parsed(*urls, "--worker-api-key", "s3cret")
    assert settings.worker_api_key == SecretStr("s3cret")
    assert "s3cret" not in repr(settings)
    assert refused(*urls, "--worker-api-key", "s3 cret").startswith("--worker-api-key: given (hidden), expected")
    assert "cret" not in refused(*urls, "--worker-api-key", "s3", "cret")


def test_help_fits_80_columns_and_tells_every_flag_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    parser = new_parser("smg-console", "")
    add_settings(parser)
    text = parser.format_help()
    assert max(map(len, text.splitlines())) <= 80
    for name, field in Settings.model_fields.items():
        assert flag(name) in text
        assert field.description
    for default in ("[30000]", f"[{DEFAULT_POLICY}]", "[1800]", "[/health]"):
        assert default in text


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.text(max_size=12), max_size=4))
def test_any_text_in_the_environment_is_settings_or_one_line(texts: dict[str, str]) -> None:
    environment = {environment_name(name): text for name, text in texts.items()}
    said = ""
    try:
        load({}, environment, None)
    except UsageError as error:
        said = str(error)
    assert "\n" not in said
