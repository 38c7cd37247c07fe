"""Commands as requests to the control API: what a console's command is called there. Pure."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from gateway.operations import (
    Add,
    Command,
    Cordon,
    Patch,
    ProbeNow,
    Remove,
    Replace,
    ResetBreaker,
    Resume,
    Retry,
    StartDrain,
    Uncordon,
)
from gateway.tokenizers.commands import AddTokenizer, RemoveTokenizer, TokenizerCommand
from gateway.workers.model import Engine, HealthOverride, ModelCard, WorkerId, WorkerSpec
from gateway.workers.rolling_jobs import RollingCommand, StartRolling

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """One request."""

    method: str
    path: str
    body: Json | None = None
    params: dict[str, str] = field(default_factory=dict)


def order_of(command: Command, worker: WorkerId) -> Order:
    """The request for a command; `worker` is the one it names, by id (of `Add` nothing is read)."""
    if isinstance(command, Add):
        return Order("POST", "/workers", spec_body(command.spec))
    path = f"/workers/{worker}"
    match command:
        case Replace(spec=spec):
            return Order("PUT", path, spec_body(spec))
        case Patch():
            return Order("PATCH", path, _patch_body(command))
        case Cordon(reason=reason):
            return Order("POST", f"{path}/cordon", {"reason": reason})
        case StartDrain(timeout_s=timeout_s, reason=reason):
            return Order("POST", f"{path}/drain", _given({"timeout_secs": timeout_s, "reason": reason}))
        case Remove():
            given = {"now": "true" if command.now else None, "reason": command.reason or None}
            timeout = None if command.timeout_s is None else f"{command.timeout_s:g}"
            return Order("DELETE", path, None, _given({**given, "timeout_secs": timeout}))
        case Uncordon():
            return Order("POST", f"{path}/uncordon")
        case Resume():
            return Order("POST", f"{path}/resume")
        case ProbeNow():
            return Order("POST", f"{path}/probe")
        case Retry():
            return Order("POST", f"{path}/retry")
        case ResetBreaker():
            return Order("POST", f"{path}/reset_breaker")


def tokenizer_order_of(command: TokenizerCommand) -> Order:
    """The request for a command on tokenizers."""
    match command:
        case AddTokenizer(name=name, source=source, chat_template=template):
            body = {"name": name, "source": source, "chat_template_path": template or None}
            return Order("POST", "/v1/tokenizers", _given(body))
        case RemoveTokenizer(tokenizer=name):
            return Order("DELETE", f"/v1/tokenizers/{quoted(name)}")


def rolling_order_of(command: RollingCommand) -> Order:
    """The request for a command on rolling drains."""
    if not isinstance(command, StartRolling):
        return Order("POST", f"/rolling-drains/{quoted(command.job)}/{command.verb}")
    body = {
        "workers": list(command.workers),
        "max": command.most,
        "floor": command.floor,
        "remove": command.remove,
        "timeout_secs": command.timeout_s,
        "what": command.what,
    }
    return Order("POST", "/rolling-drains", _given(body))


def quoted(name: str) -> str:
    """A name as one segment of a path, whatever it holds."""
    return quote(name, safe="")


def spec_body(spec: WorkerSpec) -> Json:
    """The body of POST and PUT /workers for this spec, its key included."""
    return _given(
        {
            "url": spec.url,
            "models": [_card(card) for card in spec.models],
            "worker_type": spec.role.value,
            "runtime_type": None if spec.engine is Engine.UNSPECIFIED else spec.engine.value,
            "labels": dict(spec.labels),
            "priority": spec.priority,
            "cost": spec.cost,
            "api_key": spec.api_key.reveal() if spec.api_key is not None else None,
            "bootstrap_port": spec.bootstrap_port,
            "max_in_flight": spec.max_in_flight,
            "health": _health(spec.health),
            "load_monitor_interval_secs": spec.load_interval_s,
        }
    )


def _card(card: ModelCard) -> Json:
    return _given(
        {
            "id": card.id,
            "display_name": card.display_name,
            "aliases": list(card.aliases),
            "model_type": list(card.model_type),
            "context_length": card.context_length,
            "tokenizer_path": card.tokenizer_path,
        }
    )


def _health(own: HealthOverride) -> Json:
    return _given(
        {
            "timeout_secs": own.timeout_s,
            "check_interval_secs": own.interval_s,
            "success_threshold": own.success_threshold,
            "failure_threshold": own.failure_threshold,
            "disable_health_check": own.disabled,
            "endpoint": own.endpoint,
        }
    )


def _patch_body(command: Patch) -> Json:
    return _given(
        {
            "priority": command.priority,
            "cost": command.cost,
            "labels": dict(command.labels) if command.labels is not None else None,
            "api_key": command.api_key.reveal() if command.api_key is not None else None,
            "health": _health(command.health) if command.health is not None else None,
            "max_in_flight": command.max_in_flight,
        }
    )


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
