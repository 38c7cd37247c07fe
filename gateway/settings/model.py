"""What can be set: names, types, defaults, bounds and explanations, once for flag, environment and file.

SMG's flag names where it has one. A setting exists only if something reads it. A field's description is its
help text; `group` and `metavar` say how it shows in `--help`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from gateway.settings.discovery import DiscoverySettings
from gateway.settings.fields import Host, Port, Seconds, Urls, setting
from gateway.settings.ssh import SshSettings
from gateway.settings.tokenizers import TokenizerSettings
from gateway.settings.traffic import TrafficSettings


def _filled(value: Any) -> Any:
    if value == "":
        raise ValueError("expected something")
    return value


def _path(value: str) -> str:
    if not value.startswith("/") or any(not 32 < ord(c) < 127 for c in value):
        raise ValueError("expected a path such as /health")
    return value


def _socket(value: str) -> str:
    if value != "none" and (not value.startswith("/") or not value.isprintable()):
        raise ValueError("expected an absolute path, or none")
    return value


def _headers(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value or not all(c.isalnum() or c in "-_" for c in value) or not value.isascii():
            raise ValueError("expected header names such as x-request-id")
    return tuple(value.lower() for value in values)


def _key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or any(not 32 < ord(c) < 127 for c in text):
        raise ValueError("expected visible ASCII characters without spaces")
    return value


class Settings(TrafficSettings, DiscoverySettings, TokenizerSettings, SshSettings):
    """Everything that can be set. Times in seconds, sizes in bytes."""

    worker_urls: Urls = setting(
        (), "Workers", "Workers to register at start, as http://host:port or grpc://host:port.", "URL"
    )
    worker_api_key: Annotated[SecretStr, AfterValidator(_key)] | None = setting(
        None, "Workers", "Key sent to these workers (Bearer) with requests that carry none, and with probes.", "KEY"
    )
    worker_startup_timeout_secs: Seconds = setting(
        1800.0, "Workers", "How long a new worker may take to come up before it counts as failed.", "SECS"
    )
    worker_startup_check_interval: Seconds = setting(
        30.0,
        "Workers",
        "Longest pause between probes of a worker that is coming up. They start a second apart.",
        "SECS",
    )
    drain_timeout_secs: Annotated[float, Field(ge=0, le=604800)] = setting(
        300.0, "Workers", "How long a worker that is removed may go on with its requests in flight.", "SECS"
    )

    host: Host = setting("0.0.0.0", "Serving", "Address to serve on.", "HOST")
    port: Port = setting(
        30000, "Serving", "Port to serve on, data plane and control API alike; 0: any free one.", "PORT"
    )
    control_socket: Annotated[str, AfterValidator(_socket)] | None = setting(
        None,
        "Serving",
        "Unix socket for this user's consoles and commands, or none (default: smg-console/<port>.sock in the "
        "user's runtime directory).",
        "PATH",
    )
    request_timeout_secs: Seconds = setting(1800.0, "Serving", "Longest time for a whole request.", "SECS")
    connect_timeout_secs: Seconds = setting(10.0, "Serving", "Longest time for connecting to a worker.", "SECS")
    max_payload_size: Annotated[int, Field(ge=1024, le=1 << 40)] = setting(
        512 * 1024 * 1024, "Serving", "Largest request body.", "BYTES"
    )
    header_read_timeout_secs: Seconds = setting(
        30.0, "Serving", "How long a client may take to send the head of a request.", "SECS"
    )
    idle_connection_timeout_secs: Seconds = setting(
        90.0, "Serving", "How long a client's connection may stay open without a request.", "SECS"
    )
    upstream_pool_idle_timeout_secs: Seconds = setting(
        3.0,
        "Serving",
        "How long an unused connection to a worker is kept. Shorter than the 5 s after which uvicorn closes it.",
        "SECS",
    )
    upstream_pool_max_idle: Annotated[int, Field(ge=0, le=100000)] = setting(
        64, "Serving", "Unused connections kept per worker; 0: none.", "N"
    )
    request_id_headers: Annotated[tuple[str, ...], AfterValidator(_headers)] = setting(
        ("x-request-id", "x-correlation-id", "x-trace-id", "request-id"),
        "Serving",
        "Request headers that may carry the client's request id, best first.",
        "NAME",
    )
    shutdown_grace_period_secs: Annotated[float, Field(ge=0, le=86400)] = setting(
        180.0, "Serving", "How long requests in flight may go on after SIGTERM.", "SECS"
    )

    health_check_interval_secs: Annotated[float, Field(ge=0.1, le=86400)] = setting(
        30.0, "Health checks", "Pause between probes of a ready worker.", "SECS"
    )
    health_check_timeout_secs: Annotated[float, Field(ge=0.1, le=3600)] = setting(
        10.0, "Health checks", "How long a probe may take.", "SECS"
    )
    health_success_threshold: Annotated[int, Field(ge=1, le=1000)] = setting(
        2, "Health checks", "Good probes in a row that make a worker healthy.", "N"
    )
    health_failure_threshold: Annotated[int, Field(ge=1, le=1000)] = setting(
        3,
        "Health checks",
        "Bad probes in a row that make a worker unhealthy. After a request could not reach it, one is enough.",
        "N",
    )
    health_failed_threshold: Annotated[int, Field(ge=0, le=100000)] = setting(
        0, "Health checks", "Bad probes in a row that turn unhealthy into failed; 0: never.", "N"
    )
    health_check_endpoint: Annotated[str, AfterValidator(_path)] = setting(
        "/health", "Health checks", "Path that is probed; any 2xx is good.", "PATH"
    )
    health_check_concurrency: Annotated[int, Field(ge=1, le=10000)] = setting(
        128, "Health checks", "Probes under way at once.", "N"
    )
    disable_health_check: bool = setting(False, "Health checks", "Never probe; take every worker as healthy.")

    load_monitor_interval: Annotated[float, Field(ge=1, le=86400)] = setting(
        10.0, "Load", "Pause between polls of an engine's queue depth and KV usage.", "SECS"
    )
    disable_load_monitoring: bool = setting(False, "Load", "Never poll engines for their load.")

    prometheus_port: Port = setting(29000, "Metrics and logs", "Port of GET /metrics; 0: any free one.", "PORT")
    prometheus_host: Host | None = setting(
        None, "Metrics and logs", "Address of GET /metrics (default: --host).", "HOST"
    )
    disable_prometheus: bool = setting(False, "Metrics and logs", "Serve no metrics.")
    log_level: Literal["debug", "info", "warn", "error"] = setting(
        "info", "Metrics and logs", "Least level that is logged."
    )
    log_json: bool = setting(
        False, "Metrics and logs", "Log as JSON lines (always so where the log is not a terminal)."
    )
    log_dir: Annotated[Path | None, BeforeValidator(_filled)] = setting(
        None, "Metrics and logs", "Also log to smg-console.log here: 5 files of 10 MB in turn.", "DIR"
    )

    no_ui: bool = setting(False, "Console", "Serve without the console.")
    theme: Annotated[str | None, BeforeValidator(_filled)] = setting(
        None, "Console", "Colour theme of the console.", "NAME"
    )
    ascii: bool = setting(False, "Console", "Draw with ASCII characters only.")
    read_only: bool = setting(False, "Console", "The console shows everything and changes nothing; the API still can.")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """TOML's `true` is not the port 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise ValueError("expected a number")
        return value


GROUPS = (
    "Workers",
    "Kubernetes",
    "Serving",
    "Routing",
    "Prefill and decode",
    "Limits",
    "Retries",
    "Circuit breaker",
    "Health checks",
    "Load",
    "Tokenizers",
    "Metrics and logs",
    "Console",
    "SSH",
)
"""The groups in the order of `--help`."""
SECRETS = frozenset(("worker_api_key",))
"""Fields whose values are never repeated."""


def flag(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def environment_name(name: str) -> str:
    """The environment variable of a field."""
    return "SMG_CONSOLE_" + name.upper()
