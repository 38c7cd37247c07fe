"""What a pod means for the fleet: the workers in it, or why there are none. Pure; read anew after every change.

Annotations and labels under `smg.ai/` describe the worker where the pod knows better than the gateway's flags; an
annotation counts before a label of the same name. One that cannot be used is left out with a note, never the pod:
a fleet should not shrink for a typing mistake in a price. Only what leaves no worker to name (no address, no port)
skips the pod. What is done about it is `reconcile`'s.

Sources: SMG's discovery (annotations `smg.ai/worker-ports` and `sglang.ai/bootstrap-port`, labels `smg.ai/pod-name`
and `smg.ai/pod-uid`), the Kubernetes API's pod conditions and readiness gates.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from gateway.kubernetes.objects import Pod
from gateway.kubernetes.selectors import Selector
from gateway.kubernetes.shared import OPERATION, Wish, wish_for
from gateway.workers.model import ModelCard, Role, Secret, Source, WorkerSpec

PREFIX = "smg.ai/"
BOOTSTRAP_PORT = "sglang.ai/bootstrap-port"
POD_NAME = PREFIX + "pod-name"
POD_NAMESPACE = PREFIX + "pod-namespace"
POD_UID = PREFIX + "pod-uid"
MAX_PORTS = 64
DEFAULT_KEY = "api-key"
"""The key in a Secret, where the pod names only the Secret."""
_SECRET_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


@dataclass(frozen=True, slots=True)
class ModelFrom:
    """Where the model's name is: the pod's `namespace`, or a `label` or `annotation` of this key."""

    kind: str
    key: str = ""

    def of(self, pod: Pod) -> str:
        """The model's name; empty where the pod does not say."""
        if self.kind == "namespace":
            return pod.metadata.namespace
        values = pod.metadata.labels if self.kind == "label" else pod.metadata.annotations
        return values.get(self.key, "").strip()


def model_from(text: str) -> ModelFrom:
    """`namespace`, `label:KEY` or `annotation:KEY`. Raises ValueError that says what is accepted."""
    kind, colon, key = text.strip().partition(":")
    if (kind == "namespace" and not colon) or (kind in ("label", "annotation") and key.strip()):
        return ModelFrom(kind, key.strip())
    raise ValueError(f"given {text!r}, expected namespace, label:KEY or annotation:KEY")


@dataclass(frozen=True, slots=True)
class PodRules:
    """How pods become workers, as the flags say. Of the selectors the first that matches gives the role."""

    selectors: tuple[tuple[Role, Selector], ...]
    port: int
    """Where a pod names none."""
    model_from: ModelFrom | None = None
    api_key: Secret | None = None
    share: bool = False
    """Whether what operators ask for on the pod counts."""

    def role_of(self, pod: Pod) -> Role | None:
        """None: no selector matches (an empty one matches nothing, rather than every pod of a cluster)."""
        labels = pod.metadata.labels
        return next((role for role, selector in self.selectors if selector and selector.matches(labels)), None)


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key of a Secret in the pod's namespace."""

    namespace: str
    name: str
    key: str

    def __str__(self) -> str:
        return f"secret {self.namespace}/{self.name}, key {self.key}"


@dataclass(frozen=True, slots=True)
class PodView:
    """What discovery makes of one pod at one moment."""

    uid: str
    name: str
    """`namespace/name`."""
    specs: tuple[WorkerSpec, ...] = ()
    """Its workers, in the order of their ports, whether or not they may take traffic now."""
    not_ready: str = ""
    """Why it takes no traffic at present; empty: it is ready."""
    terminating: bool = False
    deadline: float | None = None
    """Wall-clock seconds at which a terminating pod is killed."""
    skipped: str = ""
    """Why it has no worker at all, whatever it reports about itself."""
    notes: tuple[str, ...] = ()
    """What of its annotations was not used, and why."""
    version: int = 0
    """The pod's resourceVersion."""
    wishes: tuple[Wish | None, ...] = ()
    """What operators ask for on the pod, for each of its workers; None: nobody can tell."""
    key_from: SecretKey | None = None
    """Where the workers' api key is; their specs are without it until it has been read."""


