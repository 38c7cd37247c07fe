"""The answer to `/v1/embeddings`. Pure."""

import base64
import struct
from collections.abc import Sequence

import msgspec

from gateway.engines.generation import Embedding


def embeddings_answer(model: str, found: Sequence[Embedding], *, as_base64: bool) -> bytes:
    """The vectors in the order of their inputs. `as_base64`: little-endian floats of 32 bits, as OpenAI's own
    clients ask for them."""
    data = [
        {"object": "embedding", "index": at, "embedding": _packed(each.values) if as_base64 else each.values}
        for at, each in enumerate(found)
    ]
    count = sum(each.prompt_tokens for each in found)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return msgspec.json.encode({"object": "list", "model": model, "data": data, "usage": usage})


def _packed(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
