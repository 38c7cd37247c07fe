"""From the settings to what each part of the gateway takes: limits, thresholds and plans. Pure."""

import os

from gateway.kubernetes.pods import PodRules, model_from
from gateway.kubernetes.selectors import parse_tokens
from gateway.proxy.admission import AdmissionSettings
from gateway.proxy.fleet import RoutingPlan
from gateway.proxy.retry import RetrySettings
from gateway.proxy.settings import ProxySettings
from gateway.routing.settings import RoutingSettings
from gateway.settings import Settings
from gateway.tokenizers.encode import CacheSettings
from gateway.tokenizers.places import place_of, template_path
from gateway.tokenizers.registry import Wanted
from gateway.workers.breaker import BreakerSettings
from gateway.workers.model import HealthSettings, Role, Secret
from gateway.workers.overload import OverloadSettings

LEAST_CONCURRENT = 4096
CONCURRENT_PER_CORE = 1024


def health_settings(settings: Settings) -> HealthSettings:
    """The probe settings that hold for a worker without its own."""
    return HealthSettings(
        interval_s=settings.health_check_interval_secs,
        timeout_s=settings.health_check_timeout_secs,
        success_threshold=settings.health_success_threshold,
        failure_threshold=settings.health_failure_threshold,
        disabled=settings.disable_health_check,
        endpoint=settings.health_check_endpoint,
        failed_threshold=settings.health_failed_threshold,
    )


def proxy_settings(settings: Settings) -> ProxySettings:
    """The limits of the data plane."""
    return ProxySettings(
        max_payload_bytes=settings.max_payload_size,
        header_read_timeout_s=settings.header_read_timeout_secs,
        idle_timeout_s=settings.idle_connection_timeout_secs,
        request_timeout_s=settings.request_timeout_secs,
        connect_timeout_s=settings.connect_timeout_secs,
        pool_max_idle=settings.upstream_pool_max_idle,
        pool_idle_timeout_s=settings.upstream_pool_idle_timeout_secs,
        request_id_headers=settings.request_id_headers,
        first_byte_timeout_s=settings.first_byte_timeout_secs,
        stream_idle_timeout_s=settings.stream_body_stall_timeout_secs,
        websocket_idle_timeout_s=settings.websocket_idle_timeout_secs,
        worker_stall_s=settings.worker_stall_secs,
        admission=AdmissionSettings(
            max_concurrent=_most_at_once(settings.max_concurrent_requests),
            queue_size=settings.queue_size,
            queue_timeout_s=settings.queue_timeout_secs,
            per_second=settings.rate_limit_tokens_per_second or None,
        ),
        retry=RetrySettings(
            attempts=1 if settings.disable_retries else settings.retry_max_retries,
            initial_backoff_s=settings.retry_initial_backoff_ms / 1000,
            max_backoff_s=settings.retry_max_backoff_ms / 1000,
            multiplier=settings.retry_backoff_multiplier,
            jitter=settings.retry_jitter_factor,
        ),
    )


def _most_at_once(setting: int) -> int | None:
    if setting == -1:
        return max(LEAST_CONCURRENT, CONCURRENT_PER_CORE * (os.cpu_count() or 1))
    return setting or None


def breaker_settings(settings: Settings) -> BreakerSettings:
    """The circuit breaker of every worker."""
    return BreakerSettings(
        failure_threshold=settings.cb_failure_threshold,
        failure_share=settings.cb_failure_share,
        success_threshold=settings.cb_success_threshold,
        trials=settings.cb_half_open_requests,
        open_s=settings.cb_timeout_duration_secs,
        window_s=settings.cb_window_duration_secs,
        disabled=settings.disable_circuit_breaker,
    )


def overload_settings(settings: Settings) -> OverloadSettings:
    """From when on a worker's own report takes it out."""
    return OverloadSettings(
        waiting=settings.worker_overload_waiting_requests,
        kv_usage=settings.worker_overload_token_usage,
        disabled=settings.disable_worker_overload_protection,
    )


def routing_plan(settings: Settings) -> RoutingPlan:
    """Which policy serves which role, with all parameters."""
    return RoutingPlan(
        policy=settings.policy,
        prefill_policy=settings.prefill_policy,
        decode_policy=settings.decode_policy,
        aliases=dict(alias.split("=", 1) for alias in settings.model_alias),
        disaggregated=settings.pd_disaggregation,
        shed_overload=settings.worker_overload_shed,
        parameters=RoutingSettings(
            cache_threshold=settings.cache_threshold,
            balance_abs_threshold=settings.balance_abs_threshold,
            balance_rel_threshold=settings.balance_rel_threshold,
            max_tree_size=settings.max_tree_size,
            cache_ttl_s=settings.cache_ttl_secs,
            prefix_token_count=settings.prefix_token_count,
            prefix_hash_load_factor=settings.prefix_hash_load_factor,
            prefix_hash_balance_abs_threshold=settings.prefix_hash_balance_abs_threshold,
            kv_pressure_weight=settings.least_load_kv_pressure_weight,
            default_throughput=settings.least_load_default_throughput,
            mean_prefill_tokens=settings.least_load_mean_prefill_tokens,
            max_idle_s=settings.max_idle_secs,
            assignment_mode=settings.assignment_mode,
            bucket_adjust_interval_s=settings.bucket_adjust_interval_secs,
            load_fresh_s=3 * settings.load_monitor_interval,
        ),
    )


def wanted_tokenizers(settings: Settings) -> Wanted:
    """Which tokenizer is loaded at start, and what all of them keep."""
    exact, prefix = settings.tokenizer_cache_enable_l0, settings.tokenizer_cache_enable_l1
    source = settings.tokenizer_path or settings.model_path
    return Wanted(
        caches=CacheSettings(
            exact_bytes=settings.tokenizer_cache_l0_max_memory if exact else 0,
            exact_entries=settings.tokenizer_cache_l0_max_entries,
            prefix_bytes=settings.tokenizer_cache_l1_max_memory if prefix else 0,
        ),
        autoload=not settings.disable_tokenizer_autoload,
        place=place_of(source, settings.chat_template) if source else None,
        name=settings.model_path or settings.tokenizer_path or "",
        template=template_path(settings.chat_template) if settings.chat_template else None,
        aliases=dict(alias.split("=", 1) for alias in settings.model_alias),
    )


def pod_rules(settings: Settings) -> PodRules:
    """How pods become workers."""
    given = (
        (Role.PREFILL, settings.prefill_selector),
        (Role.DECODE, settings.decode_selector),
        (Role.REGULAR, settings.selector),
    )
    key = settings.worker_api_key
    return PodRules(
        tuple((role, parse_tokens(words)) for role, words in given if words),
        settings.service_discovery_port,
        model_from(settings.model_id_from) if settings.model_id_from else None,
        Secret(key.get_secret_value()) if key else None,
        settings.share_operations,
    )
