"""`/v1/tokenizers`: add, list, show, follow and remove tokenizers, in SMG's JSON.

What can be told of a source at once is told in the answer to POST: a path that is not there, a file that is none.
What takes time, loading and the hub, is told by `/status`.
"""

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.app import PARTS, Handler, Route, actor_of, json_response
from gateway.api.bodies import decoded, judged
from gateway.api.schemas import timestamp
from gateway.api.shapes import (
    ShownTokensJson,
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
from gateway.tokenizers.commands import AddTokenizer, RemoveTokenizer
from gateway.tokenizers.entry import Entry, Progress
from gateway.tokenizers.errors import SourceUnusable, TokenizerExists, TokenizerNotFound, TooManyTokenizers
from gateway.tokenizers.status import TokenizerStatus


class AddTokenizerBody(BaseModel):
    """POST /v1/tokenizers."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    source: str
    chat_template_path: Annotated[str, Field(min_length=1, max_length=4096)] | None = None


class ShowTokensBody(BaseModel):
    """POST /tokenizers/{id}/tokens."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str
    add_special_tokens: bool = False


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
    command = AddTokenizer(asked.name, asked.source, asked.chat_template_path or "")
    try:
        done = await request.app[PARTS].tokenizer_operations.execute(command, actor_of(request))
    except TokenizerExists as error:
        return _added(409, error.holder, Progress.FAILED, error.message)
    except SourceUnusable as error:
        return _added(400, "", Progress.FAILED, error.message)
    except TooManyTokenizers as error:
        return _added(503, "", Progress.FAILED, error.message)
    return _added(202, done.id, Progress.PENDING, done.message)


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


def detail(told: TokenizerStatus) -> TokenizerDetailJson:
    """A tokenizer with its state, models, users, templates and caches."""
    since = timestamp(told.since)
    assert since is not None
    return {
        "id": told.id,
        "name": told.name,
        "source": told.source,
        "status": told.state.value,
        "message": told.message,
        "since": since,
        "automatic": told.automatic,
        "models": list(told.models),
        "users": list(told.users),
        "shared_with": list(told.shared_with),
        "vocab_size": told.vocab_size,
        "context_length": told.context_length,
        "chat_templates": list(told.chat_templates),
        "chat_template_error": told.template_error,
        "memory_bytes": told.memory_bytes,
        "exact_cache": _cache(told.exact, told.exact_off),
        "prefix_cache": _cache(told.prefix, told.prefix_off),
    }


async def details(request: web.Request) -> web.Response:
    """Also those that are under way or failed, and what the caches do."""
    found = request.app[PARTS].tokenizer_operations.statuses()
    body: TokenizerDetailsJson = {"tokenizers": [detail(told) for told in found]}
    return json_response(body)


async def shown(request: web.Request) -> web.Response:
    """For people who look at a prompt: the caches are left out."""
    asked = judged(ShowTokensBody, decoded(await request.read()))
    operations = request.app[PARTS].tokenizer_operations
    tokens = await operations.shown(request.match_info["id"], asked.text, add_special_tokens=asked.add_special_tokens)
    body: ShownTokensJson = {
        "count": len(tokens),
        "char_count": len(asked.text),
        "tokens": [{"id": token.id, "text": token.text, "special": token.special} for token in tokens],
    }
    return json_response(body)


async def remove(request: web.Request) -> web.Response:
    command = RemoveTokenizer(request.match_info["id"])
    try:
        done = await request.app[PARTS].tokenizer_operations.execute(command, actor_of(request))
    except TokenizerNotFound as error:
        missing: TokenizerRemovedJson = {"success": False, "message": error.message}
        return json_response(missing, 404)
    body: TokenizerRemovedJson = {"success": True, "message": done.message}
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
    Route(
        "POST",
        "/tokenizers/{id}/tokens",
        in_smgs_words(shown),
        "A text's tokens, each with what it stands for",
        body=ShowTokensBody,
        statuses=(200, 400, 404),
        answer=ShownTokensJson,
        refusal=TokenizerErrorJson,
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
