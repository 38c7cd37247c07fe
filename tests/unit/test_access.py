"""Who may do what: the one table of roles, and the sentence for who may not."""

import pytest

from gateway.access import AccessRole, Act, check, may
from gateway.errors import Forbidden
from gateway.presence import Person, Presence

RULE = {
    (AccessRole.VIEWER, Act.LOOK): True,
    (AccessRole.VIEWER, Act.WORKERS): False,
    (AccessRole.VIEWER, Act.GATEWAY): False,
    (AccessRole.OPERATOR, Act.LOOK): True,
    (AccessRole.OPERATOR, Act.WORKERS): True,
    (AccessRole.OPERATOR, Act.GATEWAY): False,
    (AccessRole.ADMIN, Act.LOOK): True,
    (AccessRole.ADMIN, Act.WORKERS): True,
    (AccessRole.ADMIN, Act.GATEWAY): True,
}


def test_the_rule_for_every_role_and_act() -> None:
    assert {(role, act): may(role, act) for role in AccessRole for act in Act} == RULE


def test_a_refusal_says_what_one_is_and_what_it_takes() -> None:
    check(AccessRole.OPERATOR, Act.WORKERS)
    with pytest.raises(Forbidden, match="your key's role is viewer; acting on workers takes operator") as error:
        check(AccessRole.VIEWER, Act.WORKERS)
    assert (error.value.code, error.value.status) == ("FORBIDDEN", 403)


def test_people_are_listed_in_the_order_they_came_until_they_leave() -> None:
    presence = Presence()
    first, second = (Person(name, AccessRole.VIEWER, "192.0.2.1", 1.0) for name in ("a", "b"))
    numbers = [presence.enter(first), presence.enter(second)]
    changed = Person("a", AccessRole.VIEWER, "192.0.2.1", 1.0, terminal="xterm 80x24")
    presence.change(numbers[0], changed)
    assert presence.people() == (changed, second)
    presence.leave(numbers[0])
    presence.leave(numbers[0])
    presence.change(numbers[0], first)
    assert presence.people() == (second,)
