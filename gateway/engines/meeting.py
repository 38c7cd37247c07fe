"""Where SGLang's prefill and decode workers meet over gRPC. Pure.

Over HTTP that is `gateway.routing.disaggregation`'s: there a room has 63 bits and a batch has many. Over gRPC a
room has 31, and each prompt is a request of its own, which needs a room of its own.
"""

from random import Random
from urllib.parse import urlsplit

from gateway.engines.generation import MAX_ROOM, Bootstrap
from gateway.workers.model import Worker


def meeting(prefill: Worker, rng: Random) -> Bootstrap:
    """For one request: at the prefill worker, in a room that is nobody else's."""
    return Bootstrap(urlsplit(prefill.url).hostname or "", prefill.spec.bootstrap_port, rng.randint(0, MAX_ROOM))