def view_of(pod: Pod, rules: PodRules) -> PodView | None:
    """What the pod means under these rules; None: no selector matches it."""
    role = rules.role_of(pod)
    if role is None:
        return None
    meta = pod.metadata
    ended = f"phase {pod.status.phase}" if pod.status.phase in ("Succeeded", "Failed") else ""
    address = _address(pod)
    notes: list[str] = []
    ports = [] if ended or not address else _ports(pod, rules.port, notes)
    bootstraps = _bootstrap_ports(pod, len(ports), notes) if role is Role.PREFILL else [None] * len(ports)
    scheme = _scheme(pod, notes)
    specs = tuple(
        _spec(pod, rules, role, f"{scheme}://{address}:{port}", bootstrap, notes)
        for port, bootstrap in zip(ports, bootstraps, strict=True)
    )
    return PodView(
        version=int(meta.resource_version) if meta.resource_version.isdecimal() else 0,
        wishes=_wishes(pod, ports, rules, notes),
        key_from=_key_from(pod, notes),
        uid=meta.uid,
        name=pod.full_name,
        specs=specs,
        not_ready=_why_not_ready(pod),
        terminating=pod.terminating,
        deadline=meta.deletion_timestamp.timestamp() if meta.deletion_timestamp else None,
        skipped=ended or ("" if address else "no pod IP yet"),
        notes=tuple(dict.fromkeys(notes)),
    )


def _why_not_ready(pod: Pod) -> str:
    """Kubernetes' own rule: the Ready condition, which the readiness gates are part of, of a running pod."""
    if pod.terminating:
        return "terminating"
    if pod.status.phase != "Running":
        return f"phase {pod.status.phase or 'unknown'}"
    conditions = {condition.type: condition for condition in pod.status.conditions}
    for kind in (*(gate.condition_type for gate in pod.spec.readiness_gates), "Ready"):
        found = conditions.get(kind)
        name = "not Ready" if kind == "Ready" else f"readiness gate {kind} is not True"
        if found is None:
            return f"{name}: no such condition yet"
        if found.status != "True":
            why = found.message or found.reason
            return f"{name}: {why}" if why else name
    return ""


def _address(pod: Pod) -> str:
    """The pod's first address as it stands in a URL; empty: none yet."""
    addresses = (pod.status.pod_ip, *(one.ip for one in pod.status.pod_ips))
    for text in filter(None, addresses):
        try:
            address = ip_address(text)
        except ValueError:
            continue
        return f"[{address}]" if address.version == 6 else str(address)
    return ""


def _said(pod: Pod, name: str) -> str:
    """An annotation under our prefix, or the label of that name."""
    key = PREFIX + name
    return (pod.metadata.annotations.get(key) or pod.metadata.labels.get(key) or "").strip()


def _port(text: str, pod: Pod) -> int | None:
    """A port's number or the name of a container's port; None: neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text) if 1 <= int(text) <= 65535 else None
    named = (port for container in pod.spec.containers for port in container.ports if port.name == text)
    return next((port.container_port for port in named), None) if text else None


def _ports(pod: Pod, fallback: int, notes: list[str]) -> list[int]:
    """The ports of the engines in the pod, each once; where nothing usable is said, the flag's port."""
    said = _said(pod, "worker-ports")
    if not said:
        return [fallback]
    found: dict[int, None] = {}
    for text in said.split(","):
        port = _port(text, pod)
        if port is None:
            notes.append(f"{PREFIX}worker-ports: {text.strip()!r} is no port from 1 to 65535 and no container's port")
        else:
            found[port] = None
    if len(found) > MAX_PORTS:
        notes.append(f"{PREFIX}worker-ports: only the first {MAX_PORTS} of {len(found)} are used")
    return list(found)[:MAX_PORTS] or [fallback]


