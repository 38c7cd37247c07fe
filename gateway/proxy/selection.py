"""Which worker gets a request, or why none does. Reads the registry and the policy; sends nothing."""

from gateway.errors import GatewayError
from gateway.routing.policy import Policy, Query
from gateway.workers.availability import availability
from gateway.workers.registry import Entry, Registry

NAMED_AT_MOST = 3


class NoWorkers(GatewayError):
    code = "no_workers"
    status = 503


class ModelNotFound(GatewayError):
    code = "model_not_found"
    status = 404


class NoAvailableWorkers(GatewayError):
    code = "no_available_workers"
    status = 503


def select(registry: Registry, policy: Policy, model: str | None, now: float) -> Entry:
    """The worker for a request for this model (None: any). Raises a GatewayError that says why there is none."""
    candidates = registry.routable(model)
    if candidates:
        return policy.choose(candidates, Query(model), now)
    raise no_worker(registry, model)


def no_worker(registry: Registry, model: str | None) -> GatewayError:
    """Why no worker can take a request for this model."""
    if not len(registry):
        return NoWorkers("no workers are registered")
    serving = registry.serving(model)
    if not serving:
        return ModelNotFound(f"No worker available for model '{str(model)[:200]}'", field="model")
    named = [f"{entry.worker.name} is {availability(entry.worker).because}" for entry in serving[:NAMED_AT_MOST]]
    if len(serving) > NAMED_AT_MOST:
        named.append(f"and {len(serving) - NAMED_AT_MOST} more")
    return NoAvailableWorkers(f"no worker can take requests now: {'; '.join(named)}")
