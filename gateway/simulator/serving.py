"""The serving routes of a simulated engine: OpenAI's, SGLang's `/generate` and Anthropic's messages.

All of them become prompts for the same model; answers are the model's words in the route's shape.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from gateway.simulator.engine import Job, seed_of, tokens_of
from gateway.simulator.runtime import Ask
from gateway.simulator.server import SimulatedServer, error

Body = dict[str, Any]


class Bad(Exception):
    """The request is wrong; becomes a 4xx in OpenAI's shape."""

    def __init__(self, message: str, status: int = 400, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def add_serving_routes(app: web.Application, server: SimulatedServer) -> None:
    """Add every serving route of this kind of engine."""
    routes = Serving(server)
    post = app.router.add_post
    post("/v1/chat/completions", routes.guarded(routes.chat))
    post("/v1/completions", routes.guarded(routes.completions))
    post("/v1/responses", routes.guarded(routes.responses))
    post("/v1/messages", routes.guarded(routes.messages))
    post("/v1/embeddings", routes.guarded(routes.embeddings))
    for path in ("/v1/rerank", "/rerank"):
        post(path, routes.guarded(routes.rerank))
    post("/v1/classify", routes.guarded(routes.classify))
    post("/v1/audio/transcriptions", routes.transcribe)
    if server.settings.engine == "sglang":
        post("/generate", routes.guarded(routes.generate))
    if server.settings.engine == "vllm":
        post("/tokenize", routes.guarded(routes.tokenize))


class Serving:
    """Handlers over one server."""

    def __init__(self, server: SimulatedServer) -> None:
        self.server = server

    def guarded(self, handler: Callable[[web.Request, Body], Any]) -> Callable[[web.Request], Any]:
        """Decode the body, and turn what is wrong with it into an error."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                body = await request.json()
            except (json.JSONDecodeError, UnicodeDecodeError):
                return error(400, "invalid_request", "the body is not JSON")
            if not isinstance(body, dict):
                return error(400, "invalid_request", "expected a JSON object")
            if not self.server.up:
                return error(503, "loading", "the model is loading")
            try:
                response: web.StreamResponse = await handler(request, body)
            except Bad as bad:
                return error(bad.status, bad.code, str(bad))
            return response

        return handle

    def _model(self, body: Body) -> str:
        name = body.get("model", self.server.settings.model)
        if name != self.server.settings.model:
            raise Bad(f"The model `{name}` does not exist.", 404, "model_not_found")
        return str(name)

    def _asks(self, prompt: str, body: Body, limit: str = "max_tokens") -> list[Ask]:
        most = body.get(limit, body.get("max_completion_tokens", body.get("max_tokens", 32)))
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise Bad(f"{limit}: expected a whole number from 1")
        length = self.server.settings.context_length
        if len(tokens_of(prompt)) + most > length:
            raise Bad(f"This model's maximum context length is {length} tokens.", code="context_length_exceeded")
        stop = body.get("stop") or ()
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        count = body.get("n", 1)
        if not isinstance(count, int) or not 1 <= count <= 16:
            raise Bad("n: expected a whole number from 1 to 16")
        return [Ask(prompt, most, stops, index) for index in range(count)]

    async def _whole(self, ask: Ask) -> tuple[str, Job]:
        said = [(piece, job) async for piece, job in self.server.runtime.generate(ask)]
        return "".join(piece for piece, _ in said), said[-1][1]

    async def _answers(self, asks: list[Ask]) -> list[tuple[str, Job]]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._whole(ask)) for ask in asks]
        return [task.result() for task in tasks]

    async def chat(self, request: web.Request, body: Body) -> web.StreamResponse:
        model, prompt = self._model(body), chat_prompt(body.get("messages"))
        asks = self._asks(prompt, body)
        head = {"id": f"chatcmpl-{seed_of(prompt):x}", "created": int(time.time()), "model": model}
        if body.get("stream"):
            first: Body = {"role": "assistant", "content": ""}
            return await self._stream(
                request,
                asks,
                body,
                {**head, "object": "chat.completion.chunk"},
                opening=[{"index": ask.index, "delta": first, "finish_reason": None} for ask in asks],
                shape=lambda index, piece, why: {
                    "index": index,
                    "delta": {"content": piece} if piece else {},
                    "finish_reason": why,
                },
            )
        answers = await self._answers(asks)
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": text},
                "finish_reason": job.finish,
                "logprobs": None,
            }
            for i, (text, job) in enumerate(answers)
        ]
        usage = usage_of([job for _, job in answers])
        return web.json_response({**head, "object": "chat.completion", "choices": choices, "usage": usage})

    async def completions(self, request: web.Request, body: Body) -> web.StreamResponse:
        model, prompt = self._model(body), body.get("prompt")
        if not isinstance(prompt, str):
            raise Bad("prompt: expected a string")
        asks = self._asks(prompt, body)
        head = {
            "id": f"cmpl-{seed_of(prompt):x}",
            "created": int(time.time()),
            "model": model,
            "object": "text_completion",
        }
        if body.get("stream"):
            return await self._stream(
                request,
                asks,
                body,
                head,
                opening=[],
                shape=lambda index, piece, why: {"index": index, "text": piece, "finish_reason": why},
            )
        answers = await self._answers(asks)
        choices = [
            {"index": i, "text": text, "finish_reason": job.finish, "logprobs": None}
            for i, (text, job) in enumerate(answers)
        ]
        usage = usage_of([job for _, job in answers])
        return web.json_response({**head, "choices": choices, "usage": usage})

    async def _stream(
        self,
        request: web.Request,
        asks: list[Ask],
        body: Body,
        head: Body,
        *,
        opening: list[Body],
        shape: Callable[[int, str, str | None], Body],
    ) -> web.StreamResponse:
        stream = await EventStream.open(request, self.server.faults.drop_after)
        jobs: list[Job] = []
        for ask in asks:
            async for piece, running in self.server.runtime.generate(ask):
                if running not in jobs:  # as engines do, the head of an answer waits for its first token
                    jobs.append(running)
                    for choice in opening[ask.index : ask.index + 1]:
                        await stream.send({**head, "choices": [choice]})
                if piece:
                    await stream.send({**head, "choices": [shape(ask.index, piece, None)]})
            await stream.send({**head, "choices": [shape(ask.index, "", jobs[-1].finish)]})
        options = body.get("stream_options") or {}
        if isinstance(options, dict) and options.get("include_usage"):
            await stream.send({**head, "choices": [], "usage": usage_of(jobs)})
        return await stream.end("[DONE]")

    async def generate(self, request: web.Request, body: Body) -> web.StreamResponse:
        text = body.get("text")
        if text is None and isinstance(body.get("input_ids"), list):
            text = " ".join(map(str, body["input_ids"]))
        if not isinstance(text, str):
            raise Bad("text: expected a string, or input_ids")
        sampling = body.get("sampling_params") or {}
        ask = self._asks(text, sampling if isinstance(sampling, dict) else {}, "max_new_tokens")[0]
        if body.get("stream"):
            stream = await EventStream.open(request, self.server.faults.drop_after)
            said = ""
            async for piece, job in self.server.runtime.generate(ask):
                said += piece
                await stream.send({"text": said, "meta_info": meta_of(job)})
            return await stream.end("[DONE]")
        said, job = await self._whole(ask)
        return web.json_response({"text": said, "meta_info": meta_of(job)})

    async def responses(self, request: web.Request, body: Body) -> web.StreamResponse:
        model, given = self._model(body), body.get("input")
        prompt = given if isinstance(given, str) else chat_prompt(given)
        ask = self._asks(prompt, body, "max_output_tokens")[0]
        head: Body = {"id": f"resp_{seed_of(prompt):x}", "object": "response", "model": model}
        if body.get("stream"):
            stream = await EventStream.open(request, self.server.faults.drop_after)
            await stream.send({"type": "response.created", "response": {**head, "status": "in_progress"}}, named=True)
            said = ""
            async for piece, _ in self.server.runtime.generate(ask):
                said += piece
                await stream.send({"type": "response.output_text.delta", "delta": piece}, named=True)
            done = {**head, "status": "completed", "output": output_of(said)}
            await stream.send({"type": "response.completed", "response": done}, named=True)
            return await stream.end()
        said, job = await self._whole(ask)
        usage = {"input_tokens": len(job.tokens), "output_tokens": len(job.out)}
        return web.json_response({**head, "status": "completed", "output": output_of(said), "usage": usage})

    async def messages(self, request: web.Request, body: Body) -> web.StreamResponse:
        model, prompt = self._model(body), chat_prompt(body.get("messages"))
        ask = self._asks(prompt, body)[0]
        head: Body = {"id": f"msg_{seed_of(prompt):x}", "type": "message", "role": "assistant", "model": model}
        if body.get("stream"):
            stream = await EventStream.open(request, self.server.faults.drop_after)
            await stream.send({"type": "message_start", "message": {**head, "content": []}}, named=True)
            async for piece, _ in self.server.runtime.generate(ask):
                delta = {"type": "text_delta", "text": piece}
                await stream.send({"type": "content_block_delta", "index": 0, "delta": delta}, named=True)
            await stream.send({"type": "message_stop"}, named=True)
            return await stream.end()
        said, job = await self._whole(ask)
        reason = "max_tokens" if job.finish == "length" else "stop_sequence"
        usage = {"input_tokens": len(job.tokens), "output_tokens": len(job.out)}
        content = [{"type": "text", "text": said}]
        return web.json_response({**head, "content": content, "stop_reason": reason, "usage": usage})

    async def embeddings(self, request: web.Request, body: Body) -> web.Response:
        model, given = self._model(body), body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Bad("input: expected a string or a list of strings")
        data = [
            {
                "object": "embedding",
                "index": i,
                "embedding": [seed_of(f"{d}:{text}") % 2001 / 1000 - 1 for d in range(16)],
            }
            for i, text in enumerate(texts)
        ]
        count = sum(len(tokens_of(text)) for text in texts)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return web.json_response({"object": "list", "model": model, "data": data, "usage": usage})

    async def rerank(self, request: web.Request, body: Body) -> web.Response:
        documents = body.get("documents")
        if not isinstance(body.get("query"), str) or not isinstance(documents, list):
            raise Bad("query and documents: expected a string and a list")
        results: list[Body] = [
            {
                "index": i,
                "relevance_score": seed_of(f"{body['query']}:{text}") % 1000 / 1000,
                "document": {"text": text},
            }
            for i, text in enumerate(documents)
        ]
        results.sort(key=lambda result: result["relevance_score"], reverse=True)
        return web.json_response({"id": "rerank", "model": self._model(body), "results": results})

    async def classify(self, request: web.Request, body: Body) -> web.Response:
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list):
            raise Bad("input: expected a string or a list of strings")
        data = [
            {"index": i, "label": ("no", "yes")[seed_of(str(text)) % 2], "probs": [0.5, 0.5]}
            for i, text in enumerate(texts)
        ]
        return web.json_response({"object": "list", "model": self._model(body), "data": data})

    async def transcribe(self, request: web.Request) -> web.Response:
        if not request.content_type.startswith("multipart/"):
            return error(400, "invalid_request", "expected multipart/form-data")
        form = await request.post()
        file = form.get("file")
        if not isinstance(file, web.FileField):
            return error(400, "invalid_request", "file: missing")
        if form.get("model") != self.server.settings.model:
            return error(404, "model_not_found", f"The model `{form.get('model')!r}` does not exist.")
        size = len(file.file.read())
        return web.json_response({"text": f"{size} bytes of sound"})

    async def tokenize(self, request: web.Request, body: Body) -> web.Response:
        text = body["prompt"] if isinstance(body.get("prompt"), str) else chat_prompt(body.get("messages"))
        tokens = [seed_of(token) % 50000 for token in tokens_of(text)]
        return web.json_response(
            {"tokens": tokens, "count": len(tokens), "max_model_len": self.server.settings.context_length}
        )


class EventStream:
    """A server-sent event stream; breaks off after so many events where a fault says so."""

    def __init__(self, request: web.Request, response: web.StreamResponse, drop_after: int) -> None:
        self._request = request
        self._response = response
        self._left = drop_after

    @classmethod
    async def open(cls, request: web.Request, drop_after: int) -> "EventStream":
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        return cls(request, response, drop_after)

    async def send(self, event: Body, *, named: bool = False) -> None:
        name = f"event: {event['type']}\n" if named else ""
        await self._response.write(f"{name}data: {json.dumps(event)}\n\n".encode())
        if self._left:
            self._left -= 1
            if not self._left and self._request.transport is not None:
                self._request.transport.abort()
                raise ConnectionResetError("dropped as told")

    async def end(self, last: str = "") -> web.StreamResponse:
        if last:
            await self._response.write(f"data: {last}\n\n".encode())
        await self._response.write_eof()
        return self._response


def chat_prompt(messages: object) -> str:
    """The messages as one prompt. Raises Bad where they are not messages."""
    if not isinstance(messages, list) or not messages:
        raise Bad("messages: expected a list of messages")
    lines = []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Bad("messages: each needs a role")
        content = message.get("content") or ""
        if isinstance(content, list):
            content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        lines.append(f"<{message['role']}> {content}")
    return "\n".join(lines)


def usage_of(jobs: list[Job]) -> Body:
    """OpenAI's usage over all answers of a request."""
    prompt, out = len(jobs[0].tokens), sum(len(job.out) for job in jobs)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": out,
        "total_tokens": prompt + out,
        "prompt_tokens_details": {"cached_tokens": jobs[0].cached},
    }


def meta_of(job: Job) -> Body:
    """SGLang's meta_info."""
    return {
        "prompt_tokens": len(job.tokens),
        "completion_tokens": len(job.out),
        "cached_tokens": job.cached,
        "finish_reason": {"type": job.finish, "length": len(job.out)} if job.finish else None,
    }


def output_of(text: str) -> list[Body]:
    """The output member of a response object."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return [{"type": "message", "role": "assistant", "status": "completed", "content": content}]
