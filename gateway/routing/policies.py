"""The routing policies by name."""

from collections.abc import Callable
from random import Random

from gateway.routing.policy import Policy
from gateway.routing.power_of_two import PowerOfTwo
from gateway.routing.random_choice import RandomChoice
from gateway.routing.round_robin import RoundRobin

DEFAULT_POLICY = "power_of_two"

_MAKERS: dict[str, Callable[[Random, float], Policy]] = {
    "random": lambda rng, fresh_s: RandomChoice(rng),
    "round_robin": lambda rng, fresh_s: RoundRobin(),
    "power_of_two": PowerOfTwo,
}

POLICY_NAMES = tuple(_MAKERS)


def make_policy(name: str, rng: Random, *, fresh_s: float = 30.0) -> Policy:
    """The policy of that name. `fresh_s`: how old an engine's load report may be to count.

    Raises ValueError naming the policies there are.
    """
    maker = _MAKERS.get(name)
    if maker is None:
        raise ValueError(f"policy: there is no {name!r}; expected one of {', '.join(POLICY_NAMES)}")
    return maker(rng, fresh_s)
