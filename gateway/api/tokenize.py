"""`/v1/tokenize` and `/v1/detokenize`, in SMG's JSON: text to ids and back, without special tokens of the
tokenizer's own. Prompts of megabytes are taken, and neither they nor the ids of them hold the loop.
"""

import asyncio
from array import array
from typing import Annotated, Any, cast

import msgspec
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from gateway.api.app import PARTS, Handler, Route, json_response
from gateway.api.bodies import decoded, judged
from gateway.api.shapes import DetokenizedJson, TokenizedJson, TokenizerErrorJson
from gateway.api.tokenizers import in_smgs_words, refusal
from gateway.errors import GatewayError
from gateway.tokenizers.errors import TokenizerNotFound
from gateway.tokenizers.tokenizer import MAX_CHARS, Tokenizer

MAX_TEXT_BODY = MAX_CHARS
MAX_IDS_BODY = 1024 * 1024
"""Some 200,000 ids: judging more in one go would hold the loop."""
MAX_BATCH = 4096
MAX_ID = (1 << 32) - 1
SLICE = 20_000
"""Ids written as JSON at a time: a quarter of a millisecond."""


def _ids(value: Any) -> list[int] | list[list[int]]:
    """Ids, or lists of ids. Pydantic's own judging would take as long as the loop may be held."""
    if not isinstance(value, list):
        raise ValueError("expected an array of ids, or of arrays of ids")
    batch = bool(value) and isinstance(value[0], list)
    if batch and len(value) > MAX_BATCH:
        raise ValueError(f"expected at most {MAX_BATCH} arrays")
    for ids in value if batch else [value]:
        if not isinstance(ids, list) or set(map(type, ids)) - {int}:
            raise ValueError("expected an array of whole numbers, or an array of such arrays")
        if ids and not (min(ids) >= 0 and max(ids) <= MAX_ID):
            raise ValueError(f"expected ids from 0 to {MAX_ID}")
    return value


Ids = Annotated[list[int] | list[list[int]], PlainValidator(_ids, json_schema_input_type=list[int] | list[list[int]])]


class TokenizeBody(BaseModel):
    """POST /v1/tokenize."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = "unknown"
    prompt: str | Annotated[list[str], Field(max_length=MAX_BATCH)]


class DetokenizeBody(BaseModel):
    """POST /v1/detokenize."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = "unknown"
    tokens: Ids
    skip_special_tokens: bool = True


class _TooLarge(GatewayError):
    code = "PAYLOAD_TOO_LARGE"
    status = 413


async def _body(request: web.Request, most: int) -> dict[str, Any]:
    """The JSON object in a body of at most so many bytes."""
    data = bytearray()
    async for part in request.content.iter_any():
        data += part
        if len(data) > most:
            raise _TooLarge(f"the body is larger than {most} bytes")
    return decoded(bytes(data))


async def tokenize(request: web.Request) -> web.Response:
    asked = judged(TokenizeBody, await _body(request, MAX_TEXT_BODY))
    tokenizer = request.app[PARTS].tokenizers.find(asked.model)
    if isinstance(asked.prompt, str):
        ids = await tokenizer.encode(asked.prompt)
        one: TokenizedJson = {"tokens": await _written(ids), "count": len(ids), "char_count": len(asked.prompt)}
        return json_response(one)
    found = await _encoded(tokenizer, asked.prompt)
    many: TokenizedJson = {
        "tokens": [await _written(ids) for ids in found],
        "count": [len(ids) for ids in found],
        "char_count": [len(prompt) for prompt in asked.prompt],
    }
    return json_response(many)


async def _encoded(tokenizer: Tokenizer, prompts: list[str]) -> "list[array[int]]":
    found = []
    for prompt in prompts:
        found.append(await tokenizer.encode(prompt))
        await asyncio.sleep(0)
    return found


async def _written(ids: "array[int]") -> Any:
    """The ids as JSON."""
    parts = []
    for start in range(0, len(ids), SLICE):
        parts.append(msgspec.json.encode(ids[start : start + SLICE].tolist())[1:-1])
        await asyncio.sleep(0)
    return msgspec.Raw(b"[" + b",".join(parts) + b"]")


async def detokenize(request: web.Request) -> web.Response:
    asked = judged(DetokenizeBody, await _body(request, MAX_IDS_BODY))
    tokenizer = request.app[PARTS].tokenizers.find(asked.model)
    batch = bool(asked.tokens) and isinstance(asked.tokens[0], list)
    each = cast("list[list[int]]", asked.tokens if batch else [asked.tokens])
    texts = []
    for ids in each:
        texts.append(await tokenizer.decode(ids, skip_special_tokens=asked.skip_special_tokens))
        await asyncio.sleep(0)
    body: DetokenizedJson = {"text": texts if batch else texts[0]}
    return json_response(body)


def _known_model(handler: Handler) -> Handler:
    """The handler, with a model that has no tokenizer told as SMG tells it here."""

    async def told(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except TokenizerNotFound as error:
            return refusal(400, "tokenizer_not_found", error.message)

    return in_smgs_words(told)


ROUTES = [
    Route(
        "POST",
        "/v1/tokenize",
        _known_model(tokenize),
        "The token ids of a text, or of each of several",
        body=TokenizeBody,
        statuses=(200, 400, 413),
        answer=TokenizedJson,
        refusal=TokenizerErrorJson,
    ),
    Route(
        "POST",
        "/v1/detokenize",
        _known_model(detokenize),
        "The text of token ids, or of each of several lists of them",
        body=DetokenizeBody,
        statuses=(200, 400, 413),
        answer=DetokenizedJson,
        refusal=TokenizerErrorJson,
    ),
]
