"""Rolling drains over the control API: begun, followed by polling, steered, refused."""

from typing import Any

import pytest

from gateway.workers.model import State
from tests.integration.control import Control, control
from tests.integration.simulator_world import until


async def begun(api: Control, **body: Any) -> dict[str, Any]:
    status, told = await api.call("POST", "/rolling-drains", json=body)
    assert status == 202, told
    assert isinstance(told, dict)
    job: dict[str, Any] = told["rolling_drain"]
    return job


async def ended(api: Control, job: dict[str, Any]) -> dict[str, Any]:
    async def over() -> dict[str, Any] | None:
        _, now = await api.call("GET", f"/rolling-drains/{job['id']}")
        assert isinstance(now, dict)
        return now if now["ended_at"] else None

    found: dict[str, Any] = await until(over, "the rolling drain to end")
    return found


def fleet(api: Control, count: int) -> list[str]:
    return [api.ready(f"http://a:{port}").worker.name for port in range(1, count + 1)]


async def test_workers_are_drained_one_after_another_and_the_floor_stays() -> None:
    async with control() as api:
        names = fleet(api, 3)
        over = await ended(api, await begun(api, workers=names, what="model=m"))
        assert (over["phase"], over["done"], over["waiting"]) == ("stopped", names[:2], names[2:])
        assert names[2] in over["why"]
        assert over["actor"] == "api"
        assert over["what"] == "model=m"
        states = [entry.worker.state for entry in api.registry.entries.values()]
        assert states == [State.DRAINING, State.DRAINING, State.READY]


async def test_a_job_waits_for_the_requests_of_a_worker_and_is_paused_continued_and_cancelled() -> None:
    async with control() as api:
        names = fleet(api, 3)
        first = api.registry.find(names[0])
        first.meters.began()
        job = await begun(api, workers=names, floor=0)

        async def steered(verb: str) -> tuple[bool, str]:
            status, told = await api.call("POST", f"/rolling-drains/{job['id']}/{verb}")
            assert status == 200, told
            assert isinstance(told, dict)
            return told["changed"], told["rolling_drain"]["phase"]

        async def under_way() -> bool:
            _, now = await api.call("GET", f"/rolling-drains/{job['id']}")
            assert isinstance(now, dict)
            return [(one["name"], one["in_flight"]) for one in now["under_way"]] == [(names[0], 1)]

        await until(under_way, "the first to drain")
        assert await steered("pause") == (True, "paused")
        assert await steered("pause") == (False, "paused")
        assert await steered("continue") == (True, "running")
        assert await steered("cancel") == (True, "stopping")
        status, _ = await api.call("POST", f"/workers/{names[0]}/resume")
        assert status == 200
        over = await ended(api, job)
        assert over["phase"] == "cancelled"
        assert over["waiting"] == names[1:]
        assert await steered("pause") == (False, "cancelled")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "workers"),
        ({"workers": []}, 400, "workers"),
        ({"workers": ["w1"], "max": 0}, 400, "max"),
        ({"workers": ["w1"], "floor": -1}, 400, "floor"),
        ({"workers": ["w1"], "timeout_secs": -1}, 400, "timeout_secs"),
        ({"workers": ["w1"], "most": 3}, 400, "most"),
        ({"workers": ["w9"]}, 404, "w9"),
    ],
)
async def test_what_is_wrong_is_refused_by_name_and_nothing_begins(body: Any, status: int, says: str) -> None:
    async with control() as api:
        fleet(api, 1)
        got, told = await api.call("POST", "/rolling-drains", json=body)
        assert isinstance(told, dict)
        assert (got, says in told["error"]) == (status, True), told
        assert await api.call("GET", "/rolling-drains") == (200, {"rolling_drains": []})


async def test_a_worker_is_in_one_job_at_a_time() -> None:
    async with control() as api:
        names = fleet(api, 2)
        api.registry.find(names[0]).meters.began()
        job = await begun(api, workers=names, floor=0)
        status, told = await api.call("POST", "/rolling-drains", json={"workers": names[1:]})
        assert isinstance(told, dict)
        assert status == 409
        assert job["id"] in told["error"]
