"""When an engine's own report takes a worker out of routing, as long as another one is better off. Pure."""

from dataclasses import dataclass

from gateway.workers.meters import EngineLoad


@dataclass(frozen=True, slots=True)
class OverloadSettings:
    """From when on a worker counts as overloaded; defaults are SMG's.

    `waiting`: requests in the engine's queue; `kv_usage`: share of its KV cache in use, 0..1.
    """

    waiting: int = 8
    kv_usage: float = 0.8
    disabled: bool = False

    def veto(self, load: EngineLoad | None) -> bool:
        """Whether this report shows a worker that should get no more."""
        if load is None or self.disabled:
            return False
        full = load.kv_usage is not None and load.kv_usage >= self.kv_usage
        return full or (load.waiting is not None and load.waiting >= self.waiting)
