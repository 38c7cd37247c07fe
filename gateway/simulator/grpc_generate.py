"""What both gRPC services do with a generation: plan it from ids, run it in the engine, tell what it says.

The services map this to their messages. A request that cannot be served raises `planning.Bad`, which they turn
into INVALID_ARGUMENT; a bare stop of the stream is a cancelled call.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from gateway.simulator.planning import MOST_CHOICES, Bad, Planned, Prompt, Sampling, spelt, wrong
from gateway.simulator.runtime import Generation
from gateway.simulator.state import Simulation
from gateway.simulator.tokenizer import sim_tokenizer

MOST_STOPS = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the engine takes it."""

    request_id: str
    ids: Sequence[int]
    sampling: Sampling
    stop_ids: frozenset[int] = frozenset()
    stream: bool = True
    rank: int | None = None


@dataclass(slots=True)
class Choice:
    """One choice on its way."""

    planned: Planned
    ids: list[int]
    """All it will be."""
    matched: str | int | None = None
    said: int = 0
    """How many ids have been told."""


@dataclass(frozen=True, slots=True)
class Spoke:
    """New ids of one choice."""

    choice: Choice
    ids: list[int]
    finish: str | None = None


@dataclass(slots=True)
class Running:
    """Requests under way, by the name an abort gives."""

    by_id: dict[str, Generation] = field(default_factory=dict)

    def abort(self, request_id: str) -> bool:
        """Whether it ran."""
        generation = self.by_id.get(request_id)
        if generation is not None:
            generation.abort()
        return generation is not None


def check(sampling: object, *, most_tokens: int | None) -> None:
    """What engines refuse in the numbers that both protos have. Raises Bad."""
    for name, least, most in (
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("min_p", 0.0, 1.0),
        ("frequency_penalty", -2.0, 2.0),
        ("presence_penalty", -2.0, 2.0),
        ("repetition_penalty", 0.0, 2.0),
    ):
        value = getattr(sampling, name)
        if not least <= value <= most:
            raise wrong(name, value, f"a number from {least:g} to {most:g}")
    if most_tokens is not None and most_tokens < 1:
        raise wrong("max_tokens", most_tokens, "at least 1")
    if (count := getattr(sampling, "n")) > MOST_CHOICES:  # noqa: B009 - a field of a message that has no types
        raise wrong("n", count, f"at most {MOST_CHOICES}")


def planned(simulation: Simulation, asked: Asked, *, only_first: bool = False) -> list[Choice]:
    """The choices. `only_first`: no more than one token, as a prefill worker generates. Raises Bad."""
    if not asked.ids:
        raise Bad("the prompt is empty: expected at least one token id", param="input_ids")
    if len(asked.sampling.stops) > MOST_STOPS:
        raise wrong("stop", len(asked.sampling.stops), f"at most {MOST_STOPS} strings")
    prompt = Prompt(simulation.text_of(asked.ids), list(asked.ids))
    return [_choice(prompt, asked, each, only_first) for each in simulation.plan(prompt, asked.sampling)]


def _choice(prompt: Prompt, asked: Asked, each: Planned, only_first: bool) -> Choice:
    found = Choice(each, sim_tokenizer().ids_of(spelt(prompt.text, each)), each.answer.matched)
    at = next((at for at, token in enumerate(found.ids) if token in asked.stop_ids), None)
    if at is not None and (at + 1 < len(found.ids) or found.matched is None):
        found.matched = found.ids[at]
        del found.ids[at + 1 :]
    if only_first:
        del found.ids[1:]
        found.matched = None
    each.job.answer_tokens = len(found.ids)
    return found


def finish_of(choice: Choice) -> str:
    """Why a choice that was not aborted ended."""
    if choice.matched is not None or choice.ids[-1] == sim_tokenizer().end_id:
        return "stop"
    return "length"


async def speak(
    simulation: Simulation, running: Running, asked: Asked, choices: Sequence[Choice]
) -> AsyncGenerator[Spoke, None]:
    """What the choices say as the engine generates it: ids that are new, the last ones with a finish. Without
    streaming, everything at the end."""
    if asked.request_id in running.by_id:
        raise Bad(f"request id {asked.request_id} is already running", param="request_id")
    rank = {} if asked.rank is None else {"data_parallel_rank": asked.rank}
    generation = simulation.generation([choice.planned for choice in choices], rank)
    with generation:
        running.by_id[asked.request_id] = generation
        try:
            if not asked.stream:
                await generation.whole()
            while not generation.ended:
                fresh: dict[int, int] = {}
                for index, _ in await generation.fresh():
                    fresh[index] = fresh.get(index, 0) + 1
                for index, count in fresh.items():
                    yield _spoke(choices[index], count)
            for choice in choices:  # what was aborted has no last token
                if choice.said < len(choice.ids):
                    yield Spoke(choice, [], "abort")
        finally:
            del running.by_id[asked.request_id]


def _spoke(choice: Choice, count: int) -> Spoke:
    begin, choice.said = choice.said, choice.said + count
    ends = choice.said == len(choice.ids)
    return Spoke(choice, choice.ids[begin : choice.said], finish_of(choice) if ends else None)
