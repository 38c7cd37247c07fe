"""Settings of the discovery: as in SMG's examples, from all sources, and refused with the reason."""

from pathlib import Path

import pytest

from gateway.parts import pod_rules
from gateway.settings.discovery import DiscoverySettings
from gateway.workers.model import Role
from tests.unit.test_settings import parsed, refused

ON = "--service-discovery"


def test_a_plain_fleet() -> None:
    settings = parsed(
        ON, "--selector", "app=sglang-worker", "tier in (gpu, big)",
        "--service-discovery-namespace", "prod", "--service-discovery-port", "8000",
    )  # fmt: skip
    rules = pod_rules(settings)
    assert [(role, str(selector)) for role, selector in rules.selectors] == [
        (Role.REGULAR, "app=sglang-worker,tier in (big,gpu)")
    ]
    assert (rules.port, settings.service_discovery_namespace, rules.model_from) == (8000, "prod", None)


def test_prefill_and_decode_have_selectors_of_their_own() -> None:
    settings = parsed(
        "--pd-disaggregation", ON, "--prefill-selector", "app=sglang", "component=prefill",
        "--decode-selector", "app=sglang", "component=decode", "--model-id-from", "label:model",
    )  # fmt: skip
    rules = pod_rules(settings)
    assert [(role, str(selector)) for role, selector in rules.selectors] == [
        (Role.PREFILL, "app=sglang,component=prefill"),
        (Role.DECODE, "app=sglang,component=decode"),
    ]
    assert rules.port == 80
    assert rules.model_from is not None


def test_a_selector_keeps_its_commas_and_blanks_in_environment_and_file(tmp_path: Path) -> None:
    text = "app=x,tier in (a, b)"
    assert parsed(ON, environment={"SMG_CONSOLE_SELECTOR": text}).selector == (text,)
    file = tmp_path / "s.toml"
    file.write_text(f'service_discovery = true\nselector = ["{text}"]\n', encoding="utf-8")
    assert parsed(file=file).selector == (text,)
    assert "accepted are" in refused(ON, environment={"SMG_CONSOLE_SELECTOR": "app=x tier=y"})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([ON], "--service-discovery needs --selector: every pod there is would be a worker"),
        ([ON, "--pd-disaggregation"], "--service-discovery needs --prefill-selector and --decode-selector"),
        ([ON, "--selector", "a=b", "--prefill-selector", "a=c"], "--prefill-selector is for --pd-disaggregation"),
        ([ON, "--selector", ""], "--selector: given '', selector argument '' is empty"),
        (["--selector", "a=b"], "--selector is for --service-discovery, which is not given"),
        (["--kube-context", "x"], "--kube-context is for --service-discovery, which is not given"),
        (["--service-discovery-port", "80"], "--service-discovery-port is for --service-discovery"),
    ],
)
def test_what_does_not_hold_together_is_refused(words: list[str], why: str) -> None:
    assert why in refused(*words)


def test_every_setting_shows_in_one_group_of_the_help() -> None:
    for field in DiscoverySettings.model_fields.values():
        assert isinstance(field.json_schema_extra, dict)
        assert field.json_schema_extra["group"] == "Kubernetes"
