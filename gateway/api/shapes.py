"""The shapes of the control API's answers, as types: the functions that make them are checked against these, and
`/openapi.json` is made from them. Nothing here runs when a request is answered.
"""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

Milliseconds = float | None
Rfc3339 = str
SmgStatus = Literal["pending", "ready", "not_ready", "failed", "draining"]
ListedState = Literal["registering", "ready", "unhealthy", "failed", "draining"]


class ErrorJson(TypedDict):
    """SMG's error shape on control routes."""

    error: str
    code: str


class OpenAiErrorMembers(TypedDict):
    type: str
    code: str
    message: str
    param: str | None


class OpenAiErrorJson(TypedDict):
    """OpenAI's error shape: unknown URLs, wrong methods, and routes that are forwarded."""

    error: OpenAiErrorMembers


class PercentilesJson(TypedDict):
    """Milliseconds; null where nothing was measured."""

    p50: Milliseconds
    p95: Milliseconds
    p99: Milliseconds


class WindowsJson(PercentilesJson):
    """Over the last minute, and over the last five."""

    window_5m: PercentilesJson


class HealthStatusJson(TypedDict):
    status: Literal["unknown", "healthy", "unhealthy"]
    consecutive_failures: int
    consecutive_successes: int
    last_check: Rfc3339 | None
    last_error: str | None
    latency_ms: Milliseconds
    last_change: Rfc3339 | None


class DrainJson(TypedDict):
    intent: Literal["hold", "remove"]
    since: Rfc3339 | None
    deadline: Rfc3339 | None
    in_flight: int
    drained: bool


class BreakerJson(TypedDict):
    """`failures`: of a closed one, those within its window, at most as many as would open it."""

    state: Literal["closed", "open", "half_open"]
    reason: str | None
    since: Rfc3339 | None
    until: Rfc3339 | None
    failures: int


class CapabilitiesJson(TypedDict):
    """What the engine told of itself; null where it did not say."""

    engine: str
    connection: Literal["http", "grpc"] | None
    version: str | None
    model_id: str | None
    models: list[str]
    model_path: str | None
    context_length: int | None
    tokenizer_path: str | None
    tp_size: int | None
    dp_size: int | None
    pp_size: int | None
    max_running_requests: int | None
    max_total_tokens: int | None
    is_generation: bool | None
    missing: list[str]


class HealthOverrideJson(TypedDict, total=False):
    timeout_secs: float
    check_interval_secs: float
    success_threshold: int
    failure_threshold: int
    disable_health_check: bool
    endpoint: str


class ModelJson(TypedDict):
    id: str
    display_name: NotRequired[str]
    aliases: NotRequired[list[str]]
    model_type: NotRequired[list[str]]
    context_length: NotRequired[int]
    tokenizer_path: NotRequired[str]


class SpecJson(TypedDict):
    """SMG's WorkerSpec, as far as it has a meaning here; the key is never shown."""

    url: str
    models: list[ModelJson]
    worker_type: Literal["regular", "prefill", "decode"]
    connection_mode: Literal["http", "grpc"]
    priority: int
    cost: float
    bootstrap_port: NotRequired[int]
    max_in_flight: NotRequired[int]
    health: NotRequired[HealthOverrideJson]
    load_monitor_interval_secs: NotRequired[float]


class WorkerJson(SpecJson):
    """SMG's WorkerInfo, and ours beside it."""

    id: str
    model_id: str | None
    runtime_type: str
    labels: dict[str, str]
    is_healthy: bool
    status: SmgStatus
    load: int
    name: str
    state: ListedState
    since: Rfc3339 | None
    reason: str
    revision: int
    source: str
    cordoned: bool
    routable: bool
    because: str
    in_flight: int
    queue_depth: int | None
    kv_usage: float | None
    requests: int
    errors: int
    requests_per_s: float
    errors_per_s: float
    last_request_error: str | None
    health_status: HealthStatusJson
    response_ms: WindowsJson
    ttft_ms: WindowsJson
    drain: DrainJson | None
    circuit_breaker: BreakerJson
    ejected: str | None
    overloaded: bool
    capabilities: CapabilitiesJson


