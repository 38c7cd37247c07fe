"""How discovery itself is: what it sees, since when it is blind and why, and what it may not do, in words.

Values only; the reflector fills them, and the console, `/discovery` and the metrics show them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

NEEDED = "get, list, watch"


@dataclass(slots=True)
class Counts:
    """Since the reflector began. The first four are watch events by kind."""

    added: int = 0
    modified: int = 0
    deleted: int = 0
    bookmarks: int = 0
    stale: int = 0
    """Events that came twice or late and were not believed."""
    gaps: int = 0
    """Events that told of a missed one."""
    unreadable: int = 0
    """Pods whose JSON was not as Kubernetes documents it; they are left out."""
    lists: int = 0
    """Complete lists."""
    watches: int = 0
    """Watches that the API server accepted."""
    failures: int = 0
    """Requests and watches that failed, lists included."""
    drifted: int = 0
    """Pods that a list found other than the watch had told."""

    @property
    def events(self) -> int:
        return self.added + self.modified + self.deleted


@dataclass(frozen=True, slots=True)
class ReflectorStatus:
    """A moment's picture. Times `_at` and `_since` are seconds since the epoch, spans `_s` seconds."""

    namespace: str | None
    """None: all namespaces."""
    selector: str
    source: str
    """Where the credentials are from, and the API server once it is known."""
    synced: bool
    """A complete list has been read; before that the store says nothing about what is absent."""
    pods: int
    watching: bool
    watch_age_s: float | None
    """How long the present watch has been open."""
    heard_at: float | None
    """When the API server last said anything on a watch."""
    blind_since: float | None
    """None while a watch is open."""
    blind_why: str
    next_try_s: float | None
    """Seconds until the next try, while blind and waiting."""
    last_relist_at: float | None
    last_relist_why: str
    last_relist_s: float
    """How long the last complete list took."""
    last_drift: str
    """What the last list that differed from the watch had found, with its time; empty if none ever did."""
    missing_permission: str | None
    """What the API server forbids, in words; None if nothing."""
    counts: Counts = field(default_factory=Counts)


def scope_words(namespace: str | None) -> str:
    return "in all namespaces" if namespace is None else f"in namespace {namespace}"


def permission_words(verb: str, namespace: str | None, message: str, needs: str = NEEDED) -> str:
    """What is missing, where, and what to give: `cannot list pods in namespace x: ...`."""
    rule, binding = ("ClusterRole", "a ClusterRoleBinding") if namespace is None else ("Role", "a RoleBinding")
    who = _quoted(message)
    return (
        f"cannot {verb} pods {scope_words(namespace)}{f' as {who}' if who else ''}: "
        f"the {rule} needs {needs} on pods, and {binding} to it"
    )


def _quoted(message: str) -> str:
    """The user's name in the API server's `User "..." cannot ...`."""
    _, found, rest = message.partition('User "')
    return rest.partition('"')[0] if found else ""


@dataclass(frozen=True, slots=True)
class SharingStatus:
    waiting: int
    """Workers whose pod has not been written to yet."""
    problem: str
    """Why the last write did not work; empty: it did."""


@dataclass(frozen=True, slots=True)
class DiscoveryStatus:
    """A moment's picture; what is said of pods is of the last pass. Pods by `namespace/name`, with the reason."""

    watch: ReflectorStatus
    matched: int
    """Pods that a selector matches."""
    ready: int
    registered: int
    """Listed workers that discovery brought."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Pods without a worker, or with one too few."""
    notes: dict[str, str] = field(default_factory=dict)
    """What of their annotations is not used."""
    carried_out: Mapping[tuple[str, bool], int] = field(default_factory=dict)
    """Commands so far, by kind of action (`Register`, `Leave` …) and whether they were done."""
    passes: int = 0
    pass_seconds: float = 0.0
    """All of them together."""
    last_pass_at: float | None = None
    """Wall-clock seconds."""
    sharing: SharingStatus | None = None
    """None: operations on workers are not shared."""
