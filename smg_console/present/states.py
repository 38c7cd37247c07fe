"""How states look: a glyph, a style name and a word each, so that colour is never the only sign."""

from gateway.workers.availability import availability
from gateway.workers.model import State, Worker

GLYPHS = {
    State.REGISTERING: "◌",
    State.READY: "●",
    State.UNHEALTHY: "◆",
    State.FAILED: "✖",
    State.DRAINING: "◐",
    State.GONE: "·",
}
CORDON = "⊘"


def state_word(worker: Worker) -> str:
    """The state in a word; a held worker that is idle is `drained`."""
    if worker.state is State.DRAINING and worker.drain is not None and worker.drain.drained:
        return "drained"
    return worker.state.value


def state_text(worker: Worker) -> tuple[str, str]:
    """Glyph and word, with the style name."""
    if worker.cordoned and worker.state is State.READY:
        return f"{CORDON} cordoned", "warning"
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
