"""What operators want of a discovered worker, as an annotation of its pod: the words, and who follows whom. Pure.

Kubernetes is what several gateways share, so a cordon or a drain of one holds on all, and after a restart. Nobody
keeps a history: a gateway compares what the pod says, what its worker does, and what both said when they last
agreed. The side that changed since then is followed; if both did, the operator at hand wins, and the others follow
the pod. Words are read back as they are written, so `kubectl annotate` does as well as a gateway:

    smg.ai/operation: cordon by ops: ECC errors on GPU 3
    smg.ai/operation: drain until 2026-05-01T10:00:00Z
    smg.ai/operation-8001: cordon+drain            (one of several workers in the pod)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import ceil

from gateway.operations import MAX_DRAIN_S, Command, Cordon, Resume, StartDrain, Uncordon
from gateway.workers.model import Intent, Source, Worker

OPERATION = "smg.ai/operation"
NONE = "none"
VIA = " via kubernetes"
"""Follows the name of whoever gave the command to another gateway."""
NEAR_S = 2.0
"""Deadlines closer than this are one: an annotation has whole seconds."""
MAX_TEXT = 400


@dataclass(frozen=True, slots=True)
class Wish:
    """Nothing, a cordon, a drain that holds the worker, or both. `until`: wall-clock seconds, None: as drains last."""

    cordon: bool = False
    drain: bool = False
    until: float | None = None
    by: str = field(default="", compare=False)
    why: str = field(default="", compare=False)

    def __bool__(self) -> bool:
        return self.cordon or self.drain

    def __str__(self) -> str:
        """As it stands in the annotation."""
        words = "+".join(word for word, on in (("cordon", self.cordon), ("drain", self.drain)) if on) or NONE
        if self.drain and self.until is not None:
            words += f" until {datetime.fromtimestamp(ceil(self.until), UTC):%Y-%m-%dT%H:%M:%SZ}"
        if self and self.by:
            words += f" by {self.by}"
        return f"{words}: {self.why}"[:MAX_TEXT] if self and self.why else words

    def like(self, other: "Wish", now: float) -> bool:
        """Whether both ask for the same from `now` on."""
        if (self.cordon, self.drain) != (other.cordon, other.drain):
            return False
        mine, theirs = self.until, other.until
        if not self.drain or mine is None or theirs is None:
            return True  # who names no deadline leaves it to the gateway
        return abs(mine - theirs) < NEAR_S or max(mine, theirs) <= now


def parse_wish(text: str) -> Wish:
    """What an annotation asks for. Raises ValueError that says what is accepted."""
    head, _, why = text.strip().partition(": ")
    head, _, by = head.rstrip(":").partition(" by ")
    words, _, until = head.partition(" until ")
    asked = [word.strip() for word in words.split("+")]
    if asked == [NONE]:
        return Wish()
    try:
        if not set(asked) <= {"cordon", "drain"} or (until and "drain" not in asked):
            raise ValueError
        deadline = _seconds(until) if until else None
    except ValueError:
        raise ValueError(
            f"given {text.strip()[:80]!r}, expected none, cordon, drain or cordon+drain, each with "
            "'until 2026-05-01T10:00:00Z' (drain), 'by NAME' and ': REASON' if wanted"
        ) from None
    return Wish("cordon" in asked, "drain" in asked, deadline, by.strip(), why.strip())


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def own_key(port: str) -> str:
    """The annotation of one of several workers in a pod."""
    return f"{OPERATION}-{port}"


def wish_for(annotations: Mapping[str, str], port: str, notes: list[str]) -> Wish | None:
    """What the pod asks for the worker at this port: what is said of the port alone counts before the rest. None:
    what is said makes no sense."""
    for key in (own_key(port), OPERATION):
        if (text := annotations.get(key)) is None or not text.strip():
            continue
        try:
            return parse_wish(text)
        except ValueError as error:
            notes.append(f"{key}: {error}")
            return None
    return Wish()


def annotations_for(wish: Wish, port: str, *, alone: bool) -> dict[str, str | None]:
    """What to write into the pod; None takes an annotation away. `alone`: the pod has one worker only."""
    if alone:
        return {OPERATION: str(wish) if wish else None, own_key(port): None}
    return {own_key(port): str(wish)}


def wish_of(worker: Worker) -> Wish:
    """What operators have done to the worker here; discovery's own cordon, for a pod that is not ready, is none."""
    cordon = worker.cordoned and worker.cordoned_by != Source.KUBERNETES
    drain = worker.drain if worker.drain is not None and worker.drain.intent is Intent.HOLD else None
    last = worker.transitions[-1] if drain is not None and worker.transitions else None
    by = worker.cordoned_by if cordon else last.who if last else ""
    why = worker.cordon_reason if cordon else last.why if last else ""
    return Wish(cordon, drain is not None, drain.deadline if drain else None, by.removesuffix(VIA), why)


def leads(here: Wish, pod: Wish, agreed: Wish | None, now: float) -> str:
    """Who is to be followed: `here`, the `pod`, or, if both say the same, nobody (empty). `agreed` is None for a
    worker that has just been registered."""
    if here.like(pod, now):
        return ""
    if agreed is None or here.like(agreed, now):
        return "pod"
    return "here"


def steps(worker: Worker, wish: Wish, now: float) -> list[Command]:
    """The commands that bring the worker to what its pod asks for."""
    here, found = wish_of(worker), list[Command]()
    why = wish.why or (f"asked by {wish.by} on its pod" if wish.by else "asked on its pod")
    if not replace(wish, cordon=here.cordon).like(here, now):
        if here.drain:  # a drain's deadline moves only later by itself
            found.append(Resume(worker.id))
        if wish.drain:
            left = None if wish.until is None else min(max(0.0, wish.until - now), MAX_DRAIN_S)
            found.append(StartDrain(worker.id, left, why))
    if wish.cordon and not here.cordon:
        found.append(Cordon(worker.id, why))
    elif here.cordon and not wish.cordon:
        found.append(Uncordon(worker.id))
    return found
