"""`/v1/tokenizers`: add, list, show, follow and remove tokenizers, in SMG's JSON.

What can be told of a source at once is told in the answer to POST: a path that is not there, a file that is none.
What takes time, loading and the hub, is told by `/status`.
"""

import asyncio
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.app import PARTS, Handler, Route, json_response
from gateway.api.bodies import decoded, judged
from gateway.api.schemas import timestamp
from gateway.api.shapes import (
    TokenizerAddedJson,
    TokenizerCacheJson,
    TokenizerDetailJson,
    TokenizerDetailsJson,
    TokenizerErrorJson,
    TokenizerJson,
    TokenizerRemovedJson,
    TokenizersJson,
)
from gateway.errors import GatewayError
from gateway.tokenizers.cache import CacheCounts
from gateway.tokenizers.entry import Entry, Progress
from gateway.tokenizers.errors import SourceUnusable, TokenizerExists, TokenizerNotFound, TooManyTokenizers
from gateway.tokenizers.loading import look
from gateway.tokenizers.places import place_of


class AddTokenizerBody(BaseModel):
    """POST /v1/tokenizers."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    source: str
    chat_template_path: Annotated[str, Field(min_length=1, max_length=4096)] | None = None


def refusal(status: int, kind: str, message: str) -> web.Response:
    """An error as SMG's tokenizer routes give it."""
    body: TokenizerErrorJson = {"error": {"message": message, "type": kind}}
    return json_response(body, status)


