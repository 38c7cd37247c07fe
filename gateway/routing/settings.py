"""The published parameters of the routing policies. Values only; names and defaults are SMG's."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """Parameters of all policies; each reads its own. Times in seconds."""

    cache_threshold: float = 0.3
    """cache_aware: share of the prompt that must match before its worker is preferred."""
    balance_abs_threshold: int = 64
    """cache_aware, bucket: in-flight difference between the busiest and the idlest from which load decides, …"""
    balance_rel_threshold: float = 1.5
    """… if the busiest also has this many times as much as the idlest."""
    eviction_interval_s: float = 60.0
    """cache_aware: how often SMG evicts. Accepted for its sake: here the bound holds after every request."""
    max_tree_size: int = 64 * 1024 * 1024
    """cache_aware: characters (or token ids) kept per model."""
    cache_ttl_s: float = 180.0
    """cache_aware: what was not asked for in this time is forgotten; 0: only size counts."""
    prefix_token_count: int = 256
    """prefix_hash: token ids (or four times as many characters) that make the key."""
    prefix_hash_load_factor: float = 1.25
    """prefix_hash: load above this multiple of the average sends a request elsewhere."""
    prefix_hash_balance_abs_threshold: int = 10
    """prefix_hash: but not below this many in flight."""
    kv_pressure_weight: float = 0.15
    """least_load, power_of_two: what KV usage k weighs, times k / (1 - k)."""
    default_throughput: float = 2000.0
    """least_load: tokens per second assumed where no engine reports any."""
    mean_prefill_tokens: int = 1024
    """least_load: tokens assumed of a request whose prompt is unknown."""
    max_idle_s: float = 14400.0
    """manual: an assignment that was not used for this long is forgotten."""
    assignment_mode: str = "random"
    """manual: how a new key gets its worker: random, min_load or min_group."""
    bucket_adjust_interval_s: float = 5.0
    """bucket: how often the length ranges are balanced anew."""
    load_fresh_s: float = 30.0
    """An engine's load report older than this does not count."""
