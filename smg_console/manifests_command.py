"""`smg-console k8s-manifests`: reads its flags and the gateway's, and writes the objects as YAML.

The gateway's flags are judged by the gateway's own settings and passed on to the container, so whatever is printed
here starts there. Neither environment nor configuration files count: the same words print the same text anywhere.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

import gateway
from gateway.kubernetes.selectors import parse_tokens
from gateway.settings.discovery import SELECTORS
from gateway.settings.flags import Parser, UsageError, add_settings, new_parser
from gateway.settings.load import load
from gateway.settings.model import Settings, flag
from smg_console.manifests import Plan, objects

ABOUT = """\
Print what a gateway needs in a Kubernetes cluster, ready for `kubectl apply -f -`:
ServiceAccount, Role and RoleBinding, Service, PodDisruptionBudget, Deployment.

  smg-console k8s-manifests --namespace llm --selector app=sglang | kubectl apply -f -

The Role allows get, list and watch on pods of the namespace that is watched; with
--share-operations also patch. With --all-namespaces it is a ClusterRole.
"""
EPILOG = """\
Below General and Manifests are the gateway's own flags. Those given are passed on
to it in the Deployment, with --no-ui and --service-discovery.
"""
MOST_REPLICAS = 1000
_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_IMAGE = re.compile(
    r"(?:[a-zA-Z0-9](?:[-a-zA-Z0-9.]*[a-zA-Z0-9])?(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?",
    re.ASCII,
)
_UNFIT = {
    "worker_api_key": "would stand in the manifest for all to read; set SMG_CONSOLE_WORKER_API_KEY from a Secret",
    "kubeconfig": "is not for a pod, which has its service account",
    "kube_context": "is not for a pod, which has its service account",
    "ssh_port": "needs a place to keep its host key, and the container has none",
    "log_dir": "needs a place to write, and the container has none; it logs to its output",
}
_LOOPBACK = ("localhost", "::1")


def manifests(words: list[str]) -> str:
    """The YAML that these words ask for, or the help. Raises UsageError."""
    parser = _parser()
    options = vars(parser.parse_strictly(words))
    if options.pop("help", False):
        return parser.format_help()
    return written(_plan(options))


def written(plan: Plan) -> str:
    """The objects of a plan as YAML documents."""
    return yaml.dump_all(
        objects(plan), Dumper=_Dumper, sort_keys=False, explicit_start=True, default_flow_style=False, width=120
    )


class _Dumper(yaml.SafeDumper):
    """Quotes also what other readers of YAML than PyYAML take for a number or a truth: kubectl's is one."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        unlike_text = re.match(r"[-+.]?\d", data) or data.lower() in ("y", "n")
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if unlike_text else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _parser() -> Parser:
    parser = new_parser("smg-console k8s-manifests", ABOUT, EPILOG)
    general = parser.add_argument_group("General")
    general.add_argument("--help", "-h", action="store_true", help="Show this and exit.")
    group = parser.add_argument_group("Manifests")
    group.add_argument("--name", metavar="NAME", help="Name of the objects. [smg-console]")
    group.add_argument("--namespace", metavar="NAME", help="Namespace of the gateway. [default]")
    group.add_argument("--image", metavar="IMAGE", help=f"Image with smg-console in it. [{_image()}]")
    group.add_argument("--replicas", metavar="N", help="Gateways to run. [2]")
    group.add_argument(
        "--all-namespaces",
        action="store_true",
        help="Watch the pods of all namespaces (default: of --service-discovery-namespace, else of --namespace).",
    )
    add_settings(parser)
    return parser


def _image() -> str:
    return f"smg-console:{gateway.__version__}"


def _plan(options: dict[str, Any]) -> Plan:
    name = _matched(options, "name", "smg-console", _NAME, "up to 63 of a-z, 0-9 and '-', a letter first")
    namespace = _matched(options, "namespace", "default", _NAMESPACE, "up to 63 of a-z, 0-9 and '-'")
    image = _matched(options, "image", _image(), _IMAGE, "an image such as registry.example/smg-console:1.0")
    replicas = _replicas(options.pop("replicas", "2"))
    watched = _watched(options, namespace)
    settings = _settings(options)
    metrics = None if settings.disable_prometheus else settings.prometheus_port
    plan = Plan(
        name=name,
        namespace=namespace,
        image=image,
        replicas=replicas,
        args=_args(options),
        watched=watched,
        patches=settings.share_operations,
        port=settings.port,
        metrics_port=metrics,
        grace_s=settings.shutdown_grace_period_secs,
    )
    _refuse_itself(settings, plan)
    return plan


def _matched(options: dict[str, Any], name: str, default: str, pattern: re.Pattern[str], accepted: str) -> str:
    value = str(options.pop(name, default))
    if not pattern.fullmatch(value):
        raise UsageError(f"--{name}: given {value!r}, expected {accepted}")
    return value


def _replicas(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MOST_REPLICAS):
        raise UsageError(f"--replicas: given {text!r}, expected a whole number from 1 to {MOST_REPLICAS}")
    return int(text)


def _watched(options: dict[str, Any], namespace: str) -> str | None:
    """The namespace to watch, also put among the gateway's flags; None: all."""
    if options.pop("all_namespaces", False):
        if "service_discovery_namespace" in options:
            raise UsageError("--all-namespaces excludes --service-discovery-namespace; give one of the two")
        return None
    watched: str = options.setdefault("service_discovery_namespace", namespace)
    return watched


def _settings(options: dict[str, Any]) -> Settings:
    """The gateway's settings in the pod. Completes `options` with what this command brings."""
    for name, why in _UNFIT.items():
        if name in options:
            raise UsageError(f"{flag(name)}: {why}")
    for name in ("no_ui", "service_discovery"):
        if not options.setdefault(name, True):
            raise UsageError(f"--no-{name.replace('_', '-')}: a gateway in a cluster is headless and looks for pods")
    settings = load(options, {}, None).settings
    for name in ("port", "prometheus_port"):
        number = getattr(settings, name)
        if number < 1024 and not (name == "prometheus_port" and settings.disable_prometheus):
            raise UsageError(
                f"{flag(name)}: given '{number}', expected a port from 1024 to 65535: the container is not root"
            )
        options.setdefault(name, str(number))
    if settings.disable_prometheus:
        del options["prometheus_port"]
    for name in ("host", "prometheus_host"):
        host = getattr(settings, name)
        if host is not None and (host in _LOOPBACK or host.startswith("127.")):
            raise UsageError(f"{flag(name)}: given {host!r}, which nobody outside the pod reaches; leave it out")
    return settings


def _args(options: Mapping[str, Any]) -> Sequence[str]:
    """The gateway's flags as words, in the order of the settings."""
    words: list[str] = []
    for name in Settings.model_fields:
        value = options.get(name)
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(flag(name) if value else f"--no-{name.replace('_', '-')}")
        elif isinstance(value, list):
            words += [flag(name), *value]
        else:
            words += [flag(name), str(value)]
    return words


def _refuse_itself(settings: Settings, plan: Plan) -> None:
    """A gateway whose selector matches its own pods would send its requests round and round."""
    if plan.watched not in (None, plan.namespace):
        return
    for name in SELECTORS:
        words = getattr(settings, name)
        if words and parse_tokens(words).matches(plan.labels):
            labels = ", ".join(f"{key}={value}" for key, value in plan.labels.items())
            raise UsageError(
                f"{flag(name)}: given {' '.join(words)!r}, which matches the gateway's own pods ({labels}); "
                "expected labels that only workers have"
            )