def in_smgs_words(handler: Handler) -> Handler:
    """The handler, with what it raises told in this family's shape."""

    async def told(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except GatewayError as error:
            return refusal(error.status, "bad_request" if error.status == 400 else error.code.lower(), error.message)

    return told


def _added(status: int, id_: str, state: Progress, message: str) -> web.Response:
    body: TokenizerAddedJson = {"id": id_, "status": state.value, "message": message}
    return json_response(body, status)


async def add(request: web.Request) -> web.Response:
    asked = judged(AddTokenizerBody, decoded(await request.read()))
    place = place_of(asked.source, asked.chat_template_path)
    registry = request.app[PARTS].tokenizers
    try:
        registry.check_free(asked.name)
        await asyncio.to_thread(look, place)
        entry = registry.add(asked.name, place)
    except TokenizerExists as error:
        return _added(409, error.holder, Progress.FAILED, error.message)
    except SourceUnusable as error:
        return _added(400, "", Progress.FAILED, error.message)
    except TooManyTokenizers as error:
        return _added(503, "", Progress.FAILED, error.message)
    text = f"Tokenizer '{entry.name}' registration job submitted. Loading from: {asked.source}"
    return _added(202, entry.id, Progress.PENDING, text)


def _info(entry: Entry) -> TokenizerJson:
    assert entry.tokenizer is not None
    return {
        "id": entry.id,
        "name": entry.name,
        "source": entry.source,
        "vocab_size": entry.tokenizer.model_vocab_size,
    }


async def listed(request: web.Request) -> web.Response:
    """Those that can be used; of the others `/status` tells."""
    entries = request.app[PARTS].tokenizers.entries.values()
    body: TokenizersJson = {"tokenizers": [_info(entry) for entry in entries if entry.tokenizer is not None]}
    return json_response(body)


def _named(request: web.Request) -> tuple[str, Entry | None]:
    name = request.match_info["id"]
    return name[:200], request.app[PARTS].tokenizers.entry(name)


async def show(request: web.Request) -> web.Response:
    name, entry = _named(request)
    if entry is None or entry.tokenizer is None:
        return refusal(404, "tokenizer_not_found", f"Tokenizer '{name}' not found")
    return json_response(_info(entry))


async def status(request: web.Request) -> web.Response:
    name, entry = _named(request)
    if entry is None:
        return refusal(404, "not_found", f"Tokenizer '{name}' not found and no pending job")
    body: TokenizerAddedJson = {
        "id": entry.id,
        "status": entry.state.value,
        "message": f"Tokenizer '{entry.name}' {entry.progress}" if entry.error is None else entry.error,
    }
    if entry.tokenizer is not None:
        body["vocab_size"] = entry.tokenizer.model_vocab_size
    return json_response(body)


def _cache(counts: CacheCounts | None, off: str) -> TokenizerCacheJson:
    if counts is None:
        return {"enabled": False, "off_because": off}
    return {
        "enabled": True,
        "hits": counts.hits,
        "misses": counts.misses,
        "hit_rate": counts.hit_rate,
        "entries": counts.entries,
        "bytes": counts.bytes,
        "max_bytes": counts.max_bytes,
    }


def detail(entry: Entry) -> TokenizerDetailJson:
    """A tokenizer with its state, models, templates and caches."""
    tokenizer = entry.tokenizer
    exact, prefix = tokenizer.cache_counts() if tokenizer is not None else (None, None)
    since = timestamp(entry.since)
    assert since is not None
    off = "it is not loaded" if tokenizer is None else "it is switched off"
    why = tokenizer.prefix_off[0] if tokenizer is not None and tokenizer.prefix_off else off
    return {
        "id": entry.id,
        "name": entry.name,
        "source": entry.source,
        "status": entry.state.value,
        "message": entry.progress,
        "since": since,
        "models": [entry.name, *sorted(entry.aliases)],
        "vocab_size": tokenizer.model_vocab_size if tokenizer is not None else None,
        "context_length": tokenizer.context_length if tokenizer is not None else None,
        "chat_templates": tokenizer.chat_templates if tokenizer is not None else [],
        "chat_template_error": tokenizer.template_error if tokenizer is not None else None,
        "memory_bytes": tokenizer.loaded.memory_bytes if tokenizer is not None else None,
        "exact_cache": _cache(exact, off),
        "prefix_cache": _cache(prefix, why),
    }


async def details(request: web.Request) -> web.Response:
    """Also those that are under way or failed, and what the caches do."""
    entries = request.app[PARTS].tokenizers.entries.values()
    body: TokenizerDetailsJson = {"tokenizers": [detail(entry) for entry in entries]}
    return json_response(body)


async def remove(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    try:
        entry = request.app[PARTS].tokenizers.remove(name)
    except TokenizerNotFound as error:
        missing: TokenizerRemovedJson = {"success": False, "message": error.message}
        return json_response(missing, 404)
    body: TokenizerRemovedJson = {"success": True, "message": f"Tokenizer '{entry.name}' removed successfully"}
    return json_response(body)


ROUTES = [
    Route(
        "POST",
        "/v1/tokenizers",
        in_smgs_words(add),
        "Add a tokenizer from a path or a HuggingFace id; loading goes on after the answer",
        body=AddTokenizerBody,
        statuses=(202, 400, 409, 503),
        answer=TokenizerAddedJson,
        refusal=TokenizerAddedJson | TokenizerErrorJson,
    ),
    Route(
        "GET",
        "/tokenizers",
        details,
        "All tokenizers: how far, for which models, and their caches",
        answer=TokenizerDetailsJson,
    ),
    Route("GET", "/v1/tokenizers", listed, "The loaded tokenizers", answer=TokenizersJson),
    Route(
        "GET",
        "/v1/tokenizers/{id}",
        show,
        "A loaded tokenizer, by id or name",
        statuses=(200, 404),
        answer=TokenizerJson,
        refusal=TokenizerErrorJson,
    ),
    Route(
        "GET",
        "/v1/tokenizers/{id}/status",
        status,
        "How far a tokenizer's loading is, and what went wrong",
        statuses=(200, 404),
        answer=TokenizerAddedJson,
        refusal=TokenizerErrorJson,
    ),
    Route(
        "DELETE",
        "/v1/tokenizers/{id}",
        remove,
        "Remove a tokenizer, by id or name; a load under way ends",
        statuses=(200, 404),
        answer=TokenizerRemovedJson,
        refusal=TokenizerRemovedJson,
    ),
]
