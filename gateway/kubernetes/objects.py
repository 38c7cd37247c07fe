"""What discovery reads of a pod: typed records, decoded straight from the API server's JSON.

Only the fields named here are built; the rest of a pod's JSON (most of it) is skipped by the decoder without
making objects. A field the server leaves out has the default that Kubernetes gives it. What a pod means for the
fleet is `pods.py`'s.
"""

from datetime import datetime

import msgspec

Strings = dict[str, str]


class Record(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The common form of the records. They hold no cycles, so the garbage collector need not look at them."""


class Metadata(Record, frozen=True):
    name: str
    namespace: str
    uid: str
    resource_version: str
    labels: Strings = {}
    annotations: Strings = {}
    deletion_timestamp: datetime | None = None
    """The END of the grace period, as the API server sets it when the deletion is asked for."""
    deletion_grace_period_seconds: int | None = None


class ContainerPort(Record, frozen=True):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Container(Record, frozen=True):
    name: str
    ports: tuple[ContainerPort, ...] = ()


class ReadinessGate(Record, frozen=True):
    condition_type: str


class PodSpec(Record, frozen=True):
    containers: tuple[Container, ...] = ()
    node_name: str = ""
    readiness_gates: tuple[ReadinessGate, ...] = ()


class PodIP(Record, frozen=True):
    ip: str = ""


class Condition(Record, frozen=True):
    type: str
    status: str
    """`True`, `False` or `Unknown`."""
    reason: str = ""
    message: str = ""


class PodStatus(Record, frozen=True):
    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    conditions: tuple[Condition, ...] = ()


class Pod(Record, frozen=True):
    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def full_name(self) -> str:
        """`namespace/name`, as logs and the console write it."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def terminating(self) -> bool:
        """Its deletion was asked for; it may still be Ready for as long as its grace period lasts."""
        return self.metadata.deletion_timestamp is not None


_pod_decoder = msgspec.json.Decoder(Pod)


def decode_pod(raw: msgspec.Raw | bytes) -> Pod:
    """The record of one pod's JSON. Raises msgspec.ValidationError (a ValueError) that names the field."""
    return _pod_decoder.decode(raw)
