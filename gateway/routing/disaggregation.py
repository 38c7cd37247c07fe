"""Prefill and decode on two workers: what each is told so that the KV cache finds its way. Pure.

SGLang gets the request twice at once; both halves meet in a room at the prefill worker's bootstrap server.
vLLM is asked in turn: the prefill worker for one token and the place of its cache, then the decode worker with
that place. Member names are the engines' own (SGLang's `bootstrap_*`, vLLM's `kv_transfer_params`).
"""

from collections.abc import Mapping
from random import Random
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from gateway.workers.model import Engine, Worker

ROOM_BITS = 63
MOONCAKE_PORT = 8998
Members = dict[str, object]


def in_turn(prefill: Worker, decode: Worker) -> bool:
    """Whether the prefill worker has to answer before the decode worker is asked."""
    return Engine.VLLM in (prefill.engine, decode.engine)


def batch_size(body: Mapping[str, Any]) -> int | None:
    """How many prompts or answers a request asks for; None: one, and not as a list of one."""
    count = None
    for name in ("prompt", "text", "input_ids"):
        given = body.get(name)
        if isinstance(given, list) and given and not isinstance(given[0], int):
            count = len(given)
    several = body.get("n")
    if isinstance(several, int) and several > 1:
        return several * (count or 1)
    return count


def bootstrap(prefill: Worker, batch: int | None, rng: Random) -> Members:
    """SGLang's members, the same for both halves."""
    host, port = urlsplit(prefill.url).hostname, prefill.spec.bootstrap_port
    if batch is None:
        return {"bootstrap_host": host, "bootstrap_port": port, "bootstrap_room": rng.getrandbits(ROOM_BITS)}
    return {
        "bootstrap_host": [host] * batch,
        "bootstrap_port": [port] * batch,
        "bootstrap_room": [rng.getrandbits(ROOM_BITS) for _ in range(batch)],
    }


def is_mooncake(prefill: Worker) -> bool:
    return "mooncake" in prefill.labels.get("kv_connector", "").lower()


def prefill_members(prefill: Worker, body: Mapping[str, Any], transfer: UUID) -> Members:
    """What the prefill half of a vLLM pair differs in: one token, no stream, and the cache kept for another."""
    members: Members = {"stream": False, "max_tokens": 1}
    for name in ("max_completion_tokens", "max_output_tokens", "min_tokens"):
        if name in body:
            members[name] = 0 if name == "min_tokens" else 1
    params: Members = {"do_remote_decode": True, "do_remote_prefill": False}
    if is_mooncake(prefill):
        params["transfer_id"] = str(transfer)
    return {**members, "kv_transfer_params": params}


PREFILL_WITHOUT = ("stream_options",)
"""Members that a request without a stream may not have."""


def decode_members(prefill: Worker, answer: Mapping[str, Any], transfer: UUID) -> Members:
    """What the decode half of a vLLM pair is given of the prefill worker's answer."""
    if is_mooncake(prefill):
        port = prefill.spec.bootstrap_port or MOONCAKE_PORT
        host = urlsplit(prefill.url).hostname or ""
        place = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        params: Members = {
            "do_remote_decode": False,
            "do_remote_prefill": True,
            "transfer_id": str(transfer),
            "remote_bootstrap_addr": place,
        }
        if engine_id := prefill.labels.get("kv_engine_id"):
            params["remote_engine_id"] = engine_id
        return {"kv_transfer_params": params}
    told = answer.get("kv_transfer_params")
    return {"kv_transfer_params": told} if isinstance(told, dict) else {}
