"""What OpenAI's own client makes of the proxy: answers, streams, and the errors it raises."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest

from gateway.tasks import Scope
from tests.integration.proxy_world import STREAM_HEAD, World, answer, chunk, world


@asynccontextmanager
async def openai_of(w: World) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"http://127.0.0.1:{w.plane.address.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        yield client


def event(text: str) -> bytes:
    delta = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: %b\n\n" % json.dumps({**delta, "choices": [{"index": 0, "delta": {"content": text}}]}).encode()


async def test_answers_streams_and_errors_reach_openais_client() -> None:
    async with world() as w, openai_of(w) as client, Scope("test") as scope:

        async def serve() -> None:
            worker = await w.workers[0].accept()
            await worker.message()
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "whole"}}
            whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            worker.send(answer(json.dumps(whole).encode(), b"Content-Type: application/json"))
            await worker.message()
            worker.send(STREAM_HEAD + chunk(event("a")) + chunk(event("b")) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            await worker.message()
            worker.send(STREAM_HEAD + chunk(event("c")))
            worker.transport.close()

        scope.spawn(serve(), name="worker")
        ask = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        whole = await client.chat.completions.create(**ask)  # type: ignore[call-overload]  # a plain dict
        assert whole.choices[0].message.content == "whole"
        stream = await client.chat.completions.create(stream=True, **ask)  # type: ignore[call-overload]  # as above
        assert [part.choices[0].delta.content async for part in stream] == ["a", "b"]
        got = []
        stream = await client.chat.completions.create(stream=True, **ask)  # type: ignore[call-overload]  # as above
        with pytest.raises(openai.APIError, match="connection closed in the middle of an answer"):
            got.extend([part.choices[0].delta.content async for part in stream])
        with pytest.raises(openai.NotFoundError, match="No worker available for model 'other'"):
            await client.chat.completions.create(**{**ask, "model": "other"})  # type: ignore[call-overload]  # as above
        with pytest.raises(openai.BadRequestError, match="model: "):
            await client.post("/embeddings", body={"input": "x"}, cast_to=object)
