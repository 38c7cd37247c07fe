"""What each role may do on the plane of a person over SSH, and under whose name the journal keeps it."""

import pytest

from gateway.access import AccessRole
from gateway.errors import Forbidden, ReadOnly
from gateway.operations import Cordon, Uncordon
from gateway.tokenizers.commands import RemoveTokenizer
from gateway.workers.facts import Cause
from smg_console.ssh.plane import PersonalPlane
from tests.console.fleet import Fleet


def plane_of(fleet: Fleet, role: AccessRole, *, read_only: bool = False) -> PersonalPlane:
    plane = object.__new__(PersonalPlane)
    plane.__dict__ |= vars(fleet.plane)
    plane._cause, plane._role, plane._read_only = Cause("ssh:ops@laptop"), role, read_only
    return plane


async def test_a_viewer_may_do_nothing_and_is_told_what_it_takes(fleet: Fleet) -> None:
    worker = fleet.add("http://10.1.0.1:8000").worker
    plane = plane_of(fleet, AccessRole.VIEWER)
    assert plane.read_only
    with pytest.raises(Forbidden, match="your key's role is viewer; acting on workers takes operator"):
        await plane.execute(Cordon(worker.id))
    with pytest.raises(Forbidden, match="takes admin"):
        await plane.execute_on_tokenizers(RemoveTokenizer("a"))
    assert not plane.rows()[0].worker.cordoned


async def test_an_operator_acts_on_workers_in_his_name_and_on_nothing_else(fleet: Fleet) -> None:
    worker = fleet.add("http://10.1.0.1:8000").worker
    plane = plane_of(fleet, AccessRole.OPERATOR)
    assert not plane.read_only
    await plane.execute(Cordon(worker.id))
    assert plane.past_events(1)[0].cause.actor == "ssh:ops@laptop"
    with pytest.raises(Forbidden, match="your key's role is operator; changing the gateway itself takes admin"):
        await plane.execute_on_tokenizers(RemoveTokenizer("a"))


async def test_a_gateway_that_is_read_only_is_so_for_admins(fleet: Fleet) -> None:
    worker = fleet.add("http://10.1.0.1:8000").worker
    plane = plane_of(fleet, AccessRole.ADMIN, read_only=True)
    assert plane.read_only
    with pytest.raises(ReadOnly):
        await plane.execute(Uncordon(worker.id))
