"""Where settings come from: precedence for any combination, values that survive a round trip, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.flags import UsageError, add_settings, new_parser
from gateway.settings.load import Loaded, load, without_terminal
from gateway.settings.model import SECRETS, Settings, environment_name, flag


def loaded(*words: str, environment: dict[str, str] | None = None, file: Path | None = None) -> Loaded:
    parser = new_parser("smg-console", "")
    add_settings(parser)
    return load(vars(parser.parse_strictly(list(words))), environment or {}, str(file) if file else None)


def refused(*words: str, environment: dict[str, str] | None = None, file: Path | None = None) -> str:
    with pytest.raises(UsageError) as error:
        loaded(*words, environment=environment, file=file)
    assert str(error.value).isprintable()
    return str(error.value)


WRONG = {
    "worker_urls": ("ftp://a", "start with http://, https://, grpc:// or grpcs://"),
    "service_discovery": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
    "selector": ("app in", "'(' is missing"),
    "prefill_selector": ("a=b=c", "accepted are k=v"),
    "decode_selector": ("-a=b", "begins and ends with a letter or digit"),
    "share_operations": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
    "service_discovery_port": ("0", "a whole number from 1 to 65535"),
    "service_discovery_namespace": ("Prod", "a namespace: up to 63 of a-z"),
    "model_id_from": ("label", "namespace, label:KEY or annotation:KEY"),
    "kubeconfig": (" ", "expected something"),
    "kube_context": (" ", "expected something"),
    "worker_api_key": ("a b", "expected visible ASCII characters"),
    "worker_startup_timeout_secs": ("0", "a number above 0 to 604800"),
    "worker_startup_check_interval": ("-1", "a number above 0 to 604800"),
    "drain_timeout_secs": ("-1", "a number from 0 to 604800"),
    "host": ("0.0.0.0:80", "an address or host name without a port"),
    "port": ("65536", "a whole number from 0 to 65535"),
    "control_socket": ("gw.sock", "an absolute path, or none"),
    "policy": ("best", "one of random, round_robin"),
    "model_alias": ("llama", "names as alias=model"),
    "cache_threshold": ("2", "a number from 0 to 1"),
    "balance_abs_threshold": ("-1", "a whole number from 0 to 1000000"),
    "balance_rel_threshold": ("0.5", "a number from 1 to 1000"),
    "max_tree_size": ("1", "a whole number from 1024 to 17179869184"),
    "cache_ttl_secs": ("-1", "a number from 0 to 604800"),
    "prefix_token_count": ("0", "a whole number from 1 to 1000000"),
    "prefix_hash_load_factor": ("0", "a number from 1 to 1000"),
    "prefix_hash_balance_abs_threshold": ("x", "a whole number from 0 to 1000000"),
    "least_load_kv_pressure_weight": ("-1", "a number from 0 to 1000"),
    "least_load_default_throughput": ("0", "a number above 0 to 1000000000"),
    "least_load_mean_prefill_tokens": ("0", "a whole number from 1 to 1000000"),
    "max_idle_secs": ("0", "a number above 0 to 604800"),
    "assignment_mode": ("best", "one of random, min_load, min_group"),
    "bucket_adjust_interval_secs": ("0", "a number above 0 to 604800"),
    "pd_disaggregation": ("maybe", "true"),
    "prefill": ("ftp://a", "start with http://, https://, grpc:// or grpcs://"),
    "decode": ("ftp://a", "start with http://, https://, grpc:// or grpcs://"),
    "prefill_policy": ("best", "one of random, round_robin"),
    "decode_policy": ("best", "one of random, round_robin"),
    "max_concurrent_requests": ("-2", "a whole number from -1 to 1000000"),
    "queue_size": ("-1", "a whole number from 0 to 1000000"),
    "queue_timeout_secs": ("0", "a number above 0 to 604800"),
    "rate_limit_tokens_per_second": ("-1", "a number from 0 to 1000000"),
    "worker_overload_waiting_requests": ("0", "a whole number from 1 to 1000000"),
    "worker_overload_token_usage": ("80", "a number above 0 to 1"),
    "disable_worker_overload_protection": ("maybe", "true"),
    "worker_overload_shed": ("maybe", "true"),
    "stream_body_stall_timeout_secs": ("0", "a number above 0 to 604800"),
    "first_byte_timeout_secs": ("-1", "a number from 0 to 604800"),
    "websocket_idle_timeout_secs": ("-1", "a number from 0 to 604800"),
    "worker_stall_secs": ("-1", "a number from 0 to 604800"),
    "retry_max_retries": ("0", "a whole number from 1 to 100"),
    "retry_initial_backoff_ms": ("-1", "a number from 0 to 3600000"),
    "retry_max_backoff_ms": ("-1", "a number from 0 to 3600000"),
    "retry_backoff_multiplier": ("0.5", "a number from 1 to 100"),
    "retry_jitter_factor": ("2", "a number from 0 to 1"),
    "disable_retries": ("maybe", "true"),
    "cb_failure_threshold": ("0", "a whole number from 1 to 1000000"),
    "cb_failure_share": ("2", "a number from 0 to 1"),
    "cb_success_threshold": ("0", "a whole number from 1 to 1000000"),
    "cb_half_open_requests": ("0", "a whole number from 1 to 1000000"),
    "cb_timeout_duration_secs": ("0", "a number above 0 to 604800"),
    "cb_window_duration_secs": ("0", "a number above 0 to 604800"),
    "disable_circuit_breaker": ("maybe", "true"),
    "request_timeout_secs": ("inf", "a number above 0 to 604800"),
    "connect_timeout_secs": ("nan", "a number above 0 to 604800"),
    "max_payload_size": ("1GB", "a whole number from 1024 to 1099511627776"),
    "header_read_timeout_secs": ("x", "a number above 0 to 604800"),
    "idle_connection_timeout_secs": ("x", "a number above 0 to 604800"),
    "upstream_pool_idle_timeout_secs": ("x", "a number above 0 to 604800"),
    "upstream_pool_max_idle": ("1.5", "a whole number from 0 to 100000"),
    "request_id_headers": ("x:y", "header names such as x-request-id"),
    "shutdown_grace_period_secs": ("-1", "a number from 0 to 86400"),
    "health_check_interval_secs": ("0", "a number from 0.1 to 86400"),
    "health_check_timeout_secs": ("0", "a number from 0.1 to 3600"),
    "health_success_threshold": ("0", "a whole number from 1 to 1000"),
    "health_failure_threshold": ("0", "a whole number from 1 to 1000"),
    "health_failed_threshold": ("-1", "a whole number from 0 to 100000"),
    "health_check_endpoint": ("health", "a path such as /health"),
    "health_check_concurrency": ("0", "a whole number from 1 to 10000"),
    "disable_health_check": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
    "load_monitor_interval": ("0.5", "a number from 1 to 86400"),
    "disable_load_monitoring": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
    "model_path": (" ", "a directory, a tokenizer.json, or a HuggingFace id"),
    "tokenizer_path": (" ", "a directory, a tokenizer.json, or a HuggingFace id"),
    "chat_template": ("template.txt", "a file that ends with .jinja"),
    "disable_tokenizer_autoload": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
    "tokenizer_cache_enable_l0": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
    "tokenizer_cache_l0_max_entries": ("0", "a whole number from 1 to 100000000"),
    "tokenizer_cache_l0_max_memory": ("1", "a whole number from 1024 to 1099511627776"),
    "tokenizer_cache_enable_l1": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
    "tokenizer_cache_l1_max_memory": ("1GB", "a whole number from 1024 to 1099511627776"),
    "prometheus_port": ("-1", "a whole number from 0 to 65535"),
    "prometheus_host": ("http://a", "an address or host name without a port"),
    "disable_prometheus": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
    "log_level": ("loud", "one of debug, info, warn, error"),
    "log_json": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
    "no_ui": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
    "ascii": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
    "ssh_port": ("65536", "a whole number from 0 to 65535"),
    "ssh_host": ("0.0.0.0:80", "an address or host name without a port"),
    "ssh_authorized_keys": (" ", "expected a file"),
    "ssh_host_key": (" ", "expected a file"),
    "ssh_max_sessions": ("0", "a whole number from 1 to 1000"),
    "ssh_max_unauthenticated": ("0", "a whole number from 1 to 1000"),
    "ssh_login_timeout_secs": ("0", "a number from 1 to 600"),
    "ssh_keepalive_secs": ("-1", "a number from 0 to 3600"),
    "read_only": ("maybe", "one of 1, true, yes, on, 0, false, no, off"),
}
"""A wrong value of each setting, and what the refusal says is accepted. Any text may name a theme or a directory."""


def test_every_setting_has_a_wrong_value_in_these_tests() -> None:
    assert set(WRONG) == set(Settings.model_fields) - {"theme", "log_dir"}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_tells_where_it_stood_what_it_was_and_what_is_accepted(name: str, tmp_path: Path) -> None:
    text, accepted = WRONG[name]
    shown = "(hidden)" if name in SECRETS else repr(text)
    said = refused(environment={environment_name(name): text})
    assert said.startswith(f"{environment_name(name)}: given {shown}, ")
    assert accepted in said
    file = tmp_path / "s.toml"
    value = f'["{text}"]' if isinstance(Settings.model_fields[name].default, tuple) else f'"{text}"'
    file.write_text(f"{name} = {value}\n", encoding="utf-8")
    assert refused(file=file).startswith(f"{file}: {name}: given {shown}, ")
    if Settings.model_fields[name].annotation is not bool:
        said = refused(f"{flag(name)}={text}")
        assert said.startswith(f"{flag(name)}: given {shown}, ")
        assert accepted in said


@pytest.mark.parametrize("name", ["host", "theme", "log_dir"])
def test_an_empty_flag_is_refused_where_nothing_means_nothing(name: str) -> None:
    assert refused(flag(name), "").startswith(f"{flag(name)}: given '', expected ")


def test_every_secret_of_the_model_is_known_as_one() -> None:
    assert {name for name, field in Settings.model_fields.items() if "Secret" in repr(field.annotation)} == SECRETS


PORTS = st.none() | st.integers(1, 28999)


@given(flagged=PORTS, in_environment=PORTS, default=st.just(30000))
def test_a_flag_wins_over_the_environment_which_wins_over_the_default(
    flagged: int | None, in_environment: int | None, default: int
) -> None:
    words = [] if flagged is None else [f"--port={flagged}"]
    environment = {} if in_environment is None else {"SMG_CONSOLE_PORT": str(in_environment)}
    found = loaded(*words, environment=environment)
    expected = [
        (value, origin)
        for value, origin in ((flagged, "--port"), (in_environment, "SMG_CONSOLE_PORT"), (default, "default"))
        if value is not None
    ]
    assert (found.settings.port, found.origins["port"]) == expected[0]


@given(st.sets(st.sampled_from(["flag", "variable", "file"])), st.permutations([True, False, True]))
def test_a_switch_can_be_turned_either_way_by_whatever_is_stronger(
    tmp_path_factory: pytest.TempPathFactory, given_in: set[str], values: list[bool]
) -> None:
    by_flag, by_variable, by_file = values
    file = tmp_path_factory.getbasetemp() / "switch.toml"
    file.write_text(f"log_json = {str(by_file).lower()}\n" if "file" in given_in else "", encoding="utf-8")
    words = ["--log-json" if by_flag else "--no-log-json"] if "flag" in given_in else []
    environment = {"SMG_CONSOLE_LOG_JSON": "on" if by_variable else "off"} if "variable" in given_in else {}
    order = [("flag", by_flag), ("variable", by_variable), ("file", by_file)]
    expected = next((value for source, value in order if source in given_in), False)
    assert loaded(*words, environment=environment, file=file).settings.log_json is expected


SECONDS = st.floats(0.1, 3600, allow_nan=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "port": st.integers(0, 28999),
    "max_payload_size": st.integers(1024, 1 << 40),
    "health_check_timeout_secs": SECONDS,
    "request_timeout_secs": SECONDS,
    "health_failure_threshold": st.integers(1, 1000),
    "policy": st.sampled_from(["random", "round_robin", "power_of_two"]),
    "health_check_endpoint": st.from_regex(r"/[!-~]{0,20}", fullmatch=True),
    "request_id_headers": st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True), min_size=1).map(tuple),
    "worker_urls": st.lists(st.from_regex(r"https?://w[0-9]{1,5}:8000", fullmatch=True), unique=True).map(tuple),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_settings_written_as_flags_or_variables_read_back_as_they_were(wanted: dict[str, Any]) -> None:
    words: list[str] = []
    environment: dict[str, str] = {}
    for name, value in wanted.items():
        texts = list(value) if isinstance(value, tuple) else [str(value)]
        words += [flag(name), *texts]
        environment[environment_name(name)] = ",".join(texts)
    expected = Settings.model_validate(wanted)
    assert loaded(*words).settings == expected
    assert loaded(environment=environment).settings == expected


def test_a_list_given_twice_grows_so_that_no_worker_is_lost() -> None:
    found = loaded("--worker-urls", "http://a:1", "--port", "1", "--worker-urls", "http://b:1", "http://c:1")
    assert found.settings.worker_urls == ("http://a:1", "http://b:1", "http://c:1")


def test_a_list_in_the_environment_is_separated_by_spaces_or_commas_and_empty_is_unset() -> None:
    for text in ("http://a:1,http://b:1", "http://a:1 http://b:1", " http://a:1 ,\n http://b:1 "):
        found = loaded(environment={"SMG_CONSOLE_WORKER_URLS": text})
        assert found.settings.worker_urls == ("http://a:1", "http://b:1")
    assert loaded(environment={"SMG_CONSOLE_PORT": ""}).origins["port"] == "default"


def test_the_alias_of_the_startup_check_interval_is_the_same_setting() -> None:
    assert loaded("--worker-startup-check-interval-secs", "7").settings.worker_startup_check_interval == 7


def test_a_flag_makes_a_wrong_variable_harmless() -> None:
    found = loaded("--no-ui", "--port=1", environment={"SMG_CONSOLE_NO_UI": "maybe", "SMG_CONSOLE_PORT": "x"})
    assert (found.settings.no_ui, found.settings.port) == (True, 1)


def test_what_kubernetes_tells_of_a_service_named_like_us_is_not_a_setting() -> None:
    links = {
        "SMG_CONSOLE_SERVICE_HOST": "10.0.0.1",
        "SMG_CONSOLE_SERVICE_PORT": "80",
        "SMG_CONSOLE_SERVICE_PORT_HTTP": "80",
        "SMG_CONSOLE_PORT": "tcp://10.0.0.1:80",
        "SMG_CONSOLE_PORT_80_TCP": "tcp://10.0.0.1:80",
        "SMG_CONSOLE_PORT_80_TCP_PROTO": "tcp",
        "SMG_CONSOLE_PORT_80_TCP_PORT": "80",
        "SMG_CONSOLE_PORT_80_TCP_ADDR": "10.0.0.1",
        "SMG_CONSOLE_METRICS_SERVICE_HOST": "10.0.0.2",
        "SMG_CONSOLE_PROMETHEUS_PORT": "tcp://10.0.0.3:29000",
    }
    assert loaded(environment=links) == loaded()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("port = true", "port: given 'True', expected a whole number from 0 to 65535"),
        ("connect_timeout_secs = true", "connect_timeout_secs: given 'True', expected a number"),
        ("port = 1979-05-27", "port: given '1979-05-27', expected a whole number"),
        ("ssh_port = true", "ssh_port: given 'True', expected a whole number from 0 to 65535"),
        ("host = 5", "host: given '5', expected a string"),
        ("log_dir = 5", "log_dir: given '5', expected a path"),
        ("no_ui = 2", "no_ui: given '2', expected true or false"),
        ("worker_urls = 'http://a:1'", "worker_urls: given 'http://a:1', expected a list of strings"),
        ("worker_urls = ['http://a:1', 5]", "worker_urls: given '5', expected a string"),
        ("log_json = true\nlog-json = false", "log-json: given twice, as log_json and as log-json"),
        ('"po\\nrt" = 1', "po\\nrt: unknown setting; did you mean port?"),
    ],
)
def test_a_file_with_a_wrong_kind_of_value_is_refused_in_one_line(text: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text, encoding="utf-8")
    assert refused(file=file).startswith(f"{file}: {line}")


def test_a_file_that_cannot_be_read_names_who_asked_for_it_and_a_broken_one_the_position(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.toml")
    said = refused(environment={"SMG_CONSOLE_CONFIG": absent})
    assert said == f"SMG_CONSOLE_CONFIG: cannot read {absent}: no such file or directory"
    file = tmp_path / "s.toml"
    file.write_bytes(b"no_ui = true\nport = \n")
    assert "line 2, column 8" in refused(file=file)
    file.write_bytes(b"host = '\xff'")
    assert "is not valid TOML" in refused(file=file)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:s3cret@a:1",
        "http://user:s3cret/x@a:1",
        "http://user:s3 cret@a:1",
        "http://user:p@s3cret@a:1",
        "user:s3cret@a:1",
        "grpc://user:s3cret@a:1",
    ],
)
def test_a_password_in_a_url_is_never_repeated_however_the_url_is_wrong(url: str, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    for text in (f'worker_urls = ["{url}"]', f'worker_urls = "{url}"', f'worker_urls = [{{a = "{url}"}}]'):
        file.write_text(text, encoding="utf-8")
        assert "cret" not in refused(file=file)
    assert "cret" not in refused("--worker-urls", "http://b:1", url)
    assert "cret" not in refused("--no-ui", url)
    assert "cret" not in refused(environment={"SMG_CONSOLE_WORKER_URLS": url.replace(" ", "%20")})


@given(st.text(min_size=1, max_size=20))
def test_any_word_is_settings_or_one_line(word: str) -> None:
    said = ""
    try:
        loaded("--no-ui", word)
    except UsageError as error:
        said = str(error)
    assert said == "" or said.isprintable()


def test_without_a_terminal_what_is_for_the_console_counts_for_nothing() -> None:
    found = without_terminal(loaded("--theme", "daylight", "--read-only", environment={"SMG_CONSOLE_ASCII": "1"}))
    settings = found.settings
    assert (settings.no_ui, settings.theme, settings.ascii, settings.read_only) == (True, None, False, False)
    assert found.origins["no_ui"] == "no terminal"


def test_without_a_terminal_what_is_for_the_console_still_counts_for_ssh_clients() -> None:
    given = loaded("--theme", "daylight", "--read-only", "--ssh-port", "0", environment={"SMG_CONSOLE_ASCII": "1"})
    settings = without_terminal(given).settings
    assert (settings.no_ui, settings.theme, settings.ascii, settings.read_only) == (True, "daylight", True, True)
