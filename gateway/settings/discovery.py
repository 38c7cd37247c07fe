"""What can be set about finding workers in Kubernetes: which pods, where, and with whose credentials."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.kubernetes.pods import model_from
from gateway.kubernetes.selectors import parse_tokens
from gateway.settings.fields import setting

_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)


def _selector(words: tuple[str, ...]) -> tuple[str, ...]:
    parse_tokens(words)
    return words


def _namespace(value: str) -> str:
    if not _NAMESPACE.fullmatch(value):
        raise ValueError("expected a namespace: up to 63 of a-z, 0-9 and '-'")
    return value


def _model_from(value: str) -> str:
    model_from(value)
    return value


def _named(value: str) -> str:
    if not value.strip():
        raise ValueError("expected something")
    return value


Words = Annotated[tuple[str, ...], AfterValidator(_selector)]
SELECTORS = ("selector", "prefill_selector", "decode_selector")
_SYNTAX = "k=v, k!=v, 'k in (a,b)', 'k notin (a,b)', k, !k; all must hold."


class DiscoverySettings(BaseModel):
    """`service_discovery` switches it on; the others say how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service_discovery: bool = setting(False, "Kubernetes", "Find workers as pods of a Kubernetes cluster.")
    selector: Words = setting((), "Kubernetes", f"Labels of the pods that are workers: {_SYNTAX}", "LABEL")
    prefill_selector: Words = setting((), "Kubernetes", "Labels of the pods that are prefill workers.", "LABEL")
    decode_selector: Words = setting((), "Kubernetes", "Labels of the pods that are decode workers.", "LABEL")
    service_discovery_port: Annotated[int, Field(ge=1, le=65535)] = setting(
        80, "Kubernetes", "Port of the engine in a pod whose annotation smg.ai/worker-ports names none.", "PORT"
    )
    service_discovery_namespace: Annotated[str, AfterValidator(_namespace)] | None = setting(
        None, "Kubernetes", "Namespace of the pods (default: all namespaces).", "NAME"
    )
    model_id_from: Annotated[str, AfterValidator(_model_from)] | None = setting(
        None,
        "Kubernetes",
        "Where the model's name is: namespace, label:KEY or annotation:KEY (default: the engine is asked).",
        "WHERE",
    )
    share_operations: bool = setting(
        False,
        "Kubernetes",
        "Write operators' cordons and drains of discovered workers to their pods, and follow those of others "
        "(needs patch on pods).",
    )
    kubeconfig: Annotated[str, AfterValidator(_named)] | None = setting(
        None, "Kubernetes", "Credentials file (default: as kubectl finds one; in a pod, its service account).", "FILE"
    )
    kube_context: Annotated[str, AfterValidator(_named)] | None = setting(
        None, "Kubernetes", "Context of the kubeconfig (default: its current one).", "NAME"
    )
