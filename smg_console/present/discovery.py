"""What discovery sees of the cluster, as lines: the view of it, and the strip that says it is in trouble. Pure."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import islice, zip_longest

from rich.cells import cell_len

from gateway.kubernetes.status import DiscoveryStatus, ReflectorStatus
from smg_console.present import numbers
from smg_console.present.feed import clock
from smg_console.present.incidents import Incident
from smg_console.present.runs import BLANK, Line, Run, cut, cut_middle, fit, printable

NAME = 15
TWO_COLUMNS = 118
"""Width from which on the cluster and its pods stand side by side."""
LEAST_BLIND_S = 3.0
"""A watch that ends is opened anew at once; only longer than this is it an incident."""
PODS_SHOWN = 1000
MOST_NAME = 63
KEY = "s"
"""Where the whole picture is."""

OFF = (
    "Discovery is off: workers are only those that were listed or added by hand.",
    "These flags turn it on:",
)
FLAGS = (
    "--service-discovery --selector app=sglang",
    "--service-discovery-namespace llm     (without it: all namespaces)",
    "--service-discovery-port 8000",
)
MANIFESTS = "smg-console k8s-manifests --namespace llm --selector app=sglang"


def trouble(status: DiscoveryStatus | None, now: float) -> Incident | None:
    """What is wrong with it; None while all is well."""
    if status is None:
        return None
    watch = status.watch
    blind = watch.blind_since is not None and now - watch.blind_since >= LEAST_BLIND_S
    since = watch.blind_since if blind else None
    if watch.missing_permission:
        return Incident("✗ discovery lacks a permission", watch.missing_permission, True, since, KEY)
    if blind:
        return Incident("✗ discovery is blind", watch.blind_why, True, since, KEY)
    if status.sharing is not None and status.sharing.problem:
        return Incident("! operations are not shared", status.sharing.problem, False, None, KEY)
    return None


def discovery_lines(
    status: DiscoveryStatus | None, now: float, width: int, pods: Sequence[Line] | None = None
) -> list[Line]:
    """How discovery is and what it made of the pods. `pods`: what `pod_lines` gave, when it is known already."""
    if status is None:
        return _off()
    named = pod_lines(status, width) if pods is None else pods
    head = _head(status, now, width)
    if width < TWO_COLUMNS:
        about = [*_cluster(status.watch, width), BLANK, *_watch(status.watch, now, width)]
        return [*head, *_pods(status, now), BLANK, *named, BLANK, *about, BLANK, *_counters(status)]
    half = width // 2
    left = [*_cluster(status.watch, half - 2), BLANK, *_watch(status.watch, now, half - 2)]
    right = [*_pods(status, now), BLANK, *_counters(status)]
    both = [(*cut(a, half), *b) for a, b in zip_longest(left, right, fillvalue=BLANK)]
    return [*head, *both, BLANK, *named]


def pod_lines(status: DiscoveryStatus, width: int) -> list[Line]:
    """The pods that serve nothing, each with its reason, and those of whose annotations something is not used."""
    none = "none: every pod that matches is ready" if status.matched else "no pod matches"
    lines = _named("Pods skipped, and why", status.skipped, none, width)
    if status.notes:
        lines += [BLANK, *_named("Notes on pods", status.notes, "", width)]
    return lines


def _off() -> list[Line]:
    lines: list[Line] = [BLANK, ((f"  {OFF[0]}", "bold"),), BLANK, ((f"  {OFF[1]}", "muted"),)]
    lines += [((f"    {text}", ""),) for text in FLAGS]
    return [*lines, BLANK, (("  This prints what it needs in a cluster:", "muted"),), ((f"    {MANIFESTS}", ""),)]


def _title(text: str) -> Line:
    return ((text, "bold accent"),)


def _pair(name: str, value: object, style: str = "") -> Line:
    return ((f"  {name:<{NAME}}", "muted"), (printable(str(value)), style))


def _wrapped(name: str, text: str, style: str, width: int) -> list[Line]:
    """A pair whose text may need several lines."""
    parts = textwrap.wrap(printable(text), max(20, width - NAME - 3)) or [""]
    return [((f"  {name if not n else '':<{NAME}}", "muted"), (part, style)) for n, part in enumerate(parts)]


def _head(status: DiscoveryStatus, now: float, width: int) -> list[Line]:
    """How it is, in a line; and what is wrong, in as many as it takes."""
    watch = status.watch
    if watch.blind_since is None:
        sees, style = "✓ sees every change", "ready"
        since = f"  watching for {numbers.age(watch.watch_age_s)}"
    else:
        age = numbers.age(now - watch.blind_since)
        sees, style, since = "✗ blind", "error", f"  since {clock(watch.blind_since)} ({age})"
        if watch.next_try_s is not None:
            since += f", next try in {numbers.age(watch.next_try_s)}"
    lines: list[Line] = [((f"  {sees}", f"bold {style}"), (since, ""))]
    missing = watch.missing_permission or ""
    if watch.blind_since is not None and watch.blind_why not in missing:
        lines += _wrapped("why", watch.blind_why, "error", width)
    if missing:
        lines += _wrapped("not allowed", missing, "error", width)
    if watch.blind_since is not None:
        lines += _wrapped("meanwhile", "workers stay as they are, and health decides", "", width)
    if status.sharing is not None and status.sharing.problem:
        lines += _wrapped("not shared", status.sharing.problem, "warning", width)
    return [*lines, BLANK]


def _cluster(watch: ReflectorStatus, width: int) -> list[Line]:
    return [
        _title("Cluster"),
        _pair("namespace", watch.namespace or "all"),
        *_wrapped("selector", watch.selector or "none in common", "", width),
        *_wrapped("credentials", watch.source, "", width),
    ]


def _watch(watch: ReflectorStatus, now: float, width: int) -> list[Line]:
    lines = [_title("Watch"), _pair("last heard", _ago(watch.heard_at, now))]
    if watch.last_relist_at is None:
        return [*lines, _pair("last list", "never")]
    took = f", took {numbers.duration(watch.last_relist_s)}"
    lines.append(_pair("last list", _ago(watch.last_relist_at, now) + took))
    lines += _wrapped("because", watch.last_relist_why or numbers.NONE, "", width)
    if watch.last_drift:
        lines += _wrapped("last drift", watch.last_drift, "warning", width)
    return lines


def _ago(at: float | None, now: float) -> str:
    return "never" if at is None else f"{clock(at)} ({numbers.age(now - at)} ago)"


def _pods(status: DiscoveryStatus, now: float) -> list[Line]:
    out = len(status.skipped)
    counted = (("matched", status.matched, ""), ("ready", status.ready, ""), ("registered", status.registered, ""))
    runs: list[Run] = []
    for name, value, style in (*counted, ("skipped", out, "warning" if out else "")):
        runs += [(f"  {name} ", "muted"), (f"{value:<4}", f"bold {style}".strip())]
    known: Line = tuple(runs) if status.watch.synced else (("  not known before the first list is read", "warning"),)
    lines = [_title("Pods"), known, _pair("last pass", _ago(status.last_pass_at, now))]
    if status.sharing is not None:
        waiting = status.sharing.waiting
        told = f"{waiting} waiting to be written to their pods" if waiting else "on, nothing waits"
        lines.append(_pair("operations", told, "warning" if waiting else ""))
    return lines


def _counters(status: DiscoveryStatus) -> list[Line]:
    counts = status.watch.counts
    rows = (
        (("added", counts.added), ("modified", counts.modified), ("deleted", counts.deleted)),
        (("bookmarks", counts.bookmarks), ("stale", counts.stale), ("gaps", counts.gaps)),
        (("lists", counts.lists), ("watches", counts.watches), ("failures", counts.failures)),
        (("unreadable", counts.unreadable), ("drifted", counts.drifted), ("passes", status.passes)),
    )
    wrong = ("gaps", "failures", "unreadable", "drifted")
    lines = [_title("Since the start")]
    for row in rows:
        runs: list[Run] = []
        for name, value in row:
            runs.append((f"  {name:<10} ", "muted"))
            runs.append((fit(numbers.count(value), 6, right=True), "warning" if value and name in wrong else ""))
        lines.append(tuple(runs))
    return lines


def _named(title: str, pods: Mapping[str, str], none: str, width: int) -> list[Line]:
    lines = [_title(title)]
    if not pods:
        return [*lines, ((f"  {none}", "muted"),)]
    shown = sorted(islice(pods.items(), PODS_SHOWN))
    column = min(max(cell_len(name) for name, _ in shown), MOST_NAME, max(12, width * 2 // 5))
    for name, because in shown:
        lines += _pod(printable(name), printable(because), column, width)
    if len(pods) > len(shown):
        lines.append(((f"  and {len(pods) - len(shown)} more", "muted"),))
    return lines


def _pod(name: str, because: str, column: int, width: int) -> Sequence[Line]:
    parts = textwrap.wrap(because, max(20, width - column - 5)) or [""]
    first: Line = ((f"  {cut_middle(name, column)}  ", "bold"), (parts[0], ""))
    return [first, *(((" " * (column + 4), ""), (part, "")) for part in parts[1:])]
