"""How states look: a glyph, a style name and a word each, so that colour is never the only sign."""

from gateway.workers.availability import availability
from gateway.workers.model import Circuit, State, Worker

GLYPHS = {
    State.REGISTERING: "◌",
    State.READY: "●",
    State.UNHEALTHY: "◆",
    State.FAILED: "✖",
    State.DRAINING: "◐",
    State.GONE: "·",
}
CORDON = "⊘"
BREAKERS = {Circuit.OPEN: ("ϟ breaker open", "unhealthy"), Circuit.HALF_OPEN: ("ϟ half-open", "warning")}
"""What a ready worker is called whose circuit breaker is not closed."""
EJECTED = ("✗ ejected", "unhealthy")


def kept_out(worker: Worker) -> tuple[str, str] | None:
    """Why a ready worker gets no requests, or only a few, and the style; None: it gets its share."""
    if worker.state is not State.READY:
        return None
    if worker.cordoned:
        return f"{CORDON} cordoned", "warning"
    return EJECTED if worker.ejected else BREAKERS.get(worker.breaker.state)


def state_word(worker: Worker) -> str:
    """The state in a word; a held worker that is idle is `drained`."""
    if worker.state is State.DRAINING and worker.drain is not None and worker.drain.drained:
        return "drained"
    return worker.state.value


def state_text(worker: Worker) -> tuple[str, str]:
    """Glyph and word, with the style name."""
    found = kept_out(worker)
    if found is not None:
        return found
    mark = CORDON if worker.cordoned else GLYPHS[worker.state]
    return f"{mark} {state_word(worker)}", worker.state.value


def host_of(url: str) -> str:
    """The URL without its scheme, unless that is https."""
    return url.removeprefix("http://")


def next_step(worker: Worker) -> str:
    """What will happen next by itself, and what one can press."""
    match worker.state:
        case State.REGISTERING:
            return "probed every second until it answers; p probes now, x removes it at once"
        case State.READY if worker.cordoned:
            return "takes no new requests; c lifts the cordon"
        case State.READY if worker.ejected:
            return "takes no new requests until a probe passes; p probes now"
        case State.READY if worker.breaker.state is Circuit.OPEN:
            return "takes no requests until its breaker lets some try; b closes the breaker"
        case State.READY if worker.breaker.state is Circuit.HALF_OPEN:
            return "takes a few requests on trial; b closes the breaker at once"
        case State.READY:
            return "takes requests; d drains it, c cordons it"
        case State.UNHEALTHY:
            return "probed every second; comes back after its success threshold, p probes now"
        case State.FAILED:
            return "probed on, ever more rarely; R registers it anew, x removes it"
        case State.DRAINING if worker.drain is not None and worker.drain.drained:
            return "nothing is in flight: safe to delete; r resumes it, x removes it"
        case State.DRAINING:
            return "finishes what is in flight; r calls the drain off"
    return availability(worker).because
