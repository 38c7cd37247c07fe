"""Pods as the API server tells of them, made short."""

import json
from typing import Any

from gateway.kubernetes.objects import Pod, decode_pod
from gateway.kubernetes.pods import PodRules
from gateway.kubernetes.selectors import parse
from gateway.workers.model import Role

RULES = PodRules(((Role.REGULAR, parse("app=llm")),), port=8000)
READY = ({"type": "Ready", "status": "True"},)


def pod(
    name: str = "a",
    *,
    uid: str = "",
    ip: str | None = "10.0.0.1",
    phase: str = "Running",
    conditions: tuple[dict[str, str], ...] = READY,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    deleted: str | None = None,
    **more: Any,
) -> Pod:
    """A pod that is ready unless something else is said. `more` goes into its spec."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "ns",
        "uid": uid or f"uid-{name}",
        "resourceVersion": "1",
        "labels": {"app": "llm"} if labels is None else labels,
        "annotations": annotations or {},
    }
    if deleted is not None:
        metadata |= {"deletionTimestamp": deleted, "deletionGracePeriodSeconds": 30}
    status: dict[str, Any] = {"phase": phase, "conditions": list(conditions)}
    if ip is not None:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    return decode_pod(json.dumps({"metadata": metadata, "spec": more, "status": status}).encode())
