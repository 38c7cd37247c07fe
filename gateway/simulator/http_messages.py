"""Anthropic's messages: whole, or as named events."""

from typing import Any

from aiohttp import web

from gateway.simulator.http_answers import EventStream, json_answer
from gateway.simulator.planning import (
    Body,
    Planned,
    Prompt,
    chat_prompt,
    content_text,
    flag,
    plan,
    sampling_of,
    wrong,
)
from gateway.simulator.state import Simulation
from gateway.simulator.text import text_number


async def messages(simulation: Simulation, request: web.Request, body: Body) -> web.StreamResponse:
    """`/v1/messages`."""
    model = simulation.check_model(body)
    prompt = chat_prompt(body.get("messages"), system=content_text(body.get("system"), "system"))
    sampling = sampling_of(body, "max_tokens", stop="stop_sequences")
    if sampling.max_tokens is None:
        raise wrong("max_tokens", None, "a whole number: this API requires it")
    [choice] = plan(Prompt.of_text(prompt), sampling, simulation.settings.room)
    head = {"id": f"msg_{text_number(prompt):x}", "type": "message", "role": "assistant", "model": model}
    if flag(body, "stream"):
        return await _stream(simulation, request, body, choice, head)
    with simulation.generation([choice], body) as generation:
        await generation.whole()
    content = [{"type": "text", "text": choice.answer.text}]
    return json_answer({**head, "content": content, **_ending(choice), "usage": _usage(choice, choice.job.generated)})


def _ending(choice: Planned) -> dict[str, Any]:
    answer = choice.answer
    if answer.matched is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": answer.matched}
    return {"stop_reason": "max_tokens" if answer.finish == "length" else "end_turn", "stop_sequence": None}


def _usage(choice: Planned, out: int) -> dict[str, Any]:
    job = choice.job
    return {
        "input_tokens": job.prompt_tokens - job.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": job.cached,
        "output_tokens": out,
    }


async def _stream(
    simulation: Simulation, request: web.Request, body: Body, choice: Planned, head: Body
) -> web.StreamResponse:
    generation = simulation.generation([choice], body)
    stream = await EventStream.begin(request, simulation)
    begun = False
    with generation:
        while not generation.ended:
            pieces = await generation.fresh()
            if not begun:
                begun = True
                nothing: Body = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(choice, 0)}
                await stream.send(
                    [
                        {"type": "message_start", "message": {**head, **nothing}},
                        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                    ],
                    named=True,
                )
            deltas = [{"type": "text_delta", "text": piece} for _, piece in pieces if piece]
            await stream.send(
                ({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas), named=True
            )
    await stream.send(
        [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": _ending(choice), "usage": {"output_tokens": choice.job.generated}},
            {"type": "message_stop"},
        ],
        named=True,
    )
    return await stream.end(b"")
