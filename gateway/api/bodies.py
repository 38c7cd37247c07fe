"""What the control API accepts: bodies judged by pydantic models, wrong ones refused by field name.

The models follow SMG's WorkerSpec. Members of SMG's that have no meaning here yet are accepted and ignored in
POST and PUT, so that its clients work unchanged; anything else unknown is refused, and PATCH refuses both.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gateway.errors import BadRequest
from gateway.routing.policies import POLICY_NAMES
from gateway.workers.model import Engine, HealthOverride, ModelCard, Role, Secret, Source, WorkerSpec

IGNORED = frozenset(
    {
        "connection_mode",
        "provider",
        "dp_base_url",
        "dp_rank",
        "dp_size",
        "kv_connector",
        "kv_role",
        "kv_engine_id",
        "kv_block_size",
        "http_pool",
        "resilience",
        "overload",
        "max_connection_attempts",
        "multimodal_tensor_transport",
        "multimodal_shm_min_bytes",
        "zmq_handshake_address",
    }
)
MODEL_IGNORED = frozenset(
    {
        "hf_model_type",
        "architectures",
        "provider",
        "chat_template",
        "id2label",
    }
)

Runtime = Literal["unspecified", "sglang", "vllm", "generic", "trtllm", "mlx", "tokenspeed", "external"]
"""SMG's names; of engines that have none here, detection finds out what they speak."""

MEMBERS_AT_MOST = 64

M = TypeVar("M", bound=BaseModel)


def _few(value: object) -> object:
    """Judged before the labels are, each of which costs time."""
    if isinstance(value, dict) and len(value) > MEMBERS_AT_MOST:
        raise ValueError(f"expected at most {MEMBERS_AT_MOST} labels")
    return value


def _short(value: dict[str, str]) -> dict[str, str]:
    if any(len(name) > 256 or len(text) > 1024 for name, text in value.items()):
        raise ValueError("expected names of at most 256 and values of at most 1024 characters")
    if value.get("policy", POLICY_NAMES[0]) not in POLICY_NAMES:
        raise ValueError(f"expected as policy one of {', '.join(POLICY_NAMES)}")
    return value


Labels = Annotated[dict[str, str], BeforeValidator(_few), AfterValidator(_short)]
Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class HealthBody(_Strict):
    """A worker's own probe settings."""

    timeout_secs: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] | None = None
    check_interval_secs: Annotated[float, Field(ge=0.1, le=86400, allow_inf_nan=False)] | None = None
    success_threshold: Annotated[int, Field(ge=1, le=1000)] | None = None
    failure_threshold: Annotated[int, Field(ge=1, le=1000)] | None = None
    disable_health_check: bool | None = None
    endpoint: Annotated[str, Field(max_length=1024)] | None = None
    drain_settle_secs: float | None = None
    """SMG's fixed sleep; a drain here ends when nothing is in flight, so it is accepted and not used."""

    def override(self) -> HealthOverride:
        return HealthOverride(
            interval_s=self.check_interval_secs,
            timeout_s=self.timeout_secs,
            success_threshold=self.success_threshold,
            failure_threshold=self.failure_threshold,
            disabled=self.disable_health_check,
            endpoint=self.endpoint,
        )


class ModelBody(_Strict):
    """A model the worker serves."""

    id: Annotated[str, Field(min_length=1, max_length=512)]
    display_name: str | None = None
    aliases: Annotated[list[str], Field(max_length=256)] = []
    model_type: Annotated[list[str], Field(max_length=64)] = []
    context_length: Annotated[int, Field(ge=1)] | None = None
    tokenizer_path: str | None = None

    def card(self) -> ModelCard:
        return ModelCard(
            self.id,
            self.display_name,
            tuple(self.aliases),
            tuple(self.model_type),
            self.context_length,
            self.tokenizer_path,
        )