def _bootstrap_ports(pod: Pod, workers: int, notes: list[str]) -> list[int | None]:
    """One for all the workers of the pod, or one for each."""
    said = (pod.metadata.annotations.get(BOOTSTRAP_PORT) or "").strip()
    if not said:
        return [None] * workers
    ports = [_port(text, pod) for text in said.split(",")]
    if None in ports or len(ports) not in (1, workers):
        notes.append(f"{BOOTSTRAP_PORT}: given {said!r}, expected one port, or as many as the pod has workers")
        return [None] * workers
    return ports * workers if len(ports) == 1 else ports


def _scheme(pod: Pod, notes: list[str]) -> str:
    said = _said(pod, "scheme")
    if said in ("", "http", "https"):
        return said or "http"
    notes.append(f"{PREFIX}scheme: given {said!r}, expected http or https")
    return "http"


def _wishes(pod: Pod, ports: list[int], rules: PodRules, notes: list[str]) -> tuple[Wish | None, ...]:
    said = pod.metadata.annotations
    if rules.share:
        return tuple(wish_for(said, str(port), notes) for port in ports)
    if OPERATION in said:
        notes.append(f"{OPERATION}: counts with --share-operations only")
    return tuple(Wish() for _ in ports)


def _key_from(pod: Pod, notes: list[str]) -> SecretKey | None:
    """`NAME` or `NAME/KEY` of a Secret beside the pod."""
    said = _said(pod, "api-key-secret")
    name, slash, key = said.partition("/")
    if not said:
        return None
    if not _SECRET_NAME.fullmatch(name) or (slash and not _SECRET_KEY.fullmatch(key)):
        notes.append(f"{PREFIX}api-key-secret: given {said[:80]!r}, expected the name of a Secret, or NAME/KEY")
        return None
    return SecretKey(pod.metadata.namespace, name, key or DEFAULT_KEY)


def _number(pod: Pod, name: str, least: float, most: float, notes: list[str], *, whole: bool) -> float | None:
    said = _said(pod, name)
    if not said:
        return None
    try:
        value: float | None = int(said) if whole else float(said)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        what = "a whole number" if whole else "a number"
        notes.append(f"{PREFIX}{name}: given {said!r}, expected {what} from {least:g} to {most:g}")
        return None
    return value


def _spec(pod: Pod, rules: PodRules, role: Role, url: str, bootstrap: int | None, notes: list[str]) -> WorkerSpec:
    meta = pod.metadata
    labels = {POD_NAME: meta.name, POD_NAMESPACE: meta.namespace, POD_UID: meta.uid}
    for name, label in (("policy", "policy"), ("kv-connector", "kv_connector"), ("kv-engine-id", "kv_engine_id")):
        if said := _said(pod, name):
            labels[label] = said
    if pod.spec.node_name:
        labels["node"] = pod.spec.node_name
    priority = _number(pod, "priority", 0, 100, notes, whole=True)
    cost = _number(pod, "cost", 0.0, 1e6, notes, whole=False)
    most = _number(pod, "max-in-flight", 1, 1_000_000, notes, whole=True)
    return WorkerSpec(
        url=url,
        models=_models(pod, rules),
        role=role,
        labels=labels,
        priority=50 if priority is None else int(priority),
        cost=1.0 if cost is None else cost,
        api_key=rules.api_key,
        bootstrap_port=bootstrap,
        max_in_flight=None if most is None else int(most),
        source=Source.KUBERNETES,
    )


def _models(pod: Pod, rules: PodRules) -> tuple[ModelCard, ...]:
    """What the pod itself says, then what the flag says; empty: the engine is asked."""
    name = _said(pod, "model") or (rules.model_from.of(pod) if rules.model_from else "")
    return (ModelCard(name),) if name else ()
