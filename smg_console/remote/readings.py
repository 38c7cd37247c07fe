"""The control API's readings as the values that screens draw. Pure."""

from array import array
from typing import Any

from gateway.access import AccessRole
from gateway.kubernetes.status import Counts, DiscoveryStatus, ReflectorStatus, SharingStatus
from gateway.presence import Person
from gateway.proxy.explain import RouteStatus
from gateway.proxy.flights import Flight, Stage
from gateway.settings.effective import Effective
from gateway.telemetry.history import Stretch, Track
from gateway.telemetry.samples import Measure
from gateway.telemetry.status import GatewayStatus
from gateway.tokenizers.cache import CacheCounts
from gateway.tokenizers.entry import Progress
from gateway.tokenizers.status import TokenizerStatus
from gateway.tokenizers.tokenizer import Shown
from gateway.workers.latency import Percentiles
from gateway.workers.meters import EngineLoad, Failure
from gateway.workers.model import Role, WorkerId
from gateway.workers.rolling import Phase
from gateway.workers.rolling_jobs import RollingStatus, UnderWay
from smg_console.plane import Explained
from smg_console.remote.decode import moment, moment_or

Json = dict[str, Any]
NAN = float("nan")


def gateway_of(value: Json) -> GatewayStatus:
    """Of `GET /gateway`, and of a snapshot."""
    return GatewayStatus(
        version=value["version"],
        address=value["address"],
        metrics_address=value["metrics_address"],
        started_at=moment_or(value["started_at"], 0.0),
        now=moment_or(value["at"], 0.0),
        policy=value["policy"],
        requests_per_s=value["requests_per_s"],
        errors_per_s=value["errors_per_s"],
        in_flight=value["in_flight"],
        loop_late_ms=value["loop_late_ms"],
        stopping=value["stopping"],
        people=value["people"],
    )


def people_of(value: Json) -> list[Person]:
    """Of `GET /people`."""
    return [
        Person(
            one["actor"],
            AccessRole(one["role"]),
            one["address"],
            moment_or(one["since"], 0.0),
            one["doing"],
            one["terminal"],
        )
        for one in value["people"]
    ]


def rollings_of(value: Json) -> list[RollingStatus]:
    """Of `GET /rolling-drains`."""
    return [rolling_of(one) for one in value["rolling_drains"]]


def rolling_of(value: Json) -> RollingStatus:
    """One of them."""
    return RollingStatus(
        id=value["id"],
        what=value["what"],
        actor=value["actor"],
        most=value["max"],
        floor=value["floor"],
        remove=value["remove"],
        total=value["total"],
        phase=Phase(value["phase"]),
        why=value["why"],
        under_way=tuple(
            UnderWay(one["name"], one["in_flight"], one["began_with"], one["left_secs"]) for one in value["under_way"]
        ),
        waiting=tuple(value["waiting"]),
        done=tuple(value["done"]),
        failed=tuple(value["failed"]),
        began_at=moment_or(value["began_at"], 0.0),
        ended_at=moment(value["ended_at"]),
    )


def percentiles_of(value: Json) -> Percentiles:
    return Percentiles(_seconds(value["p50"]), _seconds(value["p95"]), _seconds(value["p99"]), value["count"])


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def load_of(value: Json, at: float) -> EngineLoad:
    return EngineLoad(
        at,
        running=value.get("num_running_reqs"),
        waiting=value.get("num_waiting_reqs"),
        kv_usage=value.get("token_usage"),
        throughput=value.get("gen_throughput"),
        cache_hit_rate=value.get("cache_hit_rate"),
        used_tokens=value.get("num_used_tokens"),
        max_tokens=value.get("max_total_num_tokens"),
    )


def discovery_of(value: Json) -> DiscoveryStatus | None:
    """Of `GET /discovery`, as of the moment at which it was told."""
    if not value["enabled"]:
        return None
    events, blind, sharing = value["events"], value["blind"], value["sharing"]
    watch = ReflectorStatus(
        namespace=value["namespace"],
        selector=value["selector"],
        source=value["credentials"],
        synced=value["synced"],
        pods=value["pods_known"],
        watching=value["watching"],
        watch_age_s=value["watch_age_secs"],
        heard_at=moment(value["last_heard"]),
        blind_since=moment(blind["since"]) if blind else None,
        blind_why=blind["why"] if blind else "",
        next_try_s=blind["next_try_secs"] if blind else None,
        last_relist_at=moment(value["last_relist"]),
        last_relist_why=value["last_relist_why"],
        last_relist_s=value["last_relist_secs"],
        last_drift=value["last_drift"],
        missing_permission=value["missing_permission"],
        counts=Counts(lists=value["lists"], watches=value["watches"], failures=value["failures"], **events),
    )
    return DiscoveryStatus(
        watch=watch,
        matched=value["pods_matched"],
        ready=value["pods_ready"],
        registered=value["workers_registered"],
        skipped={one["pod"]: one["because"] for one in value["skipped"]},
        notes={one["pod"]: one["because"] for one in value["notes"]},
        passes=value["passes"],
        last_pass_at=moment(value["last_pass"]),
        sharing=SharingStatus(sharing["waiting"], sharing["problem"]) if sharing else None,
    )