class GatewayJson(TypedDict):
    """The gateway itself at the moment `at`. `boot` is another one after each start; `loop_late_ms` the worst of the
    last second."""

    version: str
    boot: str
    address: str
    metrics_address: str | None
    started_at: Rfc3339 | None
    at: Rfc3339 | None
    policy: str
    requests_per_s: float
    errors_per_s: float
    in_flight: int
    loop_late_ms: float
    stopping: bool
    people: int


class PersonJson(TypedDict):
    """Somebody with an open console; `address` is empty for the terminal the gateway runs in, and on its machine."""

    actor: str
    role: Literal["viewer", "operator", "admin"]
    address: str
    since: Rfc3339 | None
    doing: str
    terminal: str


class PeopleJson(TypedDict):
    people: list[PersonJson]


class DrainingJson(TypedDict):
    """`left_secs`: until its deadline; null: it has none."""

    name: str
    in_flight: int
    began_with: int
    left_secs: float | None


class RollingDrainJson(TypedDict):
    """Many workers, drained a few at a time; all of them by name."""

    id: str
    what: str
    actor: str
    max: int
    floor: int
    remove: bool
    total: int
    phase: Literal["running", "paused", "stopping", "done", "stopped", "cancelled"]
    why: str
    under_way: list[DrainingJson]
    waiting: list[str]
    done: list[str]
    failed: list[str]
    began_at: Rfc3339 | None
    ended_at: Rfc3339 | None


class RollingDrainsJson(TypedDict):
    rolling_drains: list[RollingDrainJson]


class RollingDoneJson(TypedDict):
    changed: bool
    message: str
    rolling_drain: RollingDrainJson


class EffectJson(TypedDict):
    """What taking a worker away would mean now: `in_flight` requests of its own, `left` others that take requests
    for its model and role."""

    in_flight: int
    model: str | None
    role: Literal["regular", "prefill", "decode"]
    left: int
    routable: bool


class StatsJson(TypedDict):
    prefill_count: int
    decode_count: int
    regular_count: int


class WorkersJson(TypedDict):
    workers: list[WorkerJson]
    total: int
    stats: StatsJson


class AddedJson(TypedDict):
    status: Literal["accepted"]
    worker_id: str
    url: str
    location: str
    message: str
    name: str


class AcceptedJson(TypedDict):
    status: Literal["accepted"]
    worker_id: str
    message: str
    changed: bool


class DoneJson(TypedDict):
    status: Literal["ok"]
    changed: bool
    message: str
    worker: WorkerJson


class EventJson(TypedDict):
    """`data` holds the members of the fact; which ones depends on `event`."""

    seq: int
    at: Rfc3339 | None
    actor: str
    correlation: str | None
    event: str
    worker: str | None
    data: dict[str, Any]


class JournalJson(TypedDict):
    """`seq` is the last event there is, `oldest` the first that is still kept."""

    events: list[EventJson]
    seq: int
    oldest: int


TransitionJson = TypedDict(
    "TransitionJson", {"from": str | None, "to": str, "at": Rfc3339 | None, "why": str, "who": str}
)


class ProbeJson(TypedDict):
    at: Rfc3339 | None
    ok: bool
    latency_ms: float


class FailureJson(TypedDict):
    """`count` requests in a row failed so, the last one `at` this time."""

    at: Rfc3339 | None
    why: str
    count: int


class HistoryJson(TypedDict):
    worker_id: str
    transitions: list[TransitionJson]
    probes: list[ProbeJson]
    events: list[EventJson]
    failures: list[FailureJson]


class TrackJson(TypedDict):
    """Oldest first; null where nothing was measured. In rows of a second both are the same."""

    mean: list[float | None]
    peak: list[float | None]


class MeasuresJson(TypedDict):
    """Rows of `step_secs` seconds, the newest of which ends at `end`; null: nothing was ever measured."""

    worker_id: str | None
    model: str | None
    step_secs: int
    end: Rfc3339 | None
    measures: dict[str, TrackJson]


