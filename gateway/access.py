"""Who may do what: three roles, and the one rule that holds for all who ask by name.

A role comes with a key (SSH today); everything that lets people in by a key of theirs asks here, so that a viewer
is a viewer wherever he looks from. What a command does is `operations`'s.
"""

from enum import StrEnum

from gateway.errors import Forbidden


class AccessRole(StrEnum):
    """What a person may do, each with all that comes before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Act(StrEnum):
    """What there is to do, by what it touches."""

    LOOK = "looking"
    WORKERS = "acting on workers"
    GATEWAY = "changing the gateway itself"
    """Everything else: tokenizers, keys, settings."""


_LEAST = {Act.LOOK: AccessRole.VIEWER, Act.WORKERS: AccessRole.OPERATOR, Act.GATEWAY: AccessRole.ADMIN}
_ORDER = tuple(AccessRole)


def may(role: AccessRole, act: Act) -> bool:
    """Whether somebody in this role may do this."""
    return _ORDER.index(role) >= _ORDER.index(_LEAST[act])


def check(role: AccessRole, act: Act) -> None:
    """Raises Forbidden, in a sentence for him who asked, unless `may` says yes."""
    if not may(role, act):
        raise Forbidden(f"your key's role is {role}; {act} takes {_LEAST[act]}")
