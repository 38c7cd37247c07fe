"""What one simulated engine process holds: its settings, its ranks, its faults and what it counted.

The HTTP modules work on this; none of them keeps state of its own.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from gateway.simulator.engine import EngineModel
from gateway.simulator.faults import Faults, changed
from gateway.simulator.planning import Bad, Body, Planned, Prompt, Sampling, plan, prompts_of, whole
from gateway.simulator.runtime import Generation, Runtime
from gateway.simulator.settings import ServerSettings
from gateway.simulator.tokenizer import sim_tokenizer


class Simulation:
    """One engine process. Made on its loop."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.ranks = [Runtime(EngineModel(settings.engine)) for _ in range(settings.dp_size)]
        self.faults = Faults()
        self.rng = Random(settings.seed)
        self.requests: Counter[str] = Counter()
        self.last: Mapping[str, Any] = {}
        """The last request that was not for health or control: method, path, headers, body."""
        self.busy: set[object] = set()
        """Connections with a request under way."""
        self.on_refuse: Callable[[float], object] = lambda seconds: None
        """Called with the seconds to stop listening for."""
        self._loop = asyncio.get_running_loop()
        self._up_at = self._loop.time() + settings.startup_delay_s

    @property
    def up(self) -> bool:
        """Whether the model has been loaded."""
        return self._loop.time() >= self._up_at

    @property
    def models(self) -> list[EngineModel]:
        return [rank.model for rank in self.ranks]

    def chat(self, lines: Sequence[str]) -> Prompt:
        """Messages, each as `<role> content`, as one prompt."""
        text = "\n".join(lines)
        return Prompt(text, sim_tokenizer().encode_chat(lines)) if self.settings.tokenizer else Prompt.of_text(text)

    def prompts(self, given: object, name: str) -> list[Prompt]:
        """Prompts as OpenAI's completions take them. Raises Bad."""
        found = prompts_of(given, name)
        if not self.settings.tokenizer:
            return found
        tokenizer = sim_tokenizer()
        each: list[Any] = [given]
        if isinstance(given, list) and not isinstance(given[0], int):
            each = given
        return [
            Prompt(one, tokenizer.encode(one)) if isinstance(one, str) else Prompt(self.text_of(one), one)
            for one in each
        ]

    def text_of(self, ids: Sequence[int]) -> str:
        """What ids of the real tokenizer mean. Raises Bad for one that is none of its."""
        tokenizer = sim_tokenizer()
        if ids and max(ids) >= tokenizer.vocabulary:
            raise Bad(f"token id {max(ids)} is out of the vocabulary of {tokenizer.vocabulary}", param="input_ids")
        return tokenizer.prompt_text(ids)

    def plan(self, prompt: Prompt, sampling: Sampling) -> list[Planned]:
        """The choices of one prompt. Raises Bad."""
        settings = self.settings
        return plan(prompt, sampling, settings.room, end_counts=settings.tokenizer)

    def generation(self, planned: Sequence[Planned], body: Body) -> Generation:
        """Where these choices run: on the rank the body names, else on the least loaded one."""
        rank = whole(body, "data_parallel_rank", 0, len(self.ranks) - 1)
        if rank is None:
            rank = whole(body, "routed_dp_rank", 0, len(self.ranks) - 1)
        runtime = min(self.ranks, key=lambda each: each.load) if rank is None else self.ranks[rank]
        return Generation(runtime, planned)

    def check_model(self, body: Body) -> str:
        """The model's name. Raises Bad if another one is wanted."""
        name = body.get("model")
        if name is not None and name != self.settings.model_id:
            raise Bad(f"The model `{name}` does not exist.", param="model", status=404, code="model_not_found")
        return self.settings.model_id

    def set_faults(self, given: object) -> None:
        """Change the faults. Raises ValueError as `faults.changed` does."""
        faults = changed(self.faults, given)
        seconds = faults.refuse_s
        self.faults = replace(faults, refuse_s=0.0)
        for rank in self.ranks:
            rank.slow(faults.slow)
        if seconds:
            # After the answer to this request has left.
            self._loop.call_later(0.05, self.on_refuse, seconds)

    def close(self) -> None:
        for rank in self.ranks:
            rank.close()
