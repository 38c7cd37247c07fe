"""Pod manifests for tests: a pod as a scheduler and a kubelet would have left it, and the patches they would send."""

from random import Random
from typing import Any

Json = dict[str, Any]


def ready_condition(ready: bool) -> Json:
    return {"type": "Ready", "status": "True" if ready else "False", **({} if ready else {"reason": "NotReady"})}


def running(ip: str, *, ready: bool = True) -> Json:
    """The status of a running pod."""
    return {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [ready_condition(ready)]}


def pod(name: str, ip: str | None = None, labels: dict[str, str] | None = None, **metadata: Any) -> Json:
    """A pod on a node; running and ready if it has an IP."""
    return {
        "metadata": {"name": name, "labels": labels or {"app": "sglang"}, **metadata},
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "engine", "image": "sglang", "ports": [{"containerPort": 30000, "name": "http"}]}],
        },
        **({"status": running(ip)} if ip else {}),
    }


def bulky(number: int, rng: Random, labels: dict[str, str]) -> Json:
    """A pod of the size they really have (about 6 KB of JSON): environment, volumes, managed fields."""
    made = pod(f"engine-{number:05}", f"10.{number // 65536}.{number // 256 % 256}.{number % 256}", labels)
    container = made["spec"]["containers"][0]
    container["env"] = [{"name": f"SETTING_{i}", "value": f"{rng.random():.16f}"} for i in range(24)]
    container["resources"] = {"limits": {"nvidia.com/gpu": "8", "memory": "512Gi"}, "requests": {"cpu": "64"}}
    made["spec"]["volumes"] = [{"name": f"v{i}", "configMap": {"name": f"c{i}"}} for i in range(8)]
    fields: Json = {f'k:{{"name":"SETTING_{i}"}}': {".": {}, "f:name": {}, "f:value": {}} for i in range(40)}
    made["metadata"]["managedFields"] = [
        {"manager": "kubelet", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields}}
    ]
    made["status"]["conditions"] += [
        {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind in ("Initialized", "ContainersReady", "PodScheduled")
    ]
    return made
