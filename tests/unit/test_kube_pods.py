"""What a pod means for the fleet: its workers, whether they may take traffic, and why there are none."""

from typing import Any

import pytest

from gateway.kubernetes.pods import ModelFrom, PodRules, PodView, model_from, view_of
from gateway.kubernetes.selectors import parse
from gateway.workers.model import Role, Secret, Source
from tests.unit.kube_scene import RULES, pod


def seen(rules: PodRules = RULES, **about: Any) -> PodView:
    view = view_of(pod(**about), rules)
    assert view is not None
    return view


def urls(view: PodView) -> list[str]:
    return [spec.url for spec in view.specs]


def note(**about: Any) -> str:
    (only,) = seen(**about).notes
    return only


def test_a_ready_pod_is_one_worker_that_carries_the_pods_name_and_uid() -> None:
    view = seen(nodeName="node-7")
    (spec,) = view.specs
    assert (spec.url, spec.role, spec.source, spec.models) == (
        "http://10.0.0.1:8000",
        Role.REGULAR,
        Source.KUBERNETES,
        (),
    )
    assert spec.labels == {
        "smg.ai/pod-name": "a", "smg.ai/pod-namespace": "ns", "smg.ai/pod-uid": "uid-a", "node": "node-7",
    }  # fmt: skip
    assert (view.name, view.not_ready, view.terminating, view.skipped, view.notes) == ("ns/a", "", False, "", ())


GATE = {"readinessGates": [{"conditionType": "example.com/warm"}]}
UP = {"type": "Ready", "status": "True"}


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"phase": "Pending"}, "phase Pending"),
        ({"phase": ""}, "phase unknown"),
        ({"conditions": ()}, "not Ready: no such condition yet"),
        (
            {"conditions": ({"type": "Ready", "status": "False", "reason": "ContainersNotReady"},)},
            "not Ready: Containers",
        ),
        ({"conditions": ({"type": "Ready", "status": "Unknown", "message": "node lost"},)}, "not Ready: node lost"),
        ({"conditions": (UP,), **GATE}, "readiness gate example.com/warm is not True: no such condition yet"),
        ({"conditions": (UP, {"type": "example.com/warm", "status": "False"}), **GATE}, "gate example.com/warm is not"),
        ({"deleted": "2026-01-01T00:00:30Z"}, "terminating"),
    ],
)
def test_what_is_not_ready_says_why_and_keeps_its_workers(about: dict[str, Any], why: str) -> None:
    view = seen(**about)
    assert why in view.not_ready
    assert urls(view) == ["http://10.0.0.1:8000"]
    assert not view.skipped


def test_a_gate_that_is_passed_is_no_obstacle() -> None:
    assert not seen(conditions=(UP, {"type": "example.com/warm", "status": "True"}), **GATE).not_ready


def test_a_terminating_pod_has_the_end_of_its_grace_period_as_its_deadline() -> None:
    view = seen(deleted="1970-01-01T00:02:00Z")
    assert (view.terminating, view.deadline) == (True, 120.0)


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"ip": None}, "no pod IP yet"),
        ({"ip": "nonsense"}, "no pod IP yet"),
        ({"phase": "Failed"}, "phase Failed"),
        ({"phase": "Succeeded"}, "phase Succeeded"),
    ],
)
def test_a_pod_without_a_worker_says_why(about: dict[str, Any], why: str) -> None:
    view = seen(**about)
    assert (view.skipped, view.specs) == (why, ())


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert urls(seen(ip="FD00::0001")) == ["http://[fd00::1]:8000"]


@pytest.mark.parametrize(
    ("said", "ports"),
    [
        ("8001", [8001]),
        ("8001, 8002,8001", [8001, 8002]),
        ("http", [9000]),
        ("http,8001", [9000, 8001]),
        ("junk", [8000]),
        ("0", [8000]),
        ("65536,70000", [8000]),
        ("8001,junk", [8001]),
        (",", [8000]),
        ("٣", [8000]),
        ("", [8000]),
    ],
)
def test_the_ports_of_a_pods_engines(said: str, ports: list[int]) -> None:
    containers = [{"name": "engine", "ports": [{"name": "http", "containerPort": 9000}]}]
    view = seen(annotations={"smg.ai/worker-ports": said}, containers=containers)
    assert urls(view) == [f"http://10.0.0.1:{port}" for port in ports]
    junk = (
        any(part.strip() not in ("8001", "8002", "http", "") or not part.strip() for part in said.split(",")) and said
    )
    assert bool(view.notes) is bool(junk)


def test_only_so_many_ports_of_a_pod_are_used() -> None:
    view = seen(annotations={"smg.ai/worker-ports": ",".join(map(str, range(1000, 1100)))})
    assert len(view.specs) == 64
    assert "first 64 of 100" in view.notes[0]


