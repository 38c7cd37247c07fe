"""What `k8s-manifests` prints: held against the API's published schemas, and against the gateway's own settings."""

import copy
import subprocess
import sys
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.settings.flags import UsageError, add_settings, new_parser
from gateway.settings.load import load
from gateway.settings.model import Settings
from smg_console.cli import main
from smg_console.manifests_command import manifests

Object = dict[str, Any]
LLM = ["--namespace", "llm", "--selector", "app=sglang"]
ASKED = {
    "plain": LLM,
    "set-based": [*LLM, "tier in (gpu, big)", "!broken"],
    "all namespaces": [*LLM, "--all-namespaces", "--share-operations"],
    "two namespaces": [*LLM, "--service-discovery-namespace", "models", "--service-discovery-port", "8000"],
    "prefill and decode": [
        *("--pd-disaggregation", "--prefill-selector", "app=sglang", "component=prefill"),
        *("--decode-selector", "app=sglang", "component=decode"),
    ],
    "no metrics": [*LLM, "--disable-prometheus", "--replicas", "1", "--name", "edge"],
    "numbers that are names": ["--namespace", "1e3", "--name", "y", "--selector", "app=1", "--image", "x.example/g:1"],
}


def printed(*words: str) -> dict[str, Object]:
    """The objects by kind."""
    return {found["kind"]: found for found in yaml.safe_load_all(manifests(list(words)))}


def container(found: dict[str, Object]) -> Object:
    made: Object = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    return made


def settings_in(found: dict[str, Object]) -> Settings:
    """What the gateway makes of the arguments in the Deployment, once the kubelet has replaced `$$`."""
    parser = new_parser("smg-console", "")
    add_settings(parser)
    words = [word.replace("$$", "$") for word in container(found)["args"]]
    return load(vars(parser.parse_strictly(words)), {}, None).settings


@pytest.mark.parametrize("version", ["1.33", "1.36"])
@pytest.mark.parametrize("words", ASKED.values(), ids=ASKED.keys())
def test_every_object_is_as_the_api_documents_it(words: list[str], version: str) -> None:
    for found in printed(*words).values():
        assert kubernetes_validate.validate(found, version, strict=True) == version


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readinessProbe", "httpGet", "prot"), "http"),
        ("Deployment", ("spec", "replicas"), "two"),
        ("Role", ("rules", 0, "verbs"), "get"),
        ("PodDisruptionBudget", ("spec", "maxUnavailable"), [1]),
        ("Service", ("spec", "ports", 0, "port"), "http"),
        ("ServiceAccount", ("spec",), {}),
    ],
)
def test_the_schema_refuses_what_the_api_would_refuse(kind: str, path: tuple[Any, ...], value: object) -> None:
    broken = copy.deepcopy(printed(*LLM)[kind])
    place: Any = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.36", strict=True)


@pytest.mark.parametrize("words", ASKED.values(), ids=ASKED.keys())
def test_the_gateway_in_the_deployment_starts_with_the_flags_it_is_given(words: list[str]) -> None:
    found = printed(*words)
    settings = settings_in(found)
    assert settings.no_ui
    assert settings.service_discovery
    names = {port["name"]: port["containerPort"] for port in container(found)["ports"]}
    assert names["http"] == settings.port
    assert names.get("metrics") == (None if settings.disable_prometheus else settings.prometheus_port)


def test_selectors_arrive_word_for_word() -> None:
    settings = settings_in(printed(*ASKED["set-based"]))
    assert settings.selector == ("app=sglang", "tier in (gpu, big)", "!broken")
    assert settings.service_discovery_namespace == "llm"


def test_a_dollar_is_kept_from_the_kubelet() -> None:
    found = printed(*LLM, "--policy", "random", "--model-id-from", "namespace", "--health-check-endpoint", "/$(HOME)")
    assert "/$$(HOME)" in container(found)["args"]
    assert settings_in(found).health_check_endpoint == "/$(HOME)"