class FlightJson(TypedDict):
    """A request under way. `attempt_secs`: since it was given to `worker`; `tokens`: events of its stream."""

    request_id: str
    route: str
    model: str | None
    stage: Literal["queued", "preparing", "connecting", "waiting", "answering", "retrying"]
    age_secs: float
    attempt_secs: float | None
    attempts: int
    worker: str | None
    prefill_worker: str | None
    streams: bool
    tokens: int


class FlightsJson(TypedDict):
    requests: list[FlightJson]


class BlindJson(TypedDict):
    """Discovery hears nothing of the cluster; what is registered stays, and health decides."""

    since: Rfc3339
    why: str
    next_try_secs: float | None


class ReadyJson(TypedDict):
    status: Literal["ready"]
    healthy_workers: int
    total_workers: int
    discovery_blind: NotRequired[BlindJson]


class UnroutableJson(TypedDict):
    name: str
    url: str
    because: str


class NotReadyJson(TypedDict):
    """`workers` names up to 20 of those that can take no requests."""

    status: Literal["not ready"]
    reason: Literal["insufficient healthy workers", "tokenizer not yet registered", "draining"]
    healthy_workers: int
    total_workers: int
    workers: list[UnroutableJson]
    tokenizers: NotRequired[dict[str, str]]
    """Models of healthy gRPC workers that have no tokenizer yet, each with the reason."""
    discovery_blind: NotRequired[BlindJson]


class SkippedPodJson(TypedDict):
    pod: str
    """`namespace/name`."""
    because: str


class WatchEventsJson(TypedDict):
    """Since the gateway started."""

    added: int
    modified: int
    deleted: int
    bookmarks: int
    stale: int
    gaps: int
    unreadable: int


class SharingJson(TypedDict):
    """Operators' cordons and drains on their way to the pods."""

    waiting: int
    problem: str


class DiscoveryOffJson(TypedDict):
    enabled: Literal[False]


class DiscoveryJson(TypedDict):
    enabled: Literal[True]
    provider: Literal["kubernetes"]
    credentials: str
    namespace: str | None
    selector: str
    synced: bool
    watching: bool
    watch_age_secs: float | None
    last_heard: Rfc3339 | None
    blind: BlindJson | None
    missing_permission: str | None
    last_relist: Rfc3339 | None
    last_relist_why: str
    last_relist_secs: float
    last_drift: str
    pods_known: int
    pods_matched: int
    pods_ready: int
    workers_registered: int
    skipped: list[SkippedPodJson]
    """Pods that take no traffic, or part of whose workers could not be listed."""
    notes: list[SkippedPodJson]
    sharing: SharingJson | None
    passes: int
    last_pass: Rfc3339 | None
    events: WatchEventsJson
    lists: int
    watches: int
    failures: int


