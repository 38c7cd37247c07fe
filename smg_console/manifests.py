"""What a gateway needs in a cluster, as Kubernetes objects: plain values in, plain mappings out.

Least privilege throughout: a Role in the one namespace that is watched (a ClusterRole only where all are), a
container that is not root on a file system it cannot write, and a grace period that outlasts the gateway's own.
Reading the command line and writing YAML is `manifests_command`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

Object = dict[str, Any]

RBAC = "rbac.authorization.k8s.io"
USER = 65532
"""Not root, and nobody in particular."""
BEFORE_STOP_S = 5
"""Between a pod's deletion and SIGTERM, so that no Service sends it new requests any more."""
MARGIN_S = 10
"""For what the gateway does after its last request, before the kubelet kills it."""
LISTED_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/instance")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to deploy. Ports are numbers, `grace_s` the gateway's own grace period in seconds."""

    name: str
    namespace: str
    image: str
    replicas: int
    args: Sequence[str]
    watched: str | None
    """The namespace whose pods are watched; None: all."""
    patches: bool
    port: int
    metrics_port: int | None
    grace_s: float

    @property
    def labels(self) -> dict[str, str]:
        """Of the gateway's own pods."""
        return dict(zip(LISTED_LABELS, ("smg-console", self.name), strict=True))


def objects(plan: Plan) -> list[Object]:
    """All objects, each after those it refers to."""
    return [_account(plan), *_rights(plan), _service(plan), _budget(plan), _deployment(plan)]


def _object(plan: Plan, api: str, kind: str, **fields: Any) -> Object:
    metadata = {"name": plan.name, "namespace": plan.namespace, "labels": plan.labels}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}


def _account(plan: Plan) -> Object:
    # The Deployment mounts the token itself: no other pod of this account gets one unasked.
    return _object(plan, "v1", "ServiceAccount", automountServiceAccountToken=False)


def _rights(plan: Plan) -> list[Object]:
    verbs = ["get", "list", "watch", *(["patch"] if plan.patches else [])]
    prefix = "" if plan.watched else "Cluster"
    role = _object(
        plan, f"{RBAC}/v1", f"{prefix}Role", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]
    )
    binding = _object(plan, f"{RBAC}/v1", f"{prefix}RoleBinding")
    for made in (role, binding):
        metadata = made["metadata"]
        if plan.watched != plan.namespace:  # a gateway of the same name elsewhere must not share it
            metadata["name"] = f"{plan.namespace}:{plan.name}"
        if plan.watched:
            metadata["namespace"] = plan.watched
        else:
            del metadata["namespace"]
    binding["roleRef"] = {"apiGroup": RBAC, "kind": role["kind"], "name": role["metadata"]["name"]}
    binding["subjects"] = [{"kind": "ServiceAccount", "name": plan.name, "namespace": plan.namespace}]
    return [role, binding]


def _ports(plan: Plan) -> list[tuple[str, int]]:
    return [("http", plan.port), *([("metrics", plan.metrics_port)] if plan.metrics_port else [])]


def _service(plan: Plan) -> Object:
    ports = [{"name": name, "port": number, "targetPort": name, "protocol": "TCP"} for name, number in _ports(plan)]
    return _object(plan, "v1", "Service", spec={"selector": plan.labels, "ports": ports})


def _budget(plan: Plan) -> Object:
    # At most one away, rather than at least one there: a single replica must not hold up a node's drain for good.
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": plan.labels}}
    return _object(plan, "policy/v1", "PodDisruptionBudget", spec=spec)


def _deployment(plan: Plan) -> Object:
    spec = {
        "replicas": plan.replicas,
        "selector": {"matchLabels": plan.labels},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": {"labels": plan.labels}, "spec": _pod(plan)},
    }
    return _object(plan, "apps/v1", "Deployment", spec=spec)


def _pod(plan: Plan) -> Object:
    return {
        "serviceAccountName": plan.name,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": BEFORE_STOP_S + ceil(plan.grace_s) + MARGIN_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": plan.labels},
            }
        ],
        "containers": [_container(plan)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }


def _container(plan: Plan) -> Object:
    return {
        "name": "gateway",
        "image": plan.image,
        "command": ["smg-console"],
        # The kubelet replaces $(NAME) in arguments; a doubled dollar stands for one.
        "args": [word.replace("$", "$$") for word in plan.args],
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "ports": [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in _ports(plan)],
        "startupProbe": _probe("/liveness", period_s=1, failures=60),
        "livenessProbe": _probe("/liveness", period_s=10, failures=6),
        "readinessProbe": _probe("/readiness", period_s=2, failures=2),
        "lifecycle": {"preStop": {"sleep": {"seconds": BEFORE_STOP_S}}},
        "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }


def _probe(path: str, *, period_s: int, failures: int) -> Object:
    get = {"path": path, "port": "http"}
    return {"httpGet": get, "periodSeconds": period_s, "timeoutSeconds": 2, "failureThreshold": failures}
