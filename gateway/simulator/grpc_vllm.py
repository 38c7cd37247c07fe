"""vLLM's engine service, simulated: `vllm.grpc.engine.VllmEngine`.

As the real one: counts in chunks are of the chunk, an end of its own has no matched token, the server's info has
no version, and a prefill request hands out parameters for the decode worker.
"""

import json
from collections.abc import Sequence
from typing import Any

from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from gateway.simulator.grpc_generate import Asked, Spoke, check, finish_of
from gateway.simulator.grpc_rules import pass_rules
from gateway.simulator.grpc_service import Service
from gateway.simulator.grpc_sglang import check_json
from gateway.simulator.planning import Bad, Sampling
from gateway.simulator.settings import VLLM_VERSION

NAME = "vllm.grpc.engine.VllmEngine"


class VllmService(Service):
    pb = pb
    name = NAME
    version = VLLM_VERSION

    def asked(self, request: Any) -> Asked:
        if request.WhichOneof("input") != "tokenized":
            raise Bad("input: expected tokenized")
        params = request.sampling_params
        limit = params.max_tokens if params.HasField("max_tokens") else None
        check(params, most_tokens=limit)
        if limit is not None and params.min_tokens > limit:
            raise Bad(f"min_tokens must be less than or equal to max_tokens={limit}, got {params.min_tokens}.")
        constraint = params.WhichOneof("constraint")
        if constraint in ("json_schema", "structural_tag"):
            check_json(constraint, getattr(params, constraint))
        _kv_transfer(request)
        return Asked(
            request.request_id,
            request.tokenized.input_ids,
            Sampling(limit, tuple(params.stop), max(1, params.n), params.ignore_eos),
            frozenset(params.stop_token_ids),
            request.stream,
            request.data_parallel_rank if request.HasField("data_parallel_rank") else None,
        )

    def chunk(self, request: Any, spoke: Spoke, first: bool) -> Any:
        choice = spoke.choice
        job = choice.planned.job
        part = pb.GenerateStreamChunk(
            token_ids=spoke.ids,
            prompt_tokens=job.prompt_tokens,
            completion_tokens=len(spoke.ids),
            cached_tokens=job.cached,
            index=choice.planned.index,
            output_logprobs=self.output_logprobs(choice, spoke.ids, _logprobs(request)),
            input_logprobs=self._input(request) if first else None,
        )
        return pb.GenerateResponse(chunk=part)

    def complete(self, request: Any, spoke: Spoke, ids: Sequence[int]) -> Any:
        choice = spoke.choice
        job = choice.planned.job
        part = pb.GenerateComplete(
            output_ids=ids,
            finish_reason=spoke.finish or finish_of(choice),
            prompt_tokens=job.prompt_tokens,
            completion_tokens=len(ids),
            cached_tokens=job.cached,
            index=choice.planned.index,
            output_logprobs=self.output_logprobs(choice, ids, _logprobs(request)),
            input_logprobs=self._input(request),
        )
        if isinstance(choice.matched, str):
            part.matched_stop_str = choice.matched
        elif choice.matched is not None:
            part.matched_token_id = choice.matched
        if (given := _kv_transfer(request)) and given.get("do_remote_decode"):
            part.kv_transfer_params_json = json.dumps(self._handed_over(job.prompt_tokens))
        return pb.GenerateResponse(complete=part)

    def _handed_over(self, prompt_tokens: int) -> dict[str, object]:
        return {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_engine_id": f"sim-{self.simulation.settings.seed}",
            "remote_block_ids": list(range(prompt_tokens // 16 + 1)),
            "remote_host": "127.0.0.1",
            "remote_port": 5600,
        }

    def _input(self, request: Any) -> Any:
        params = request.sampling_params
        wanted = params.prompt_logprobs if params.HasField("prompt_logprobs") else None
        return self.input_logprobs(request.tokenized.input_ids, wanted)

    async def Abort(self, request: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
        await pass_rules(self.simulation, "Abort", request, context)
        for request_id in request.request_ids:
            self.running.abort(request_id)
        return pb.AbortResponse()

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        await pass_rules(self.simulation, "GetServerInfo", request, context)
        settings = self.simulation.settings
        return pb.GetServerInfoResponse(
            active_requests=len(self.running.by_id),
            server_type="vllm-grpc",
            data_parallel_size=settings.dp_size,
            block_size=16,
            model_dtype="torch.bfloat16",
            max_num_seqs=settings.engine.max_running,
        )


def _logprobs(request: Any) -> int | None:
    params = request.sampling_params
    return int(params.logprobs) if params.HasField("logprobs") else None


def _kv_transfer(request: Any) -> dict[str, Any] | None:
    """Raises Bad."""
    if not request.HasField("kv_transfer_params_json"):
        return None
    try:
        found = json.loads(request.kv_transfer_params_json)
    except ValueError as error:
        raise Bad(f"Invalid kv_transfer_params_json: {error}") from None
    if not isinstance(found, dict):
        raise Bad("kv_transfer_params_json must be a JSON object")
    return found
