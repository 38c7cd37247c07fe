"""SGLang's scheduler service, simulated: `sglang.grpc.scheduler.SglangScheduler`.

As the real one: counts in chunks are totals, choices have no numbers where the answer is not streamed, an abort by
name reaches only a request with one choice, prefill and decode workers demand bootstrap parameters, and a prefill
worker generates one token.
"""

import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.struct_pb2 import Struct
from smg_grpc_proto.generated import sglang_scheduler_pb2 as pb

from gateway.simulator.grpc_generate import Asked, Choice, Spoke, check, finish_of, planned
from gateway.simulator.grpc_rules import pass_rules
from gateway.simulator.grpc_service import Service
from gateway.simulator.planning import Bad, Sampling
from gateway.simulator.settings import SGLANG_VERSION
from gateway.simulator.tokenizer import sim_tokenizer

NAME = "sglang.grpc.scheduler.SglangScheduler"
DEFAULT_NEW_TOKENS = 128


class SglangService(Service):
    pb = pb
    name = NAME
    version = SGLANG_VERSION

    def asked(self, request: Any) -> Asked:
        params = request.sampling_params
        limit = params.max_new_tokens if params.HasField("max_new_tokens") else DEFAULT_NEW_TOKENS
        check(params, most_tokens=limit)
        constraint = params.WhichOneof("constraint")
        if constraint in ("json_schema", "structural_tag"):
            check_json(constraint, getattr(params, constraint))
        if self.simulation.settings.role != "null" and not request.HasField("disaggregated_params"):
            raise Bad(f"Disaggregated request received without bootstrap room id. {request.request_id=}")
        return Asked(
            request.request_id,
            request.tokenized.input_ids,
            Sampling(limit, tuple(params.stop), max(1, params.n), params.ignore_eos),
            frozenset(params.stop_token_ids),
            request.stream,
            request.data_parallel_rank if request.HasField("data_parallel_rank") else None,
        )

    def choices(self, request: Any, asked: Asked) -> list[Choice]:
        return planned(self.simulation, asked, only_first=self.simulation.settings.role == "prefill")

    def chunk(self, request: Any, spoke: Spoke, first: bool) -> Any:
        choice = spoke.choice
        job = choice.planned.job
        part = pb.GenerateStreamChunk(
            token_ids=spoke.ids,
            prompt_tokens=job.prompt_tokens,
            completion_tokens=choice.said,
            cached_tokens=job.cached,
            index=choice.planned.index,
            output_logprobs=self.output_logprobs(choice, spoke.ids, _logprobs(request)),
            input_logprobs=self._input(request) if first else None,
        )
        return pb.GenerateResponse(request_id=request.request_id, chunk=part)

    def complete(self, request: Any, spoke: Spoke, ids: Sequence[int]) -> Any:
        choice = spoke.choice
        job = choice.planned.job
        finish = spoke.finish or finish_of(choice)
        part = pb.GenerateComplete(
            output_ids=ids,
            finish_reason=finish,
            prompt_tokens=job.prompt_tokens,
            completion_tokens=choice.said,
            cached_tokens=job.cached,
            index=choice.planned.index if request.stream else 0,
            output_logprobs=self.output_logprobs(choice, ids, _logprobs(request)),
            input_logprobs=self._input(request),
        )
        matched = choice.matched
        if finish == "stop":
            if isinstance(matched, str):
                part.matched_stop_str = matched
            else:
                part.matched_token_id = sim_tokenizer().end_id if matched is None else matched
        return pb.GenerateResponse(request_id=request.request_id, complete=part)

    def _input(self, request: Any) -> Any:
        wanted = request.return_logprob and request.logprob_start_len >= 0
        return self.input_logprobs(request.tokenized.input_ids, request.top_logprobs_num if wanted else None)

    async def Abort(self, request: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
        await pass_rules(self.simulation, "Abort", request, context)
        generation = self.running.by_id.get(request.request_id)
        several = generation is not None and len(generation.planned) > 1
        done = not several and self.running.abort(request.request_id)
        return pb.AbortResponse(
            success=done, message=f"Request {request.request_id} {'aborted' if done else 'not found'}"
        )

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        await pass_rules(self.simulation, "GetServerInfo", request, context)
        settings = self.simulation.settings
        arguments, scheduler = Struct(), Struct()
        arguments.update(
            {
                "model_path": settings.model,
                "served_model_name": settings.model_id,
                "tokenizer_path": settings.model,
                "tp_size": settings.tp_size,
                "dp_size": settings.dp_size,
                "pp_size": 1,
                "max_running_requests": settings.engine.max_running,
                "disaggregation_mode": settings.role,
                "load_balance_method": "round_robin",
                "skip_tokenizer_init": False,
            }
        )
        scheduler.update({"max_total_num_tokens": settings.engine.kv_tokens, "is_generation": True})
        return pb.GetServerInfoResponse(
            server_args=arguments,
            scheduler_info=scheduler,
            active_requests=len(self.running.by_id),
            sglang_version=SGLANG_VERSION,
            server_type="grpc",
            max_total_num_tokens=settings.engine.kv_tokens,
        )


def _logprobs(request: Any) -> int | None:
    return int(request.top_logprobs_num) if request.return_logprob else None


def check_json(name: str, text: str) -> None:
    """A constraint that must be JSON. Raises Bad."""
    try:
        json.loads(text)
    except ValueError as error:
        raise Bad(f"{name}: not JSON: {error}", param=name) from None
