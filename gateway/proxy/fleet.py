"""The fleet as routing sees it: the workers for a model and role, with the policy that chooses among them.

Groups are looked up for every request and made anew after a fact; policies stay, with what they have learned,
for as long as a worker serves their model. A worker's label `policy` sets the policy of its model.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random

from gateway.routing.policies import POLICY_NAMES, READ_CALLER, make_policy
from gateway.routing.policy import Policy
from gateway.routing.settings import RoutingSettings
from gateway.workers import facts
from gateway.workers.entry import Entry
from gateway.workers.facts import Event
from gateway.workers.model import Connection, Role, State
from gateway.workers.registry import Registry

logger = logging.getLogger(__name__)

Key = tuple[str | None, Role]


@dataclass(frozen=True, slots=True)
class RoutingPlan:
    """Which policy serves which role, with their parameters, and other names for models."""

    policy: str
    prefill_policy: str | None = None
    """None: as `policy`."""
    decode_policy: str | None = None
    parameters: RoutingSettings = field(default_factory=RoutingSettings)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names that clients may use, each with the model it stands for."""
    disaggregated: bool = False
    """Every request goes to a prefill and a decode worker, also where regular ones are listed."""
    shed_overload: bool = False
    """Refuse rather than load a worker further when all are overloaded."""

    def policy_of(self, role: Role) -> str:
        own = {Role.PREFILL: self.prefill_policy, Role.DECODE: self.decode_policy}.get(role)
        return own or self.policy


class Group:
    """The workers that may get a request for one model in one role, and their policy."""

    __slots__ = ("candidates", "key", "policy", "reads_caller", "reads_text")

    def __init__(self, key: Key, candidates: tuple[Entry, ...], policy: Policy) -> None:
        self.key = key
        self.candidates = candidates
        self.policy = policy
        self.reads_text = policy.reads_text
        self.reads_caller = policy.name in READ_CALLER


class Fleet:
    """Give `heed` to `Registry.watch`."""

    def __init__(self, registry: Registry, plan: RoutingPlan, rng: Random) -> None:
        for name in (plan.policy, plan.prefill_policy, plan.decode_policy):
            if name is not None:
                make_policy(name, rng, plan.parameters)  # raises for a name that there is not
        self.registry = registry
        self.plan = plan
        self._rng = rng
        self._version = -1
        self._pairing = self._special = False
        self._over_grpc: dict[str | None, bool] = {}
        self._groups: dict[Key, Group] = {}
        self._named: dict[str | None, Group] = {}
        """Those of regular workers by the model's own name: what nearly every request asks for."""
        self._policies: dict[Key, Policy] = {}

    def group(self, model: str | None, role: Role = Role.REGULAR) -> Group:
        """The group for this model and role, which may have no candidates."""
        registry = self.registry
        if registry.version != self._version:
            self._look_again()
        elif role is Role.REGULAR and (named := self._named.get(model)) is not None:
            return named
        key = (registry.key_of(model), role)
        group = self._groups.get(key)
        if group is None:
            candidates = registry.routable(model, role)
            group = self._groups[key] = Group(key, candidates, self._policy(key, model, role))
            if key == (model, Role.REGULAR):
                self._named[model] = group
        return group

    def _look_again(self) -> None:
        self._version = self.registry.version
        self._groups.clear()
        self._named.clear()
        self._over_grpc.clear()
        entries = self.registry.entries.values()
        grpc = any(entry.worker.connection is Connection.GRPC for entry in entries)
        prefill = any(entry.worker.spec.role is Role.PREFILL for entry in entries)
        self._pairing = prefill or self.plan.disaggregated
        self._special = self._pairing or grpc

    @property
    def special(self) -> bool:
        """Whether any model may be served by pairs, or by workers that take token ids: only then it is worth
        finding out for each request."""
        if self.registry.version != self._version:
            self._look_again()
        return self._special

    def speaks_grpc(self, model: str | None) -> bool:
        """Whether any worker that serves this model takes token ids."""
        if self.registry.version != self._version:
            self._look_again()
        key = self.registry.key_of(model)
        found = self._over_grpc.get(key)
        if found is None:
            serving = self.registry.serving(model)
            found = any(entry.worker.connection is Connection.GRPC for entry in serving)
            self._over_grpc[key] = found
        return found

    @property
    def pairing(self) -> bool:
        """Whether any model may be served by pairs: only then the question is worth asking for each request."""
        if self.registry.version != self._version:
            self._look_again()
        return self._pairing

    def canonical(self, model: str | None) -> str | None:
        """The model that a client's name for it stands for."""
        return self.plan.aliases.get(model, model) if model is not None else None

    def pairs(self, model: str | None) -> bool:
        """Whether requests for this model go to a prefill and a decode worker."""
        if self.plan.disaggregated:
            return True
        if self.group(model).candidates:
            return False
        roles = {entry.worker.spec.role for entry in self.registry.serving(model)}
        return {Role.PREFILL, Role.DECODE} == roles

    def _policy(self, key: Key, model: str | None, role: Role) -> Policy:
        name = self._wanted(model, role)
        policy = self._policies.get(key)
        if policy is None or policy.name != name:
            policy = self._policies[key] = make_policy(name, self._rng, self.plan.parameters)
        return policy

    def _wanted(self, model: str | None, role: Role) -> str:
        return self.policy_name(self.registry.serving(model, role) if model is not None else (), role)

    def policy_name(self, serving: Iterable[Entry], role: Role) -> str:
        """The name of the policy for a model that these serve: what the first with the label says, else the
        setting."""
        for entry in serving:
            name = entry.worker.labels.get("policy")
            if name in POLICY_NAMES:
                return str(name)
        return self.plan.policy_of(role)

    def policies(self) -> dict[Key, Policy]:
        """The policies in use by model and role."""
        return dict(self._policies)

    def heed(self, event: Event) -> None:
        """Let policies forget a worker that left or starts anew, and forget the policies of models that left."""
        fact = event.fact
        gone = isinstance(fact, facts.StateChanged) and fact.new is State.GONE
        if not gone and not isinstance(fact, facts.RegistrationRestarted):
            return
        assert fact.worker is not None
        for key, policy in list(self._policies.items()):
            policy.forget(fact.worker)
            model = key[0]
            if model is not None and self.registry.key_of(model) != model and not self.registry.serving(model):
                del self._policies[key]

    def tend(self, now: float) -> None:
        """Upkeep of all policies."""
        for policy in list(self._policies.values()):
            policy.tend(now)