def test_the_role_reads_pods_of_one_namespace_and_nothing_else() -> None:
    role = printed(*LLM)["Role"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    assert role["metadata"]["namespace"] == "llm"


def test_patch_is_allowed_only_where_operations_are_shared() -> None:
    assert printed(*LLM, "--share-operations")["Role"]["rules"][0]["verbs"] == ["get", "list", "watch", "patch"]


@pytest.mark.parametrize("words", ASKED.values(), ids=ASKED.keys())
def test_names_lead_from_the_deployment_to_its_rights_and_from_the_service_to_its_pods(words: list[str]) -> None:
    found = printed(*words)
    prefix = "Cluster" if "--all-namespaces" in words else ""
    role, binding, account = found[f"{prefix}Role"], found[f"{prefix}RoleBinding"], found["ServiceAccount"]["metadata"]
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (role["kind"], role["metadata"]["name"])
    assert binding["metadata"].get("namespace") == role["metadata"].get("namespace")
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]
    template = found["Deployment"]["spec"]["template"]
    assert template["spec"]["serviceAccountName"] == account["name"]
    for selector in (
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["Deployment"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= template["metadata"]["labels"].items()


def test_the_role_of_another_namespace_stands_there_under_a_name_of_its_own() -> None:
    found = printed(*ASKED["two namespaces"])
    assert found["Role"]["metadata"]["namespace"] == found["RoleBinding"]["metadata"]["namespace"] == "models"
    assert found["Role"]["metadata"]["name"] == "llm:smg-console"
    assert settings_in(found).service_discovery_namespace == "models"


def test_with_all_namespaces_the_gateway_is_given_none() -> None:
    found = printed(*ASKED["all namespaces"])
    assert "namespace" not in found["ClusterRole"]["metadata"]
    assert settings_in(found).service_discovery_namespace is None


def test_the_kubelet_waits_longer_than_the_gateway_drains() -> None:
    found = printed(*LLM, "--shutdown-grace-period-secs", "600.5")
    pod = found["Deployment"]["spec"]["template"]["spec"]
    before = container(found)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > before + 600.5


def test_the_container_is_neither_root_nor_writes_its_image() -> None:
    found = printed(*LLM)
    pod, made = found["Deployment"]["spec"]["template"]["spec"], container(found)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert made["securityContext"]["readOnlyRootFilesystem"] is True
    assert made["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_probes_ask_liveness_and_readiness_on_the_serving_port() -> None:
    made = container(printed(*LLM, "--port", "8080"))
    asked = {name: made[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/liveness", "liveness": "/liveness", "readiness": "/readiness"}
    assert {made[f"{name}Probe"]["httpGet"]["port"] for name in asked} == {"http"}
    assert made["ports"][0] == {"name": "http", "containerPort": 8080, "protocol": "TCP"}


def test_what_other_readers_take_for_a_number_or_a_truth_is_quoted() -> None:
    text = manifests(ASKED["numbers that are names"])
    assert 'namespace: "1e3"' in text
    assert 'name: "y"' in text


def test_the_same_words_print_the_same_text_whatever_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = manifests(list(LLM))
    monkeypatch.setenv("SMG_CONSOLE_PORT", "9999")
    assert manifests(list(LLM)) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--namespace", "llm"], "--service-discovery needs --selector"),
        ([*LLM, "--namespace", "LLM"], "--namespace: given 'LLM', expected up to 63 of a-z, 0-9 and '-'"),
        ([*LLM, "--name", "9to5"], "--name: given '9to5', expected up to 63 of a-z, 0-9 and '-', a letter first"),
        ([*LLM, "--image", "two words"], "--image: given 'two words', expected an image such as"),
        ([*LLM, "--replicas", "0"], "--replicas: given '0', expected a whole number from 1 to 1000"),
        ([*LLM, "--replicas", "²"], "--replicas: given '²', expected a whole number"),
        ([*LLM, "--port", "80"], "--port: given '80', expected a port from 1024 to 65535"),
        ([*LLM, "--port", "x"], "--port: given 'x', expected a whole number"),
        (["--selector", "a in b"], "--selector: given 'a in b'"),
        ([*LLM, "--decode-selector", "a=b"], "--decode-selector is for --pd-disaggregation, which is not given"),
        ([*LLM, "--worker-api-key", "secret"], "--worker-api-key: would stand in the manifest for all to read"),
        ([*LLM, "--kubeconfig", "x"], "--kubeconfig: is not for a pod"),
        ([*LLM, "--host", "127.0.0.1"], "--host: given '127.0.0.1', which nobody outside the pod reaches"),
        ([*LLM, "--no-service-discovery"], "--no-service-discovery: a gateway in a cluster"),
        ([*LLM, "--theme", "night"], "--theme is for the console, which --no-ui switches off"),
        ([*LLM, "--all-namespaces", "--service-discovery-namespace", "x"], "--all-namespaces excludes"),
        (["--selector", "app!=x"], "--selector: given 'app!=x', which matches the gateway's own pods"),
        ([*LLM, "--replica", "2"], "--replica: unknown flag; did you mean --replicas?"),
    ],
)
def test_bad_words_are_refused_with_what_is_accepted(words: list[str], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        manifests(words)
    assert told in str(refused.value)


def test_a_selector_that_fits_the_gateway_may_be_used_for_another_namespace() -> None:
    assert printed("--namespace", "edge", "--selector", "app!=x", "--service-discovery-namespace", "llm")


def test_help_names_every_flag_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["k8s-manifests", "--help"]) == 0
    told = capsys.readouterr().out
    for name in ("--name", "--namespace", "--image", "--replicas", "--all-namespaces", "--share-operations"):
        assert f"  {name} " in told


def test_it_prints_without_importing_the_console() -> None:
    code = (
        "import sys; from smg_console.cli import main; main(sys.argv[1:]);"
        "sys.exit('imported' if {'textual', 'rich', 'kubernetes_asyncio'} & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "k8s-manifests", *LLM], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(yaml.safe_load_all(done.stdout))) == 6
