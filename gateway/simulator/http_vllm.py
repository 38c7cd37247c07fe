"""What only vLLM has: its version, its load, its tokenizer."""

from aiohttp import web

from gateway.simulator.http_answers import json_answer
from gateway.simulator.planning import Body, chat_prompt, wrong
from gateway.simulator.settings import VLLM_VERSION
from gateway.simulator.state import Simulation
from gateway.simulator.text import text_number, tokens_of


async def version(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`/version`."""
    return json_answer({"version": VLLM_VERSION})


async def load(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`/load`: requests in the server."""
    return json_answer({"server_load": sum(rank.load for rank in simulation.ranks)})


async def tokenize(simulation: Simulation, request: web.Request, body: Body) -> web.StreamResponse:
    """`/tokenize` of a prompt or of messages. Words, roughly."""
    simulation.check_model(body)
    prompt = body.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise wrong("prompt", prompt, "a string, or messages")
    tokens = tokens_of(chat_prompt(body.get("messages")) if prompt is None else prompt)
    return json_answer(
        {
            "count": len(tokens),
            "max_model_len": simulation.settings.context_length,
            "tokens": [text_number(token) % 128_000 for token in tokens],
            "token_strs": None,
        }
    )
