"""Switching faults: all of a change, or nothing of it."""

import pytest

from gateway.simulator.faults import DEFAULTS, Faults, changed


def test_a_change_sets_what_it_names_and_leaves_the_rest() -> None:
    faults = changed(changed(Faults(), {"slow": 3, "unhealthy": True}), {"status": 503, "fraction": 0.5})
    assert faults == Faults(slow=3, unhealthy=True, status=503, fraction=0.5)
    assert changed(faults, {}) == faults


def test_a_reset_clears_everything_but_what_comes_with_it() -> None:
    faults = Faults(hang=True, slow=9.0)
    assert changed(faults, {"reset": True}) == Faults()
    assert changed(faults, {"reset": True, "garbage": True}) == Faults(garbage=True)
    assert changed(faults, {"reset": False}) == faults


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"slwo": 2}, f"slwo: unknown fault; accepted: reset, {', '.join(DEFAULTS)}"),
        ({"unhealthy": 1}, "unhealthy: given 1, expected true or false"),
        ({"slow": 0}, "slow: given 0, expected a number above 0, up to 1000"),
        ({"slow": True}, "slow: given True, expected a number above 0, up to 1000"),
        ({"fraction": 1.5}, "fraction: given 1.5, expected a number from 0 to 1"),
        ({"status": 200}, "status: given 200, expected a status from 400 to 599, or 0"),
        ({"status": 503.0}, "status: given 503.0, expected a status from 400 to 599, or 0"),
        ({"drop_after": -1}, "drop_after: given -1, expected a whole number of events, 0 for never"),
        ({"refuse_s": "2"}, "refuse_s: given '2', expected seconds from 0 to 600"),
        ({"reset": 1}, "reset: given 1, expected true or false"),
        ([], "expected a JSON object"),
    ],
)
def test_what_is_not_accepted_is_named(given: object, message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole text is compared
        changed(Faults(), given)
    assert str(refused.value) == message
