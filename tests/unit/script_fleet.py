"""Workers as the API shows them, for tests of the commands: the members that these read, in the API's own words."""

import copy
from typing import Any

NOW = 1_790_000_000.0
STAMP = "2026-09-21T14:13:20.000+00:00"


def worker(name: str, **changes: Any) -> dict[str, Any]:
    number = int(name.removeprefix("w"))
    made: dict[str, Any] = {
        "id": f"0198{number:04}-7a10-7b3c-8d5e-0f1a2b3c4d5e",
        "name": name,
        "url": f"http://10.0.0.{number}:8000",
        "model_id": "llama",
        "models": [],
        "worker_type": "regular",
        "labels": {"rack": f"b{number % 2}"},
        "state": "ready",
        "since": STAMP,
        "reason": "serves llama",
        "cordoned": False,
        "routable": True,
        "because": "",
        "in_flight": 0,
        "drain": None,
        "ejected": None,
        "overloaded": False,
        "circuit_breaker": {"state": "closed", "reason": None},
        "health_status": {"status": "healthy", "last_error": None},
        "connection_mode": "http",
        "requests": 0,
        "errors": 0,
        "requests_per_s": 0.0,
        "errors_per_s": 0.0,
        "last_request_error": None,
        "capabilities": {"engine": "sglang", "version": None},
    }
    return {**copy.deepcopy(made), **changes}


def draining(name: str, *, drained: bool = False, intent: str = "hold", left_s: float = 60, flying: int = 3) -> Any:
    deadline = f"2026-09-21T14:{13 + int((20 + left_s) // 60):02}:{int((20 + left_s) % 60):02}.000+00:00"
    drain = {"intent": intent, "since": STAMP, "deadline": deadline, "drained": drained, "in_flight": flying}
    return worker(name, state="draining", routable=False, drain=drain, in_flight=flying)


FLEET = [
    worker("w1"),
    worker("w2", model_id="qwen"),
    worker("w10", cordoned=True, routable=False),
    draining("w11", drained=True),
]
