"""Do the probes keep up: 2,000 workers at an interval of a second, on one core.

`python -m tests.bench.probes [workers] [seconds]` starts one small HTTP server that answers for all of them (each
worker is an address of its own in 127.0.0.0/8) and a headless gateway, and prints probes a second, the share of
a core, and the gateway's resident memory per worker.
"""

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import cast

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Healthy(asyncio.Protocol):
    """Answers everything with an empty object."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


def serve(port: "multiprocessing.Queue[int]") -> None:
    import uvloop

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Healthy, "0.0.0.0", 0, backlog=4096)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def probes(address: str) -> float:
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("smg_worker_health_checks_total"))


def main(workers: int, seconds: float) -> None:
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(ports,), daemon=True)
    server.start()
    port = ports.get()
    urls = [f"http://127.0.{1 + n // 250}.{1 + n % 250}:{port}" for n in range(workers)]
    command = [
        sys.executable,
        "-m",
        "smg_console",
        "--no-ui",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--log-level",
        "info",
    ]
    options = ["--prometheus-port", "0", "--health-check-interval-secs", "1", "--disable-load-monitoring"]
    for extra in ([], ["--worker-urls", *urls]):
        gateway = subprocess.Popen([*command, *options, *extra], stderr=subprocess.PIPE, text=True)
        assert gateway.stderr is not None
        listening = next(
            event for line in gateway.stderr if (event := json.loads(line))["event"] == "gateway_listening"
        )
        drain = multiprocessing.Process(target=_discard, args=(gateway.stderr.fileno(),), daemon=True)
        drain.start()
        time.sleep(8)
        before = cpu_s(gateway.pid), probes(listening["metrics_address"]), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - before[2]
        rate = (probes(listening["metrics_address"]) - before[1]) / took
        share = (cpu_s(gateway.pid) - before[0]) / took
        memory = resident_kb(gateway.pid)
        gateway.terminate()
        gateway.wait(20)
        drain.terminate()
        if not extra:
            idle_kb = memory
            continue
        print(
            f"{workers} workers: {rate:.0f} probes/s, {share:.0%} of a core, {share / max(rate, 1) * 1e6:.0f} µs each"
        )
        print(f"resident {memory / 1024:.0f} MB, {(memory - idle_kb) / workers:.1f} KB a worker")
    server.terminate()


def _discard(descriptor: int) -> None:
    while os.read(descriptor, 65536):
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, float(sys.argv[2]) if len(sys.argv) > 2 else 15)
