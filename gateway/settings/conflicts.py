"""Settings that are fine one by one and cannot hold together. Pure: settings and origins in, a sentence out.

A setting that a switch makes useless is refused where the operator gave it knowingly: beside the switch or over it.
So `--theme` over a file's `no_ui` is refused, and a theme in a shared file does not stop `--no-ui`.
"""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from gateway.settings.discovery import DiscoverySettings
from gateway.settings.model import Settings, environment_name, flag
from gateway.settings.ssh import SshSettings
from gateway.settings.tokenizers import TokenizerSettings
from gateway.settings.traffic import prefill_workers

DEFAULT = "default"
_HERE = ("0.0.0.0", "::", "127.0.0.1", "::1", "localhost")


def conflict(settings: Settings, origins: Mapping[str, str]) -> str | None:
    """Why these settings cannot hold together, in one line, or None. `origins` are those of `load`."""

    def named(name: str) -> str:
        return spelling(name, origins)

    if settings.port and settings.port == settings.prometheus_port and not settings.disable_prometheus:
        return f"{named('port')} and {named('prometheus_port')} are both {settings.port}; give them different ports"
    if (problem := _ssh(settings, origins)) is not None:
        return problem
    for name, switch in _useless(settings):
        if _strength(name, origins) >= _strength(switch, origins) and origins[name] != DEFAULT:
            why = "is for the console, which" if switch == "no_ui" else "has no effect with"
            end = " switches off" if switch == "no_ui" else ""
            return f"{named(name)} {why} {named(switch)}{end}; give one of the two"
    if settings.worker_startup_check_interval > settings.worker_startup_timeout_secs:
        return (
            f"{named('worker_startup_check_interval')} ({settings.worker_startup_check_interval:g}) is longer than "
            f"{named('worker_startup_timeout_secs')} ({settings.worker_startup_timeout_secs:g})"
        )
    listed_or_found = settings.worker_urls or settings.prefill or settings.decode or settings.service_discovery
    if settings.worker_api_key is not None and not listed_or_found:
        return f"{named('worker_api_key')} is for the workers of --worker-urls, and there are none"
    if (problem := _discovery(settings, origins)) is not None:
        return problem
    for level in ("l0", "l1"):
        enable = f"tokenizer_cache_enable_{level}"
        for name in TokenizerSettings.model_fields:
            of_it = name.startswith(f"tokenizer_cache_{level}_") and origins[name] != DEFAULT
            given = of_it and _strength(name, origins) >= _strength(enable, origins)
            if given and not getattr(settings, enable):
                return f"{named(name)} is for {flag(enable)}, which is off"
    if not settings.pd_disaggregation:
        for name in ("prefill", "decode", "prefill_selector", "decode_selector"):
            if getattr(settings, name):
                return f"{named(name)} is for {named('pd_disaggregation')}, which is not given"
    if settings.retry_initial_backoff_ms > settings.retry_max_backoff_ms:
        return (
            f"{named('retry_initial_backoff_ms')} ({settings.retry_initial_backoff_ms:g}) is longer than "
            f"{named('retry_max_backoff_ms')} ({settings.retry_max_backoff_ms:g})"
        )
    prefill = [url for url, _ in prefill_workers(settings.prefill)]
    listed = [("worker_urls", url) for url in settings.worker_urls]
    listed += [("prefill", url) for url in prefill] + [("decode", url) for url in settings.decode]
    for place, (name, url) in enumerate(listed):
        if any(url == other for _, other in listed[:place]):
            return f"{named(name)}: {url} is given twice, in two roles"
    for name, url in listed:
        if _is_ourselves(url, settings):
            return f"{named(name)}: {url} is where {named('port')} makes this gateway itself listen"
    return None


def _discovery(settings: Settings, origins: Mapping[str, str]) -> str | None:
    """Settings of the discovery without it, or it without pods to look for."""
    if settings.service_discovery:
        if settings.pd_disaggregation:
            wanted = settings.prefill_selector or settings.decode_selector or settings.selector
            missing = "--prefill-selector and --decode-selector"
        else:
            wanted, missing = settings.selector, "--selector"
        if wanted or (settings.pd_disaggregation and (settings.prefill or settings.decode)):
            return None
        return f"{spelling('service_discovery', origins)} needs {missing}: every pod there is would be a worker"
    for name in DiscoverySettings.model_fields:
        if name != "service_discovery" and origins[name] != DEFAULT:
            return f"{spelling(name, origins)} is for --service-discovery, which is not given"
    return None


def _ssh(settings: Settings, origins: Mapping[str, str]) -> str | None:
    """Settings of the SSH server without it, or its port taken twice."""
    if settings.ssh_port is None:
        for name in SshSettings.model_fields:
            if origins[name] != DEFAULT:
                return f"{spelling(name, origins)} is for --ssh-port, which is not given"
        return None
    taken = ["port", *([] if settings.disable_prometheus else ["prometheus_port"])]
    for name in taken:
        if settings.ssh_port and settings.ssh_port == getattr(settings, name):
            both = f"{spelling('ssh_port', origins)} and {spelling(name, origins)} are both {settings.ssh_port}"
            return f"{both}; give them different ports"
    return None


def spelling(name: str, origins: Mapping[str, str]) -> str:
    """How the user wrote a setting: variable or file and key if it came from there, else the flag."""
    return flag(name) if origins[name] == DEFAULT else origins[name]


def _useless(settings: Settings) -> Iterator[tuple[str, str]]:
    """Settings that have no effect, each with the switch that takes it."""
    if settings.no_ui and settings.ssh_port is None:
        for name in ("theme", "ascii", "read_only"):
            if getattr(settings, name):
                yield name, "no_ui"
    if settings.disable_prometheus:
        yield from (("prometheus_port", "disable_prometheus"), ("prometheus_host", "disable_prometheus"))
    if settings.disable_health_check and settings.health_failed_threshold:
        yield "health_failed_threshold", "disable_health_check"
    if settings.disable_tokenizer_autoload:
        for name in ("model_path", "tokenizer_path", "chat_template"):
            yield name, "disable_tokenizer_autoload"
    if settings.disable_load_monitoring:
        yield "load_monitor_interval", "disable_load_monitoring"
    if settings.disable_retries:
        for name in ("max_retries", "initial_backoff_ms", "max_backoff_ms", "backoff_multiplier", "jitter_factor"):
            yield f"retry_{name}", "disable_retries"
    if settings.disable_circuit_breaker:
        for name in ("failure_threshold", "failure_share", "success_threshold", "half_open_requests"):
            yield f"cb_{name}", "disable_circuit_breaker"
    if settings.disable_worker_overload_protection:
        for name in ("waiting_requests", "token_usage", "shed"):
            yield f"worker_overload_{name}", "disable_worker_overload_protection"


def _strength(name: str, origins: Mapping[str, str]) -> int:
    """The rank of where a setting came from: default, file, environment, flag."""
    return {DEFAULT: 0, environment_name(name): 2, flag(name): 3}.get(origins[name], 1)


def _is_ourselves(url: str, settings: Settings) -> bool:
    """Whether a worker's URL leads back to this gateway, which would then send its requests round and round."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    near = parts.hostname in _HERE and settings.host in _HERE
    return port == settings.port and (near or parts.hostname == settings.host.lower())
