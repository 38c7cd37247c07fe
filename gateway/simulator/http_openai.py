"""OpenAI's chat completions and completions, whole and streamed."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from gateway.simulator.http_answers import EventStream, json_answer
from gateway.simulator.http_logprobs import Logprobs, chat_logprobs, nothing, text_logprobs
from gateway.simulator.planning import Body, Planned, chat_lines, flag, sampling_of, wants_usage
from gateway.simulator.state import Simulation
from gateway.simulator.text import text_number

Shape = Callable[[int, str, str | None, Any], dict[str, Any]]


async def chat(simulation: Simulation, request: web.Request, body: Body) -> web.StreamResponse:
    """`/v1/chat/completions`."""
    model, prompt = simulation.check_model(body), simulation.chat(chat_lines(body.get("messages")))
    sampling = sampling_of(body, "max_completion_tokens", "max_tokens")
    planned = simulation.plan(prompt, sampling)
    logprobs = chat_logprobs(body, prompt.text, planned) if simulation.settings.tokenizer else nothing
    head = {"id": f"chatcmpl-{text_number(prompt.text):x}", "created": int(time.time()), "model": model}
    if flag(body, "stream"):
        head["object"] = "chat.completion.chunk"
        return await _stream(simulation, request, body, planned, head, _chat_chunk, logprobs, greeting=_greeting)
    head["object"] = "chat.completion"
    return await _whole(simulation, body, planned, head, _chat_choice, logprobs)


async def completions(simulation: Simulation, request: web.Request, body: Body) -> web.StreamResponse:
    """`/v1/completions`. Each prompt of a list gets its `n` choices, numbered one after the other."""
    model, prompts = simulation.check_model(body), simulation.prompts(body.get("prompt"), "prompt")
    sampling = sampling_of(body, "max_tokens", default_limit=16)
    planned = [choice for prompt in prompts for choice in simulation.plan(prompt, sampling)]
    logprobs: Logprobs = nothing
    if simulation.settings.tokenizer:
        texts = [prompt.text for prompt in prompts for _ in range(sampling.choices)]
        logprobs = text_logprobs(body, texts, planned)
    head = {
        "id": f"cmpl-{text_number(prompts[0].text):x}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
    }
    if flag(body, "stream"):
        return await _stream(simulation, request, body, planned, head, _text_choice, logprobs)
    return await _whole(simulation, body, planned, head, _text_choice, logprobs)


def _greeting(index: int) -> dict[str, Any]:
    return {"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}


def _chat_chunk(index: int, text: str, finish: str | None, logprobs: Any) -> dict[str, Any]:
    return {
        "index": index,
        "delta": {"content": text} if text else {},
        "logprobs": logprobs,
        "finish_reason": finish,
    }


def _chat_choice(index: int, text: str, finish: str | None, logprobs: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}


def _text_choice(index: int, text: str, finish: str | None, logprobs: Any) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}


async def _whole(
    simulation: Simulation,
    body: Body,
    planned: Sequence[Planned],
    head: dict[str, Any],
    shape: Shape,
    logprobs: Logprobs,
) -> web.StreamResponse:
    with simulation.generation(planned, body) as generation:
        await generation.whole()
    choices = [
        shape(index, each.answer.text, each.answer.finish, logprobs(index, 0, len(each.answer.pieces)))
        for index, each in enumerate(planned)
    ]
    return json_answer({**head, "choices": choices, "usage": usage_of(planned)})


async def _stream(
    simulation: Simulation,
    request: web.Request,
    body: Body,
    planned: Sequence[Planned],
    head: dict[str, Any],
    shape: Shape,
    logprobs: Logprobs,
    greeting: Callable[[int], dict[str, Any]] | None = None,
) -> web.StreamResponse:
    """Choices side by side: an event a token, then one with the reason why the choice ended."""
    include_usage = wants_usage(body)
    generation = simulation.generation(planned, body)
    stream = await EventStream.begin(request, simulation)
    left = [len(each.answer.pieces) for each in planned]
    with generation:
        while not generation.ended:
            choices: list[dict[str, Any]] = []
            for index, piece in await generation.fresh():
                answer = planned[index].answer
                if greeting is not None and left[index] == len(answer.pieces):
                    choices.append(greeting(index))
                at = len(answer.pieces) - left[index]
                left[index] -= 1
                if piece or logprobs is not nothing:
                    choices.append(shape(index, piece, None, logprobs(index, at, at + 1)))
                if not left[index]:
                    choices.append(shape(index, "", answer.finish, None))
            no_usage = {"usage": None} if include_usage else {}
            await stream.send({**head, "choices": [choice], **no_usage} for choice in choices)
    if include_usage:
        await stream.send([{**head, "choices": [], "usage": usage_of(planned)}])
    return await stream.end()


def usage_of(planned: Sequence[Planned]) -> dict[str, Any]:
    """OpenAI's usage over all choices of a request. Choices of one prompt count it once."""
    jobs = [each.job for each in planned if not each.index]
    prompt = sum(job.prompt_tokens for job in jobs)
    cached = sum(job.cached for job in jobs)
    out = sum(each.job.generated for each in planned)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": out,
        "total_tokens": prompt + out,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
