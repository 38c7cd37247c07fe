"""SGLang's scheduler service: our values to its messages and back. Nothing here waits or keeps anything.

Its numbers are plain proto3 ones, whose zero is not "unset" (a temperature of 0 is greedy), so every field is
written. A bootstrap room has 31 bits. A request with n choices runs as n requests with names of their own, which
an abort by name does not reach: cancelling the call does.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from smg_grpc_proto.generated import sglang_scheduler_pb2 as pb
from smg_grpc_proto.generated import sglang_scheduler_pb2_grpc as service

from gateway.engines.generation import Constraint, ConstraintKind, EngineError, ErrorKind, Generate, Sampling
from gateway.engines.grpc_info import plain_numbers
from gateway.engines.grpc_pieces import Said, said_of
from gateway.engines.grpc_sampling import common_sampling, whole_or
from gateway.workers.model import Engine

NAME = "sglang.grpc.scheduler.SglangScheduler"
ANY_OBJECT = '{"type": "object"}'
_REGEX_SPECIAL = frozenset("\\.^$|?*+()[]{}")


class SglangMessages:
    """Implements `gateway.engines.grpc_client.Messages`."""

    engine = Engine.SGLANG
    service = NAME

    pb = pb

    def stub(self, channel: Any) -> Any:
        return service.SglangSchedulerStub(channel)

    def generate(self, call: Generate, defaults: Mapping[str, object]) -> Any:
        if call.kv_transfer is not None:
            raise EngineError(ErrorKind.UNSUPPORTED, "kv_transfer_params: SGLang takes bootstrap parameters instead")
        request = pb.GenerateRequest(
            request_id=call.request_id,
            tokenized=pb.TokenizedInput(original_text=call.text, input_ids=call.token_ids),
            sampling_params=_sampling(call.sampling, defaults),
            return_logprob=call.logprobs is not None or call.prompt_logprobs,
            logprob_start_len=0 if call.prompt_logprobs else -1,
            top_logprobs_num=call.logprobs or 0,
            stream=call.stream,
        )
        if call.rank is not None:
            request.data_parallel_rank = call.rank
        if (meet := call.bootstrap) is not None:
            request.disaggregated_params.CopyFrom(
                pb.DisaggregatedParams(
                    bootstrap_host=meet.host, bootstrap_port=meet.port or 0, bootstrap_room=meet.room
                )
            )
        return request

    def said(self, message: Any) -> Said | None:
        return said_of(message)

    def embed(self, request_id: str, token_ids: Any, text: str) -> Any:
        return pb.EmbedRequest(
            request_id=request_id,
            tokenized=pb.TokenizedInput(original_text=text, input_ids=token_ids),
            sampling_params=_sampling(Sampling(max_new_tokens=0), {}),
        )

    def abort(self, request_id: str) -> Any:
        return pb.AbortRequest(request_id=request_id, reason="the client left")

    def told(self, model: Any, server: Any) -> dict[str, object]:
        """One flat record of both infos, under the names the HTTP routes use."""
        flat: dict[str, object] = {}
        if server is not None:
            whole = MessageToDict(server, preserving_proto_field_name=True)
            flat |= plain_numbers(whole.get("scheduler_info", {}))
            flat |= plain_numbers(whole.get("server_args", {}))
            flat["version"] = server.sglang_version
            flat["max_total_num_tokens"] = server.max_total_num_tokens or flat.get("max_total_num_tokens")
        if model is not None:
            flat |= MessageToDict(model, preserving_proto_field_name=True)
            flat["is_generation"] = model.is_generation
        return flat


def _sampling(given: Sampling, defaults: Mapping[str, object]) -> Any:
    made = pb.SamplingParams(
        **common_sampling(given, defaults),
        top_k=whole_or(given.top_k, defaults.get("top_k")) or -1,  # 0 would be no token at all
        min_new_tokens=given.min_new_tokens or 0,
        no_stop_trim=given.no_stop_trim,
        logit_bias={str(token): bias for token, bias in given.logit_bias.items()},
    )
    if given.max_new_tokens is not None:
        made.max_new_tokens = given.max_new_tokens
    if given.constraint is not None:
        _constrain(made, given.constraint)
    return made


def _constrain(made: Any, constraint: Constraint) -> None:
    match constraint.kind:
        case ConstraintKind.JSON_SCHEMA:
            made.json_schema = constraint.text
        case ConstraintKind.JSON_OBJECT:
            made.json_schema = ANY_OBJECT
        case ConstraintKind.REGEX:
            made.regex = constraint.text
        case ConstraintKind.CHOICE:
            made.regex = "|".join(f"({_literally(choice)})" for choice in constraint.choices)
        case ConstraintKind.EBNF:
            made.ebnf_grammar = constraint.text
        case ConstraintKind.STRUCTURAL_TAG:
            made.structural_tag = constraint.text


def _literally(text: str) -> str:
    """The expression that matches exactly this. `re.escape` also escapes what is not special, such as spaces,
    which grammar backends need not understand."""
    return "".join("\\" + char if char in _REGEX_SPECIAL else char for char in text)
