"""Which worker each policy would take for a request, and why: the question behind "why did it go there?"; and
which policy serves which model.

Asks the policies in use with all they have learned, and the others as they would be on their first day. Changes
nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from gateway.completions.asked import FORMS
from gateway.completions.asked import asked as asked_of
from gateway.completions.prompts import prompts_for
from gateway.errors import GatewayError
from gateway.proxy.fleet import Fleet, Group
from gateway.proxy.hints import Hints, hints_of
from gateway.routing.policies import POLICY_NAMES, make_policy
from gateway.routing.policy import Explanation, Query
from gateway.tokenizers.registry import TokenizerRegistry
from gateway.workers.availability import availability
from gateway.workers.entry import Entry
from gateway.workers.model import Role, WorkerId


@dataclass(frozen=True, slots=True)
class Choice:
    """What one policy would do. `in_use`: it is the one that decides; it alone has learned from traffic."""

    policy: str
    in_use: bool
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class LeftOut:
    entry: Entry
    because: str


@dataclass(frozen=True, slots=True)
class RoleExplained:
    """One role's part. `candidates` are those that may be chosen, `left_out` the others that serve the model."""

    role: Role
    policy: str
    candidates: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...]
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """How requests for one model in one role are routed at present. Workers by id, in the order of the registry."""

    model: str | None
    """None: workers that do not say what they serve, which get requests for any model."""
    role: Role
    policy: str
    by_label: bool
    """Whether a worker's label set the policy, rather than the settings."""
    candidates: tuple[WorkerId, ...]
    left_out: tuple[tuple[WorkerId, str], ...]
    """Listed, but not chosen from, each with the reason."""


class Explainer:
    """Answers both questions about a fleet."""

    def __init__(self, fleet: Fleet, tokenizers: TokenizerRegistry, mono: Callable[[], float]) -> None:
        self.fleet = fleet
        self._tokenizers = tokenizers
        self._mono = mono

    def routes(self) -> list[RouteStatus]:
        """For each model that is served, in the order in which they came."""
        serving: dict[tuple[str | None, Role], list[Entry]] = {}
        for entry in self.fleet.registry.entries.values():
            for model in entry.worker.models or (None,):
                serving.setdefault((model, entry.worker.spec.role), []).append(entry)
        return [_route(self.fleet, model, role, entries) for (model, role), entries in serving.items()]

    async def explain(
        self, route: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> tuple[str | None, list["RoleExplained"]]:
        """The model such a request would be for, and each role's part. Raises BadRequest."""
        data = msgspec.json.encode(body)
        path = route.encode("utf-8", "replace")
        hints = hints_of(path, b"application/json", data)
        named = {name.lower(): value for name, value in headers.items()}
        caller = named.get("authorization") or named.get("x-forwarded-for") or named.get("cookie")
        key = named.get("x-smg-routing-key")
        tokens = await self._tokens(path, data, hints.model)
        roles = explained(self.fleet, hints, key, caller, len(data), self._mono(), tokens)
        return self.fleet.canonical(hints.model), roles

    async def _tokens(self, route: bytes, body: bytes, model: str | None) -> Sequence[int]:
        """The prompt as ids, where the request would be put into ids; none where that cannot be done."""
        name = self.fleet.canonical(model)
        if name is None or route not in FORMS or not self.fleet.speaks_grpc(name):
            return ()
        tokenizer = self._tokenizers.get(name)
        try:
            prompts = [] if tokenizer is None else await prompts_for(asked_of(route, body), tokenizer, None)
        except GatewayError:
            return ()
        return prompts[0].ids if prompts else ()


def _route(fleet: Fleet, model: str | None, role: Role, serving: list[Entry]) -> RouteStatus:
    """All in one pass: a group of the fleet, which requests make, would go through all workers for each model."""
    able = [entry for entry in serving if availability(entry.worker).routable]
    chosen = [entry for entry in able if not entry.overloaded] or able
    inside = set(map(id, chosen))
    policy = fleet.policy_name(serving if model is not None else (), role)
    return RouteStatus(
        model,
        role,
        policy,
        policy != fleet.plan.policy_of(role),
        tuple(entry.worker.id for entry in chosen),
        tuple((entry.worker.id, _because(entry)) for entry in serving if id(entry) not in inside),
    )


def explained(
    fleet: Fleet,
    hints: Hints,
    key: str | None,
    caller: str | None,
    size: int,
    now: float,
    tokens: Sequence[int] = (),
) -> list[RoleExplained]:
    """For each role that a request takes part in; no choices where there are no candidates. `tokens`: its prompt, for
    workers that take ids."""
    model = fleet.canonical(hints.model)
    query = Query(model, text=hints.prompt_text, tokens=tokens, size=size, key=key, caller=caller)
    roles = (Role.PREFILL, Role.DECODE) if fleet.pairing and fleet.pairs(model) else (Role.REGULAR,)
    return [_role(fleet, fleet.group(model, role), query, now) for role in roles]


def _role(fleet: Fleet, group: Group, query: Query, now: float) -> RoleExplained:
    role = group.key[1]
    left_out = tuple(
        LeftOut(entry, _because(entry))
        for entry in fleet.registry.serving(query.model, role)
        if entry not in group.candidates
    )
    choices: list[Choice] = []
    for name in POLICY_NAMES if group.candidates else ():
        in_use = name == group.policy.name
        policy = group.policy if in_use else make_policy(name, Random(0), fleet.plan.parameters)
        choices.append(Choice(name, in_use, policy.explain(group.candidates, query, now)))
    return RoleExplained(role, group.policy.name, group.candidates, left_out, tuple(choices))


def _because(entry: Entry) -> str:
    found = availability(entry.worker)
    return "overloaded by its own report, and others are not" if found.routable else found.because
