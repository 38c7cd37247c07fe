"""A paced load: one connection, so many requests a second, and how late each answer was beside its plan.

`python -m tests.bench.paced --url URL --rate 500 --seconds 5` prints one line of JSON. Times count from the moment a
request was due, so that a gateway that holds its loop pays for every request that had to wait.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence

from tests.bench.client import Caller, request_bytes
from tests.bench.load import PATH, chat_body


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of sorted values; 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


async def run(url: str, rate: float, seconds: float) -> dict[str, float]:
    """Raises ValueError if an answer is not 200, Gone if the connection breaks."""
    caller = await Caller.connect(url)
    request = request_bytes("POST", PATH, chat_body(1024))
    began = time.monotonic()
    late_ms: list[float] = []
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (left := due - time.monotonic()) > 0:
            await asyncio.sleep(left)
            due = max(due, time.monotonic() - 0.0005)  # a timer that rings late is not the gateway's fault
        answer = await caller.ask(request)
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        late_ms.append((time.monotonic() - due) * 1000)
    caller.close()
    late_ms.sort()
    told = {name: percentile(late_ms, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}
    return {"requests": len(late_ms), "seconds": time.monotonic() - began, **told}


def main(arguments: Sequence[str] | None = None) -> int:
    import uvloop

    parser = argparse.ArgumentParser("python -m tests.bench.paced", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args(arguments)
    print(json.dumps(uvloop.run(run(options.url, options.rate, options.seconds))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
