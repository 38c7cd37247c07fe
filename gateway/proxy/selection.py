"""Which worker gets a request, or why none does. Reads the registry and the policy; sends nothing."""

from collections.abc import Sequence

from gateway.errors import GatewayError, WorkerNotFound
from gateway.proxy.fleet import Fleet, Group
from gateway.routing.policy import Query
from gateway.workers.availability import availability
from gateway.workers.entry import Entry
from gateway.workers.model import Role
from gateway.workers.registry import Registry

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


class Overloaded(GatewayError):
    code = "worker_overload_protection_shed"
    status = 503


class NoRoom(Exception):
    """All that could take it have as many requests as they may; a moment later it may be otherwise."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group


def choose(fleet: Fleet, group: Group, query: Query, now: float, avoid: Sequence[Entry] = ()) -> Entry:
    """The worker of this group for a request. Raises NoRoom, or a GatewayError that says why there is none.

    `avoid`: those not to take, unless there are no others.
    """
    candidates = group.candidates
    if not candidates:
        raise no_worker(fleet.registry, query.model, group.key[1])
    if fleet.plan.shed_overload and all(entry.overloaded for entry in candidates):
        raise Overloaded("all workers are overloaded by their own reports")
    if avoid and all(entry in avoid for entry in candidates):
        avoid = ()
    entry = group.policy.choose(candidates, query, now, avoid)
    if not entry.limited or entry.has_room():
        return entry
    closed = [e for e in candidates if e in avoid or (e.limited and not e.has_room())]
    if len(closed) == len(candidates):
        raise NoRoom(group)
    return group.policy.choose(candidates, query, now, closed)


def targeted(fleet: Fleet, target: str, query: Query, role: Role) -> Entry:
    """The worker that a client asked for by id, name or URL. Raises a GatewayError, or NoRoom."""
    try:
        entry = fleet.registry.find(target)
    except WorkerNotFound:
        raise WorkerNotFound(f"X-SMG-Target-Worker: no worker has the id, name or URL {target[:200]!r}") from None
    worker, group = entry.worker, fleet.group(query.model, role)
    if entry in group.candidates:
        if entry.limited and not entry.has_room():
            raise NoRoom(group)
        return entry
    if worker.spec.role is not role or entry not in fleet.registry.serving(query.model, role):
        raise ModelNotFound(f"worker {worker.name} does not serve model '{str(query.model)[:200]}'", field="model")
    because = availability(worker).because if not entry.overloaded else "overloaded"
    raise NoAvailableWorkers(f"worker {worker.name} cannot take requests now: {because}")


def no_worker(registry: Registry, model: str | None, role: Role = Role.REGULAR) -> GatewayError:
    """Why no worker can take a request for this model in this role."""
    if not len(registry):
        return NoWorkers("no workers are registered")
    serving = registry.serving(model, role)
    if not serving and role is Role.REGULAR:
        return ModelNotFound(f"No worker available for model '{str(model)[:200]}'", field="model")
    if not serving:
        return NoAvailableWorkers(f"no {role} worker is registered for model '{str(model)[:200]}'")
    named = [f"{entry.worker.name} is {availability(entry.worker).because}" for entry in serving[:NAMED_AT_MOST]]
    if len(serving) > NAMED_AT_MOST:
        named.append(f"and {len(serving) - NAMED_AT_MOST} more")
    return NoAvailableWorkers(f"no worker can take requests now: {'; '.join(named)}")
