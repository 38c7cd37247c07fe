"""Which worker each policy would take for a request, and why: the question behind "why did it go there?".

Asks the policies in use with all they have learned, and the others as they would be on their first day. Changes
nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from gateway.proxy.fleet import Fleet, Group
from gateway.proxy.hints import Hints
from gateway.routing.policies import POLICY_NAMES, make_policy
from gateway.routing.policy import Explanation, Query
from gateway.workers.availability import availability
from gateway.workers.entry import Entry
from gateway.workers.model import Role


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