def tokenizer_of(value: Json) -> TokenizerStatus:
    """One of `GET /tokenizers`."""
    exact, prefix = value["exact_cache"], value["prefix_cache"]
    return TokenizerStatus(
        id=value["id"],
        name=value["name"],
        source=value["source"],
        state=Progress(value["status"]),
        message=value["message"],
        since=moment_or(value["since"], 0.0),
        automatic=value["automatic"],
        models=tuple(value["models"]),
        users=tuple(value["users"]),
        shared_with=tuple(value["shared_with"]),
        vocab_size=value["vocab_size"],
        context_length=value["context_length"],
        chat_templates=tuple(value["chat_templates"]),
        template_error=value["chat_template_error"],
        memory_bytes=value["memory_bytes"],
        exact=_cache(exact),
        prefix=_cache(prefix),
        exact_off=exact.get("off_because", ""),
        prefix_off=prefix.get("off_because", ""),
    )


def _cache(value: Json) -> CacheCounts | None:
    if not value["enabled"]:
        return None
    names = ("hits", "misses", "evicted", "entries", "bytes", "max_bytes")
    return CacheCounts(*(value[name] for name in names))


def tokens_of(value: Json) -> list[Shown]:
    """Of `POST /tokenizers/{id}/tokens`."""
    return [Shown(one["id"], one["text"], one["special"]) for one in value["tokens"]]


def settings_of(value: Json) -> list[Effective]:
    """Of `GET /settings`."""
    return [Effective(**one) for one in value["settings"]]


def flight_of(value: Json) -> Flight:
    """One of `GET /requests`."""
    return Flight(
        request_id=value["request_id"],
        route=value["route"],
        model=value["model"],
        stage=Stage(value["stage"]),
        age_s=value["age_secs"],
        attempt_s=value["attempt_secs"],
        attempts=value["attempts"],
        worker=value["worker"],
        prefill=value["prefill_worker"],
        streams=value["streams"],
        tokens=value["tokens"],
    )


def failures_of(value: Json) -> list[Failure]:
    """Of `GET /workers/{id}/history`."""
    return [Failure(moment_or(one["at"], 0.0), one["why"], one["count"]) for one in value["failures"]]


def routes_of(value: Json) -> list[RouteStatus]:
    """Of `GET /routing`."""
    return [
        RouteStatus(
            model=one["model"],
            role=Role(one["role"]),
            policy=one["policy"],
            by_label=one["by_label"],
            candidates=tuple(WorkerId(worker) for worker in one["candidates"]),
            left_out=tuple((WorkerId(left["id"]), left["because"]) for left in one["left_out"]),
        )
        for one in value["routes"]
    ]


def explained_of(value: Json) -> list[Explained]:
    """Of `POST /routing/explain`."""
    return [
        Explained(
            Role(role["role"]), choice["policy"], choice["in_use"], WorkerId(choice["worker"]["id"]), choice["why"]
        )
        for role in value["roles"]
        for choice in role["choices"]
    ]


def stretch_of(value: Json) -> Stretch | None:
    """Of `GET /history`; None: nothing was ever measured."""
    end = moment(value["end"])
    if end is None:
        return None
    tracks = {
        Measure(name): Track(_numbers(track["mean"]), _numbers(track["peak"]))
        for name, track in value["measures"].items()
    }
    return Stretch(value["step_secs"], round(end), tracks)


def _numbers(values: list[float | None]) -> "array[float]":
    return array("f", [NAN if value is None else value for value in values])


def joined(old: Stretch | None, new: Stretch, most: int) -> Stretch:
    """The rows of `old` with those of `new` in their place and after them, `most` at last; gaps are NaN."""
    first_new = new.end - new.count * new.step_s
    if old is None or first_new > old.end or new.end < old.end or set(new.tracks) - set(old.tracks):
        return new
    kept = max(0, old.count - (old.end - first_new) // new.step_s)
    tracks = {}
    for measure, track in new.tracks.items():
        before = old.tracks[measure]
        means, peaks = before.means[:kept] + track.means, before.peaks[:kept] + track.peaks
        tracks[measure] = Track(means[-most:], peaks[-most:])
    return Stretch(new.step_s, new.end, tracks)
