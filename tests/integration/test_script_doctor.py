"""The doctor as a process before gateways that have something: its lines, its JSON, its exit code."""

import os
import resource
from pathlib import Path

from gateway.simulator.process import SimulatorProcess
from gateway.telemetry.process import process_facts
from tests.integration.fleet import HeadlessGateway
from tests.integration.test_scripts import FAST, begun, ended


async def test_without_an_answer_the_doctor_says_so_in_its_own_form_and_ends_with_3(tmp_path: Path) -> None:
    nobody = {"XDG_RUNTIME_DIR": str(tmp_path)}
    told = await ended(await begun("doctor", environment=nobody))
    assert told.code == 3
    assert told.out.startswith("BAD   no gateway of yours runs here")
    told = await ended(await begun("doctor", "--json", "--gateway", "http://127.0.0.1:9", environment=nobody))
    assert told.code == 3
    (found,) = told.json
    assert (found["level"], found["about"]) == ("bad", "unreachable")
    assert "connection refused" in found["what"]
    assert found["advice"]


async def test_the_doctor_looks_at_the_process_and_its_settings_too(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))  # what the gateway inherits
    try:
        gateway = HeadlessGateway(
            *("--worker-urls", "http://127.0.0.1:9", *FAST, "--disable-retries", "--disable-circuit-breaker"),
            environment={"XDG_RUNTIME_DIR": str(tmp_path)},
        )
        async with gateway:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            told = await ended(await begun("doctor", environment={"XDG_RUNTIME_DIR": str(tmp_path)}))
            process = (await gateway.call("GET", "/process"))[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert told.code == 1
    assert "BAD   it is not ready: insufficient healthy workers" in told.out
    assert "warn  only 1024 file descriptors are allowed: 480 requests at once" in told.out
    assert "warn  retries and breakers are both off" in told.out
    assert "BAD   unnamed models: none of 1 workers takes requests" in told.out
    assert process["pid"] == gateway.pid
    assert 5 < process["open_files"] < 100
    assert process["resident_bytes"] > 10_000_000


async def test_a_worker_that_comes_and_goes_is_a_crash_loop(tmp_path: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    options = (*FAST, "--health-failure-threshold", "1")
    async with (
        SimulatorProcess("--served-model-name", "sim-a") as engine,
        HeadlessGateway("--worker-urls", engine.url, *options, environment=environment) as gateway,
    ):
        await gateway.in_state(engine.url, "ready")
        for _ in range(3):
            await engine.fault(unhealthy=True)
            await gateway.in_state(engine.url, "unhealthy")
            await engine.fault(reset=True)
            await gateway.in_state(engine.url, "ready")
        told = await ended(await begun("doctor", environment=environment))
        assert "warn  w1 went down 3 times within 10m00s" in told.out
        assert told.code == 0, "it serves at present"


def test_open_files_are_counted() -> None:
    facts = process_facts()
    assert facts.pid == os.getpid()
    assert facts.open_files is not None
    with Path(os.devnull).open("rb"):
        assert process_facts().open_files == facts.open_files + 1