class ModelCardJson(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsJson(TypedDict):
    object: Literal["list"]
    data: list[ModelCardJson]


class LoadJson(TypedDict):
    """What an engine does not report is absent."""

    worker: str
    worker_type: str
    dp_rank: int
    in_flight: int
    num_running_reqs: NotRequired[int]
    num_waiting_reqs: NotRequired[int]
    num_total_reqs: NotRequired[int]
    num_used_tokens: NotRequired[int]
    max_total_num_tokens: NotRequired[int]
    token_usage: NotRequired[float]
    gen_throughput: NotRequired[float]
    cache_hit_rate: NotRequired[float]


class AggregateJson(TypedDict):
    """Sums and means over the workers that report."""

    total_running_reqs: int
    total_waiting_reqs: int
    total_reqs: int
    avg_token_usage: float | None
    avg_throughput: float | None
    avg_utilization: float | None


class LoadsJson(TypedDict):
    timestamp: Rfc3339
    version: str
    dp_rank_count: int
    loads: list[LoadJson]
    aggregate: AggregateJson


class FlushFailureJson(TypedDict):
    worker: str
    error: str


class FlushJson(TypedDict):
    status: Literal["success", "partial_success"]
    message: str
    workers_flushed: int
    total_http_workers: int
    total_grpc_workers: int
    total_zmq_workers_skipped: int
    total_workers: int
    successful: NotRequired[list[str]]
    failed: NotRequired[list[FlushFailureJson]]


class NamedWorkerJson(TypedDict):
    id: str
    name: str
    url: str


class LeftOutJson(NamedWorkerJson):
    because: str


class ChoiceJson(TypedDict):
    """`in_use`: the policy that decides, with what it has learned; the others are asked as if new."""

    policy: str
    in_use: bool
    worker: NamedWorkerJson
    why: str


class ExplainedRoleJson(TypedDict):
    role: Literal["regular", "prefill", "decode"]
    policy: str
    candidates: list[NamedWorkerJson]
    left_out: list[LeftOutJson]
    choices: list[ChoiceJson]


class ExplainedJson(TypedDict):
    model: str | None
    roles: list[ExplainedRoleJson]


class OutOfRouteJson(TypedDict):
    id: str
    because: str


class RouteJson(TypedDict):
    """`model` null: workers that do not say what they serve. `by_label`: a worker's label set the policy."""

    model: str | None
    role: Literal["regular", "prefill", "decode"]
    policy: str
    by_label: bool
    candidates: list[str]
    left_out: list[OutOfRouteJson]


class RoutesJson(TypedDict):
    routes: list[RouteJson]


class SettingJson(TypedDict):
    """One setting; of a secret `value` says only whether it is set."""

    name: str
    flag: str
    environment: str
    group: str
    description: str
    value: str | int | float | bool | list[str] | None
    default: str | int | float | bool | list[str] | None
    origin: str


class SettingsJson(TypedDict):
    settings: list[SettingJson]


class ProcessJson(TypedDict):
    """At the moment `at`. Null: the system does not say."""

    at: Rfc3339
    pid: int
    open_files: int | None
    most_open_files: int | None
    resident_bytes: int | None


class TokenizerJson(TypedDict):
    """SMG's."""

    id: str
    name: str
    source: str
    vocab_size: int


class TokenizersJson(TypedDict):
    tokenizers: list[TokenizerJson]


class TokenizerAddedJson(TypedDict):
    """SMG's, for a tokenizer that is added and for how far it is. The id is empty where nothing was begun."""

    id: str
    status: Literal["pending", "processing", "completed", "failed"]
    message: str
    vocab_size: NotRequired[int]


class TokenizerRemovedJson(TypedDict):
    success: bool
    message: str


class TokenizerErrorMembers(TypedDict):
    message: str
    type: str


class TokenizerErrorJson(TypedDict):
    """SMG's error shape on tokenizer routes."""

    error: TokenizerErrorMembers


class TokenizedJson(TypedDict):
    """One of each for a text, lists for several."""

    tokens: list[int] | list[list[int]]
    count: int | list[int]
    char_count: int | list[int]


class DetokenizedJson(TypedDict):
    text: str | list[str]


class TokenizerCacheJson(TypedDict):
    """One cache of a tokenizer, or why there is none."""

    enabled: bool
    off_because: NotRequired[str]
    hits: NotRequired[int]
    misses: NotRequired[int]
    evicted: NotRequired[int]
    hit_rate: NotRequired[float | None]
    entries: NotRequired[int]
    bytes: NotRequired[int]
    max_bytes: NotRequired[int]


class TokenizerDetailJson(TypedDict):
    """All there is to know of a tokenizer; null where it is not loaded."""

    id: str
    name: str
    source: str
    status: Literal["pending", "processing", "completed", "failed"]
    message: str
    since: Rfc3339
    automatic: bool
    models: list[str]
    users: list[str]
    shared_with: list[str]
    vocab_size: int | None
    context_length: int | None
    chat_templates: list[str]
    chat_template_error: str | None
    memory_bytes: int | None
    exact_cache: TokenizerCacheJson
    prefix_cache: TokenizerCacheJson


class TokenizerDetailsJson(TypedDict):
    tokenizers: list[TokenizerDetailJson]


class ShownTokenJson(TypedDict):
    """What is no whole character is spelled `\\xe4`."""

    id: int
    text: str
    special: bool


class ShownTokensJson(TypedDict):
    count: int
    char_count: int
    tokens: list[ShownTokenJson]
