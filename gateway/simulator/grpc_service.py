"""What SGLang's and vLLM's gRPC services have in common: every call but what differs by engine.

A service is a class of handlers, which `grpc_server` registers by their names. The two engines' own are in
`grpc_sglang` and `grpc_vllm`: how a request reads and how an answer is said.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any

import grpc
from smg_grpc_proto.generated import common_pb2

from gateway.simulator.grpc_generate import Asked, Choice, Running, Spoke, planned, speak
from gateway.simulator.grpc_rules import healthy, pass_rules, refuse
from gateway.simulator.http_vectors import DIMENSIONS, vector
from gateway.simulator.planning import Bad
from gateway.simulator.state import Simulation
from gateway.simulator.tokenizer import archive, sim_tokenizer

ARCHIVE_CHUNK_BYTES = 4096
"""Smaller than the engines', so that the small archive comes in several pieces too."""


class Service:
    """An engine's service. Subclasses name their messages (`pb`) and do what differs."""

    pb: Any
    name: str
    version: str

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.running = Running()
        self.began = time.time()

    # --- what differs ---

    def asked(self, request: Any) -> Asked:
        """Raises Bad."""
        raise NotImplementedError

    def choices(self, request: Any, asked: Asked) -> list[Choice]:
        """Raises Bad."""
        return planned(self.simulation, asked)

    def chunk(self, request: Any, spoke: Spoke, first: bool) -> Any:
        """A message with new ids."""
        raise NotImplementedError

    def complete(self, request: Any, spoke: Spoke, ids: Sequence[int]) -> Any:
        """The message that ends a choice."""
        raise NotImplementedError

    # --- generating ---

    async def Generate(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:  # noqa: N802 - the RPC's name
        simulation = self.simulation
        await pass_rules(simulation, "Generate", request, context, serving=True)
        try:
            asked = self.asked(request)
            choices = self.choices(request, asked)
        except Bad as bad:
            await refuse(context, bad)
            return
        left = simulation.faults.drop_after
        try:
            async for spoke in speak(simulation, self.running, asked, choices):
                for message in self._messages(request, asked, spoke):
                    yield message
                    left -= 1
                    if left == 0:
                        await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if not asked.stream:
                for choice in choices:
                    aborted = choice.planned.job.generated < len(choice.ids)
                    told = choice.ids[: choice.planned.job.generated]
                    choice.said = len(told)
                    yield self.complete(request, Spoke(choice, told, "abort" if aborted else None), told)
        except Bad as bad:
            await refuse(context, bad)

    def _messages(self, request: Any, asked: Asked, spoke: Spoke) -> list[Any]:
        """A chunk, and at the end of a choice one more, which repeats the chunk's ids."""
        if not asked.stream:
            return []
        first = spoke.choice.said == len(spoke.ids) and bool(spoke.ids)
        told = [self.chunk(request, spoke, first)] if spoke.ids else []
        return told + ([self.complete(request, spoke, spoke.ids)] if spoke.finish else [])

    def output_logprobs(self, choice: Choice, ids: Sequence[int], count: int | None) -> Any:
        """The log probabilities of the last of the choice's ids so far; None where nobody asked."""
        if count is None or not ids:
            return None
        made, tokenizer = self.pb.OutputLogProbs(), sim_tokenizer()
        for at in range(choice.said - len(ids), choice.said):
            own, top = tokenizer.logprobs(choice.ids, at, count)
            made.token_logprobs.append(own)
            made.token_ids.append(choice.ids[at])
            if count:
                made.top_logprobs.append(_top(self.pb, top))
        return made

    def input_logprobs(self, ids: Sequence[int], count: int | None) -> Any:
        """The prompt's; None where nobody asked. The first token has none."""
        if count is None:
            return None
        made, tokenizer = self.pb.InputLogProbs(), sim_tokenizer()
        for at, token in enumerate(ids):
            own, top = tokenizer.logprobs(ids, at, count)
            made.token_logprobs.append(self.pb.InputTokenLogProb(**({"value": own} if at else {})))
            made.token_ids.append(token)
            if count:
                made.top_logprobs.append(_top(self.pb, top if at else []))
        return made

    # --- everything else ---

    async def Embed(self, request: Any, context: Any) -> Any:  # noqa: N802
        await pass_rules(self.simulation, "Embed", request, context, serving=True)
        ids = list(request.tokenized.input_ids)
        try:
            if not ids:
                raise Bad("the prompt is empty: expected at least one token id", param="input_ids")
            text = self.simulation.text_of(ids)
        except Bad as bad:
            await refuse(context, bad)
            return None
        values = vector(text, DIMENSIONS)
        return self.pb.EmbedResponse(embedding=values, prompt_tokens=len(ids), embedding_dim=len(values))

    async def HealthCheck(self, request: Any, context: Any) -> Any:  # noqa: N802
        await pass_rules(self.simulation, "HealthCheck", request, context)
        if self.simulation.faults.no_health:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")
        well = await healthy(self.simulation)
        return self.pb.HealthCheckResponse(healthy=well, message="" if well else "Engine is not alive")

    async def GetLoads(self, request: Any, context: Any) -> Any:  # noqa: N802
        await pass_rules(self.simulation, "GetLoads", request, context)
        if self.simulation.faults.no_loads:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")
        loads = [self._load(rank) for rank in range(len(self.simulation.ranks))]
        return self.pb.GetLoadsResponse(
            timestamp=datetime.now(UTC).isoformat(), version=self.version, dp_rank_count=len(loads), loads=loads
        )

    def _load(self, rank: int) -> Any:
        runtime = self.simulation.ranks[rank]
        model, settings = runtime.model, runtime.model.settings
        return self.pb.SchedulerLoad(
            dp_rank=rank,
            num_running_reqs=len(model.running),
            num_waiting_reqs=len(model.waiting),
            num_total_reqs=runtime.load,
            num_used_tokens=model.kv_used,
            max_total_num_tokens=settings.kv_tokens,
            token_usage=model.kv_usage,
            gen_throughput=runtime.throughput(),
            cache_hit_rate=model.cache_hit_rate,
            utilization=len(model.running) / settings.max_running,
            max_running_requests=settings.max_running,
            num_waiting_uncached_tokens=model.uncached_waiting,
        )

    async def FlushCache(self, request: Any, context: Any) -> Any:  # noqa: N802
        await pass_rules(self.simulation, "FlushCache", request, context)
        if any(rank.load for rank in self.simulation.ranks):
            return common_pb2.FlushCacheResponse(success=False, message="requests may be in flight")
        for model in self.simulation.models:
            model.cache.flush()
        return common_pb2.FlushCacheResponse(success=True, message="Cache flushed successfully")

    async def GetTokenizer(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:  # noqa: N802
        await pass_rules(self.simulation, "GetTokenizer", request, context)
        data, sha256 = archive()
        if self.simulation.faults.damaged_tokenizer:
            sha256 = "0" * 64
        for begin in range(0, len(data), ARCHIVE_CHUNK_BYTES):
            part = data[begin : begin + ARCHIVE_CHUNK_BYTES]
            last = begin + ARCHIVE_CHUNK_BYTES >= len(data)
            yield common_pb2.GetTokenizerChunk(data=part, sha256=sha256 if last else "")

    async def GetModelInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        await pass_rules(self.simulation, "GetModelInfo", request, context)
        if self.simulation.faults.models_error:
            await context.abort(grpc.StatusCode.INTERNAL, "simulated failure of GetModelInfo")
        settings, tokenizer = self.simulation.settings, sim_tokenizer()
        return self.pb.GetModelInfoResponse(
            model_path=settings.model,
            tokenizer_path=settings.model,
            served_model_name=settings.model_id,
            is_generation=True,
            max_context_length=settings.context_length,
            max_req_input_len=settings.context_length - 1,
            vocab_size=tokenizer.vocabulary,
            eos_token_ids=[tokenizer.end_id],
            model_type="llama",
            architectures=["LlamaForCausalLM"],
        )


def _top(pb: Any, top: Sequence[tuple[int, float]]) -> Any:
    return pb.TopLogProbs(token_ids=[token for token, _ in top], values=[value for _, value in top])
