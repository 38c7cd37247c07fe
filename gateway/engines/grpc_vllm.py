"""vLLM's engine service: our values to its messages and back. Nothing here waits or keeps anything.

Temperature, seed and the token limit may be left out, the other numbers are plain proto3 ones. Counts in chunks
are of the chunk. The version comes with the loads, not with the server's info.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from google.protobuf.json_format import MessageToDict
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from smg_grpc_proto.generated import vllm_engine_pb2_grpc as service

from gateway.engines.generation import Constraint, ConstraintKind, EngineError, ErrorKind, Generate, Sampling
from gateway.engines.grpc_pieces import Said, said_of
from gateway.engines.grpc_sampling import common_sampling, whole_or
from gateway.workers.model import Engine

NAME = "vllm.grpc.engine.VllmEngine"


class VllmMessages:
    """Implements `gateway.engines.grpc_client.Messages`."""

    engine = Engine.VLLM
    service = NAME

    pb = pb

    def stub(self, channel: Any) -> Any:
        return service.VllmEngineStub(channel)

    def generate(self, call: Generate, defaults: Mapping[str, object]) -> Any:
        if call.bootstrap is not None:
            raise EngineError(ErrorKind.UNSUPPORTED, "bootstrap: vLLM takes kv_transfer_params instead")
        sampling = _sampling(call.sampling, defaults)
        if call.logprobs is not None:
            sampling.logprobs = call.logprobs
        if call.prompt_logprobs:
            sampling.prompt_logprobs = call.logprobs or 0
        request = pb.GenerateRequest(
            request_id=call.request_id,
            tokenized=pb.TokenizedInput(original_text=call.text, input_ids=call.token_ids),
            sampling_params=sampling,
            stream=call.stream,
        )
        if call.rank is not None:
            request.data_parallel_rank = call.rank
        if call.kv_transfer is not None:
            request.kv_transfer_params_json = json.dumps(dict(call.kv_transfer))
        return request

    def said(self, message: Any) -> Said | None:
        said = said_of(message)
        if said is not None and said.finish is not None:
            return replace(said, kv_transfer=_kv_transfer(message.complete))
        return said

    def embed(self, request_id: str, token_ids: Any, text: str) -> Any:
        return pb.EmbedRequest(
            request_id=request_id, tokenized=pb.TokenizedInput(original_text=text, input_ids=token_ids)
        )

    def abort(self, request_id: str) -> Any:
        return pb.AbortRequest(request_ids=[request_id])

    def told(self, model: Any, server: Any) -> dict[str, object]:
        """One flat record of both infos, under the names the HTTP routes use."""
        flat: dict[str, object] = {}
        if server is not None:
            flat |= MessageToDict(server, preserving_proto_field_name=True)
            flat["max_running_requests"] = server.max_num_seqs or None
            flat["dp_size"] = server.data_parallel_size or None
        if model is not None:
            flat |= MessageToDict(model, preserving_proto_field_name=True)
            flat["is_generation"] = model.is_generation
        return flat


def _kv_transfer(part: Any) -> Mapping[str, object] | None:
    """What the prefill side hands over: the JSON where there is any, else the older typed form."""
    if part.HasField("kv_transfer_params_json"):
        try:
            found = json.loads(part.kv_transfer_params_json)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EngineError(ErrorKind.INTERNAL, "the engine's kv_transfer_params are not a JSON object")
        return found
    if part.HasField("kv_transfer_params"):
        old = part.kv_transfer_params
        return {"remote_host": old.remote_host, "remote_port": old.remote_port}
    return None


def _sampling(given: Sampling, defaults: Mapping[str, object]) -> Any:
    made = pb.SamplingParams(
        **common_sampling(given, defaults),
        top_k=max(0, whole_or(given.top_k, defaults.get("top_k"))),  # -1 means all tokens elsewhere
        min_tokens=given.min_new_tokens or 0,
        include_stop_str_in_output=given.no_stop_trim,
        logit_bias=dict(given.logit_bias),
    )
    if given.max_new_tokens is not None:
        made.max_tokens = given.max_new_tokens
    if given.seed is not None:
        made.seed = given.seed
    if given.constraint is not None:
        _constrain(made, given.constraint)
    return made


def _constrain(made: Any, constraint: Constraint) -> None:
    match constraint.kind:
        case ConstraintKind.JSON_SCHEMA:
            made.json_schema = constraint.text
        case ConstraintKind.JSON_OBJECT:
            made.json_object = True
        case ConstraintKind.REGEX:
            made.regex = constraint.text
        case ConstraintKind.CHOICE:
            made.choice.choices.extend(constraint.choices)
        case ConstraintKind.EBNF:
            made.grammar = constraint.text
        case ConstraintKind.STRUCTURAL_TAG:
            made.structural_tag = constraint.text
