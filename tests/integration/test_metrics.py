"""Metrics as Prometheus gets them, of a gateway that is at work."""

import urllib.request

import openai
from prometheus_client.parser import text_string_to_metric_families

from gateway.simulator.process import SimulatorProcess
from tests.integration.fleet import HeadlessGateway, until


def scrape(address: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by name and labels."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


async def test_what_happened_is_in_the_metrics_under_smgs_names() -> None:
    async with (
        SimulatorProcess("--engine", "vllm", "--model", "sim", "--instant") as engine,
        HeadlessGateway("--worker-urls", engine.url, "http://127.0.0.1:9", "--load-monitor-interval", "1") as gateway,
    ):
        await gateway.in_state(engine.url, "ready")
        async with openai.AsyncOpenAI(base_url=f"{gateway.address}/v1", api_key="x", max_retries=0) as client:
            for _ in range(3):
                await client.chat.completions.create(model="sim", messages=[{"role": "user", "content": "hi"}])
        await until(lambda: _sampled(gateway), "a load report and a sample")
        found = scrape(gateway.metrics_address)
        worker = ("worker", engine.url)
        assert found["smg_worker_health"][(worker,)] == 1
        assert found["smg_worker_health"][(("worker", "http://127.0.0.1:9"),)] == 0
        assert found["smg_worker_requests_active"][(worker,)] == 0
        assert found["smg_worker_requests_total"][("model", "sim"), worker] == 3
        assert found["smg_worker_state"][("state", "ready"), worker] == 1
        assert found["smg_engine_waiting_requests"][("model", "sim"), worker] == 0
        assert found["smg_worker_response_seconds"][("quantile", "0.5"), worker] > 0
        assert found["smg_http_responses_total"][("path", "/v1/chat/completions"), ("status_code", "2xx")] == 3
        assert found["smg_worker_transitions_total"][("from", "registering"), ("to", "ready")] == 1
        assert found["smg_worker_health_checks_total"][(("result", "success"),)] >= 2
        for name in ("smg_loop_lateness_seconds", "smg_journal_events_total", "process_resident_memory_bytes"):
            assert name in found


async def _sampled(gateway: HeadlessGateway) -> bool:
    found = scrape(gateway.metrics_address)
    return bool(found.get("smg_engine_waiting_requests")) and bool(found.get("smg_worker_response_seconds"))