PD = PodRules(((Role.PREFILL, parse("app=llm,role=p")), (Role.DECODE, parse("app=llm,role=d"))), port=8000)


@pytest.mark.parametrize(
    ("labels", "role"),
    [({"app": "llm", "role": "p"}, Role.PREFILL), ({"app": "llm", "role": "d"}, Role.DECODE), ({"app": "llm"}, None)],
)
def test_the_selector_that_matches_gives_the_role(labels: dict[str, str], role: Role | None) -> None:
    view = view_of(pod(labels=labels), PD)
    assert (view and view.specs[0].role) == role


def test_an_empty_selector_matches_no_pod() -> None:
    assert view_of(pod(), PodRules(((Role.REGULAR, parse("")),), port=8000)) is None


@pytest.mark.parametrize(
    ("ports", "bootstrap", "wanted"),
    [
        ("8000", "8998", [8998]),
        ("8000,8001", "8998", [8998, 8998]),
        ("8000,8001", "8998,8999", [8998, 8999]),
        ("8000,8001", "1,2,3", [None, None]),
        ("8000", "many", [None]),
        ("8000", "", [None]),
    ],
)
def test_bootstrap_ports_are_one_for_all_or_one_each(ports: str, bootstrap: str, wanted: list[int | None]) -> None:
    said = {"smg.ai/worker-ports": ports, "sglang.ai/bootstrap-port": bootstrap}
    prefill = seen(PD, labels={"app": "llm", "role": "p"}, annotations=said)
    assert [spec.bootstrap_port for spec in prefill.specs] == wanted
    assert bool(prefill.notes) is (bool(bootstrap) and wanted[0] is None)
    decode = seen(PD, labels={"app": "llm", "role": "d"}, annotations=said)
    assert {spec.bootstrap_port for spec in decode.specs} == {None}


def test_annotations_describe_the_worker_and_count_before_labels() -> None:
    view = seen(
        labels={"app": "llm", "smg.ai/priority": "10", "smg.ai/policy": "least_load"},
        annotations={
            "smg.ai/priority": "90", "smg.ai/cost": "0.5", "smg.ai/max-in-flight": "7", "smg.ai/model": "m",
            "smg.ai/scheme": "https", "smg.ai/kv-connector": "MooncakeConnector", "smg.ai/kv-engine-id": "e",
        },
    )  # fmt: skip
    (spec,) = view.specs
    assert (spec.priority, spec.cost, spec.max_in_flight, spec.models[0].id) == (90, 0.5, 7, "m")
    assert spec.url == "https://10.0.0.1:8000"
    assert spec.labels["policy"] == "least_load"
    assert (spec.labels["kv_connector"], spec.labels["kv_engine_id"]) == ("MooncakeConnector", "e")
    assert not view.notes


@pytest.mark.parametrize(
    ("name", "given", "accepted"),
    [
        ("priority", "high", "a whole number from 0 to 100"),
        ("priority", "101", "a whole number from 0 to 100"),
        ("priority", "1.5", "a whole number from 0 to 100"),
        ("cost", "nan", "a number from 0 to"),
        ("cost", "-1", "a number from 0 to"),
        ("max-in-flight", "0", "a whole number from 1 to"),
        ("scheme", "ftp", "http or https"),
    ],
)
def test_what_cannot_be_used_is_noted_and_the_worker_kept(name: str, given: str, accepted: str) -> None:
    text = note(annotations={f"smg.ai/{name}": given})
    assert text.startswith(f"smg.ai/{name}: given {given!r}, expected {accepted}")
    (spec,) = seen(annotations={f"smg.ai/{name}": given}).specs
    assert (spec.priority, spec.cost, spec.max_in_flight) == (50, 1.0, None)


@pytest.mark.parametrize(
    ("text", "model"),
    [("namespace", "ns"), ("label:model", "of-label"), (" annotation:served ", "of-annotation"), ("label:other", None)],
)
def test_the_model_is_found_where_the_flag_says(text: str, model: str | None) -> None:
    rules = PodRules(RULES.selectors, 8000, model_from(text), Secret("k"))
    (spec,) = seen(rules, labels={"app": "llm", "model": "of-label"}, annotations={"served": "of-annotation"}).specs
    assert [card.id for card in spec.models] == ([model] if model else [])
    assert spec.api_key == Secret("k")


@pytest.mark.parametrize("text", ["", "label", "label:", "annotation: ", "namespace:x", "pod:name"])
def test_other_places_of_a_model_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected namespace, label:KEY or annotation:KEY"):
        model_from(text)
    assert ModelFrom("namespace").of(pod()) == "ns"