class WorkerBody(_Strict):
    """POST and PUT /workers."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    models: Annotated[list[ModelBody], Field(max_length=256)] = []
    worker_type: str = "regular"
    runtime_type: Annotated[Runtime | None, Field(validation_alias=AliasChoices("runtime_type", "runtime"))] = None
    labels: Labels = {}
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    cost: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 1.0
    api_key: Annotated[str, Field(max_length=8192)] | None = None
    bootstrap_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    max_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    health: HealthBody = HealthBody()
    load_monitor_interval_secs: Seconds | None = None

    def spec(self) -> WorkerSpec:
        try:
            role = Role(self.worker_type)
        except ValueError:
            given = ", ".join(role.value for role in Role)
            raise BadRequest(
                f"worker_type: given {self.worker_type!r}, expected one of {given}", field="worker_type"
            ) from None
        return WorkerSpec(
            url=self.url,
            models=tuple(model.card() for model in self.models),
            role=role,
            engine=Engine(self.runtime_type) if self.runtime_type in set(Engine) else Engine.UNSPECIFIED,
            labels=self.labels,
            priority=self.priority,
            cost=self.cost,
            api_key=Secret(self.api_key) if self.api_key else None,
            bootstrap_port=self.bootstrap_port,
            max_in_flight=self.max_in_flight,
            health=self.health.override(),
            load_interval_s=self.load_monitor_interval_secs,
            source=Source.API,
        )


class PatchBody(_Strict):
    """PATCH /workers/{id}."""

    priority: Annotated[int, Field(ge=0, le=100)] | None = None
    cost: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None
    labels: Labels | None = None
    api_key: Annotated[str, Field(max_length=8192)] | None = None
    max_in_flight: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """0 takes the cap away."""
    health: HealthBody | None = None


class DrainBody(_Strict):
    """POST /workers/{id}/drain."""

    timeout_secs: Annotated[float, Field(ge=0, le=604800, allow_inf_nan=False)] | None = None
    reason: Annotated[str, Field(max_length=1024)] = ""


class ReasonBody(_Strict):
    """POST /workers/{id}/cordon."""

    reason: Annotated[str, Field(max_length=1024)] = ""


class NoBody(_Strict):
    """Commands without parameters."""


def decoded(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty body is an empty object. Raises BadRequest."""
    if not body.strip():
        return {}
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    if not isinstance(value, dict):
        raise BadRequest("the body is not a JSON object")
    if len(value) > MEMBERS_AT_MOST:
        raise BadRequest(f"the body has {len(value)} members, expected at most {MEMBERS_AT_MOST}")
    return value


def judged(kind: type[M], value: dict[str, Any]) -> M:
    """The value as this model. Raises BadRequest naming the field, what was given, and what is accepted."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(map(str, first["loc"]))[:200]
        if first["type"] == "extra_forbidden":
            accepted = ", ".join(_accepted(kind, first["loc"][:-1]))
            raise BadRequest(f"{name}: unknown field; accepted: {accepted}", field=name) from None
        if first["type"] == "missing":
            raise BadRequest(f"{name}: missing", field=name) from None
        why = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        raise BadRequest(f"{name}: given {_given(name, first['input'])}, {why}", field=name) from None


def _accepted(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The members of the object that the path leads to."""
    for step in path:
        if isinstance(step, str):
            kind = NESTED[step]
    return list(kind.model_fields)


NESTED: dict[str, type[BaseModel]] = {"health": HealthBody, "models": ModelBody}


def _given(name: str, value: object) -> str:
    """What was given, for an error message; nothing that may hold a key or a password."""
    if "api_key" in name:
        return "(hidden)"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return repr(value) if len(repr(value)) <= 80 else f"{len(repr(value))} characters"


def worker_spec(body: bytes) -> WorkerSpec:
    """The spec in a POST or PUT body."""
    value = {name: item for name, item in decoded(body).items() if name not in IGNORED}
    models = value.get("models")
    if isinstance(models, list):
        value["models"] = [
            {name: item for name, item in model.items() if name not in MODEL_IGNORED}
            if isinstance(model, dict)
            else model
            for model in models
        ]
    return judged(WorkerBody, value).spec()
