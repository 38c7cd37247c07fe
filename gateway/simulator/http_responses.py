"""OpenAI's responses: one answer to an input, whole or as named events. Nothing is stored."""

import time
from typing import Any

from aiohttp import web

from gateway.simulator.http_answers import EventStream, json_answer
from gateway.simulator.planning import Body, Planned, Prompt, chat_prompt, content_text, flag, plan, sampling_of
from gateway.simulator.state import Simulation
from gateway.simulator.text import text_number


async def responses(simulation: Simulation, request: web.Request, body: Body) -> web.StreamResponse:
    """`/v1/responses`."""
    model = simulation.check_model(body)
    given = body.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    system = content_text(body.get("instructions"), "instructions")
    prompt = chat_prompt(messages, "input", system)
    [choice] = plan(Prompt.of_text(prompt), sampling_of(body, "max_output_tokens"), simulation.settings.room)
    number = text_number(prompt)
    head = {
        "id": f"resp_{number:x}",
        "object": "response",
        "created_at": int(time.time()),
        "model": model,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": {},
    }
    if flag(body, "stream"):
        return await _stream(simulation, request, body, choice, head, f"msg_{number:x}")
    with simulation.generation([choice], body) as generation:
        await generation.whole()
    return json_answer(_ended(choice, head, f"msg_{number:x}"))


def _item(identifier: str, text: str | None, status: str) -> dict[str, Any]:
    content = [] if text is None else [_part(text)]
    return {"id": identifier, "type": "message", "role": "assistant", "status": status, "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _ended(choice: Planned, head: Body, item: str) -> dict[str, Any]:
    """The response object once the answer is whole."""
    job, cut = choice.job, choice.answer.finish == "length"
    return {
        **head,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": [_item(item, choice.answer.text, "incomplete" if cut else "completed")],
        "usage": {
            "input_tokens": job.prompt_tokens,
            "input_tokens_details": {"cached_tokens": job.cached},
            "output_tokens": job.generated,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": job.prompt_tokens + job.generated,
        },
    }


async def _stream(
    simulation: Simulation, request: web.Request, body: Body, choice: Planned, head: Body, item: str
) -> web.StreamResponse:
    generation = simulation.generation([choice], body)
    stream = await EventStream.begin(request, simulation)
    sent = 0

    async def send(*events: dict[str, Any]) -> None:
        nonlocal sent
        await stream.send([{**event, "sequence_number": sent + at} for at, event in enumerate(events)], named=True)
        sent += len(events)

    here = {"item_id": item, "output_index": 0, "content_index": 0}
    begun = {**head, "status": "in_progress", "output": []}
    with generation:
        await send(
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
            {"type": "response.output_item.added", "output_index": 0, "item": _item(item, None, "in_progress")},
            {"type": "response.content_part.added", **here, "part": _part("")},
        )
        while not generation.ended:
            pieces = [piece for _, piece in await generation.fresh() if piece]
            await send(
                *({"type": "response.output_text.delta", **here, "delta": piece, "logprobs": []} for piece in pieces)
            )
    text, ended = choice.answer.text, _ended(choice, head, item)
    await send(
        {"type": "response.output_text.done", **here, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **here, "part": _part(text)},
        {"type": "response.output_item.done", "output_index": 0, "item": ended["output"][0]},
        {"type": f"response.{ended['status']}", "response": ended},
    )
    return await stream.end(b"")
