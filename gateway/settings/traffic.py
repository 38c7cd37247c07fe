"""What can be set about the way of a request: policies, prefill-decode, limits, retries and circuit breaker."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from gateway.routing.policies import DEFAULT_POLICY, POLICY_NAMES
from gateway.settings.fields import Count, Seconds, SecondsOrNone, Share, Urls, setting
from gateway.workers.address import worker_url

NO_PORT = ("none", "None", "")


def _policy(value: str) -> str:
    if value not in POLICY_NAMES:
        raise ValueError(f"expected one of {', '.join(POLICY_NAMES)}")
    return value


def prefill_workers(words: tuple[str, ...]) -> list[tuple[str, int | None]]:
    """URLs, each with the bootstrap port that may stand behind it. Raises ValueError."""
    found: list[tuple[str, int | None]] = []
    for word in words:
        if word in NO_PORT or word.isdigit():
            if not found or found[-1][1] is not None:
                raise ValueError("expected each URL with at most one bootstrap port behind it")
            if word.isdigit():
                if not 1 <= int(word) <= 65535:
                    raise ValueError("expected bootstrap ports from 1 to 65535")
                found[-1] = (found[-1][0], int(word))
        else:
            found.append((worker_url(word), None))
    urls = [url for url, _ in found]
    if len(set(urls)) < len(urls):
        raise ValueError("expected each URL once")
    return found


def _prefill(words: tuple[str, ...]) -> tuple[str, ...]:
    prefill_workers(words)
    return words


def _as_words(value: object) -> object:
    """A settings file may give ports as numbers."""
    if isinstance(value, list | tuple):
        return tuple(str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in value)
    return value


def _aliases(values: tuple[str, ...]) -> tuple[str, ...]:
    names = [value.partition("=") for value in values]
    for name, sign, model in names:
        if not name or not sign or not model:
            raise ValueError("expected names as alias=model")
    if len({name for name, _, _ in names}) < len(names):
        raise ValueError("expected each alias once")
    return values


Policy = Annotated[str, AfterValidator(_policy)]


class TrafficSettings(BaseModel):
    """Times in seconds unless the name says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Policy = setting(
        DEFAULT_POLICY, "Routing", f"How a worker is chosen for a request: {', '.join(POLICY_NAMES)}.", "NAME"
    )
    model_alias: Annotated[tuple[str, ...], AfterValidator(_aliases)] = setting(
        (), "Routing", "Other names that clients may use for models, as alias=model.", "ALIAS=MODEL"
    )
    cache_threshold: Share = setting(
        0.3, "Routing", "cache_aware: share of a prompt that must match a worker's cache to decide.", "SHARE"
    )
    balance_abs_threshold: Annotated[int, Field(ge=0, le=1_000_000)] = setting(
        64, "Routing", "cache_aware, bucket: load decides when workers are further apart than this, ...", "N"
    )
    balance_rel_threshold: Annotated[float, Field(ge=1, le=1000)] = setting(
        1.5, "Routing", "... and the busiest has more than this many times the least.", "FACTOR"
    )
    max_tree_size: Annotated[int, Field(ge=1024, le=1 << 34)] = setting(
        64 * 1024 * 1024, "Routing", "cache_aware: characters remembered per model.", "N"
    )
    cache_ttl_secs: SecondsOrNone = setting(
        180.0, "Routing", "cache_aware: prompts not seen for this long are forgotten; 0: only for want of room.", "SECS"
    )
    prefix_token_count: Count = setting(
        256, "Routing", "prefix_hash: tokens (four times as many characters) that make the key.", "N"
    )
    prefix_hash_load_factor: Annotated[float, Field(ge=1, le=1000)] = setting(
        1.25, "Routing", "prefix_hash: load above this multiple of the average goes elsewhere.", "FACTOR"
    )
    prefix_hash_balance_abs_threshold: Annotated[int, Field(ge=0, le=1_000_000)] = setting(
        10, "Routing", "prefix_hash: but not while fewer than this are in flight.", "N"
    )
    least_load_kv_pressure_weight: Annotated[float, Field(ge=0, le=1000)] = setting(
        0.15, "Routing", "least_load, power_of_two: what a filling KV cache weighs.", "WEIGHT"
    )
    least_load_default_throughput: Annotated[float, Field(gt=0, le=1e9)] = setting(
        2000.0, "Routing", "least_load: tokens per second where no engine reports any.", "N"
    )
    least_load_mean_prefill_tokens: Count = setting(
        1024, "Routing", "least_load: tokens of a request that says nothing of its length.", "N"
    )
    max_idle_secs: Seconds = setting(
        14400.0, "Routing", "manual: a routing key not used for this long is forgotten.", "SECS"
    )
    assignment_mode: Literal["random", "min_load", "min_group"] = setting(
        "random", "Routing", "manual: how a new routing key gets its worker."
    )
    bucket_adjust_interval_secs: Seconds = setting(
        5.0, "Routing", "bucket: how often the ranges of prompt lengths are balanced anew.", "SECS"
    )

    pd_disaggregation: bool = setting(
        False, "Prefill and decode", "Send every request to a prefill and a decode worker."
    )
    prefill: Annotated[tuple[str, ...], BeforeValidator(_as_words), AfterValidator(_prefill)] = setting(
        (), "Prefill and decode", "Prefill workers, each with its bootstrap port where it has one.", "URL [PORT]"
    )
    decode: Urls = setting((), "Prefill and decode", "Decode workers.", "URL")
    prefill_policy: Policy | None = setting(
        None, "Prefill and decode", "Policy for prefill workers (default: --policy).", "NAME"
    )
    decode_policy: Policy | None = setting(
        None, "Prefill and decode", "Policy for decode workers (default: --policy).", "NAME"
    )

    max_concurrent_requests: Annotated[int, Field(ge=-1, le=1_000_000)] = setting(
        -1, "Limits", "Requests under way at once; 0: any number; -1: 1024 a core, at least 4096.", "N"
    )
    queue_size: Annotated[int, Field(ge=0, le=1_000_000)] = setting(
        100, "Limits", "Requests that may wait for their turn; one more is refused with 429.", "N"
    )
    queue_timeout_secs: Seconds = setting(
        60.0, "Limits", "How long a request may wait for its turn before it is refused with 408.", "SECS"
    )
    rate_limit_tokens_per_second: Annotated[float, Field(ge=0, le=1_000_000)] = setting(
        0.0, "Limits", "Requests let in per second, over time; 0: any number.", "N"
    )
    worker_overload_waiting_requests: Count = setting(
        8, "Limits", "A worker with so many in its queue gets no more while another has fewer.", "N"
    )
    worker_overload_token_usage: Annotated[float, Field(gt=0, le=1)] = setting(
        0.8, "Limits", "The same for the used share of its KV cache.", "SHARE"
    )
    disable_worker_overload_protection: bool = setting(
        False, "Limits", "Do not leave workers out for what they report of their load."
    )
    worker_overload_shed: bool = setting(
        False, "Limits", "Refuse with 503 when all workers are overloaded, rather than load one further."
    )
    stream_body_stall_timeout_secs: Seconds = setting(
        300.0, "Limits", "Longest silence between two pieces of an answer.", "SECS"
    )
    first_byte_timeout_secs: SecondsOrNone = setting(
        0.0, "Limits", "Ask another worker when nothing of an answer came for this long; 0: never.", "SECS"
    )
    websocket_idle_timeout_secs: SecondsOrNone = setting(
        0.0, "Limits", "Close a WebSocket over which nothing goes for this long; 0: never.", "SECS"
    )
    worker_stall_secs: SecondsOrNone = setting(
        5.0, "Limits", "Probe a worker with requests in flight that says nothing for this long; 0: never.", "SECS"
    )

    retry_max_retries: Annotated[int, Field(ge=1, le=100)] = setting(
        5, "Retries", "Attempts at a request in all, as long as nothing of an answer has gone out.", "N"
    )
    retry_initial_backoff_ms: Annotated[float, Field(ge=0, le=3_600_000)] = setting(
        50.0, "Retries", "Pause before the second attempt.", "MS"
    )
    retry_max_backoff_ms: Annotated[float, Field(ge=0, le=3_600_000)] = setting(
        30000.0, "Retries", "Longest pause between two attempts.", "MS"
    )
    retry_backoff_multiplier: Annotated[float, Field(ge=1, le=100)] = setting(
        1.5, "Retries", "Growth of the pause from one attempt to the next.", "FACTOR"
    )
    retry_jitter_factor: Share = setting(0.2, "Retries", "Share by which a pause varies.", "SHARE")
    disable_retries: bool = setting(False, "Retries", "One attempt is all.")

    cb_failure_threshold: Count = setting(
        10, "Circuit breaker", "Failed requests within the window that take a worker out.", "N"
    )
    cb_failure_share: Share = setting(
        0.5, "Circuit breaker", "Least share of failures among the requests of that time; 0: any.", "SHARE"
    )
    cb_success_threshold: Count = setting(
        3, "Circuit breaker", "Trial requests that must succeed to bring it back.", "N"
    )
    cb_half_open_requests: Count = setting(3, "Circuit breaker", "Trial requests at once.", "N")
    cb_timeout_duration_secs: Seconds = setting(
        60.0, "Circuit breaker", "How long a worker is out before it gets trial requests.", "SECS"
    )
    cb_window_duration_secs: Seconds = setting(120.0, "Circuit breaker", "The window.", "SECS")
    disable_circuit_breaker: bool = setting(False, "Circuit breaker", "Failed requests take no worker out.")
