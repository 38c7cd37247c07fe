"""The routing policies by name."""

from collections.abc import Callable
from random import Random

from gateway.routing.cache_aware import CacheAware
from gateway.routing.least_load import LeastLoad
from gateway.routing.passthrough import Passthrough
from gateway.routing.policy import Policy
from gateway.routing.power_of_two import PowerOfTwo
from gateway.routing.random_choice import RandomChoice
from gateway.routing.round_robin import RoundRobin
from gateway.routing.settings import RoutingSettings

DEFAULT_POLICY = "cache_aware"

_MAKERS: dict[str, Callable[[Random, RoutingSettings], Policy]] = {
    "random": lambda rng, settings: RandomChoice(rng),
    "round_robin": lambda rng, settings: RoundRobin(),
    "power_of_two": lambda rng, settings: PowerOfTwo(rng, settings.load_fresh_s),
    "passthrough": lambda rng, settings: Passthrough(),
    "cache_aware": lambda rng, settings: CacheAware(settings),
    "least_load": lambda rng, settings: LeastLoad(settings),
}

POLICY_NAMES = tuple(_MAKERS)
READ_CALLER = frozenset(("consistent_hashing",))
"""Policies for which `Query.caller` has to be filled."""


def make_policy(name: str, rng: Random, settings: RoutingSettings | None = None) -> Policy:
    """A new policy of that name, for one model. Raises ValueError naming the policies there are."""
    maker = _MAKERS.get(name)
    if maker is None:
        raise ValueError(f"policy: there is no {name!r}; expected one of {', '.join(POLICY_NAMES)}")
    return maker(rng, settings or RoutingSettings())
