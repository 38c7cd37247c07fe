"""What is answered without generating: embeddings, rerank, classify, transcriptions. A function of the input."""

import time

from aiohttp import web

from gateway.simulator.http_answers import error, json_answer, openai_error
from gateway.simulator.planning import Bad, Body, Prompt, texts_of, whole, wrong
from gateway.simulator.state import Simulation
from gateway.simulator.text import text_number, tokens_of

DIMENSIONS = 16
LABELS = ("negative", "positive")


def _usage(count: int) -> dict[str, int]:
    return {"prompt_tokens": count, "total_tokens": count}


async def embeddings(simulation: Simulation, request: web.Request, body: Body) -> web.StreamResponse:
    """`/v1/embeddings`."""
    model, inputs = simulation.check_model(body), simulation.prompts(body.get("input"), "input")
    size = whole(body, "dimensions", 1, 4096) or DIMENSIONS
    if body.get("encoding_format") not in (None, "float"):
        return _base64_embeddings(model, inputs, size)
    data = [
        {"object": "embedding", "index": at, "embedding": vector(each.text, size)} for at, each in enumerate(inputs)
    ]
    count = sum(len(each.tokens) for each in inputs)
    return json_answer({"object": "list", "model": model, "data": data, "usage": _usage(count)})


def _base64_embeddings(model: str, inputs: list[Prompt], size: int) -> web.Response:
    """The form in which OpenAI's own client asks for them: little-endian floats of 32 bits."""
    import base64
    import struct

    data = [
        {
            "object": "embedding",
            "index": at,
            "embedding": base64.b64encode(struct.pack(f"<{size}f", *vector(each.text, size))).decode(),
        }
        for at, each in enumerate(inputs)
    ]
    count = sum(len(each.tokens) for each in inputs)
    return json_answer({"object": "list", "model": model, "data": data, "usage": _usage(count)})


def vector(text: str, size: int) -> list[float]:
    """Numbers from -1 to 1 that 32 bits hold exactly: the same on every wire."""
    return [(text_number(f"{at}:{text}") % 2049) / 1024 - 1 for at in range(size)]


async def rerank(simulation: Simulation, request: web.Request, body: Body) -> web.StreamResponse:
    """`/v1/rerank` and `/rerank`: best first."""
    model, query = simulation.check_model(body), body.get("query")
    if not isinstance(query, str):
        raise wrong("query", query, "a string")
    documents = texts_of(body, "documents")
    results = [
        {
            "index": at,
            "relevance_score": text_number(f"{query}\0{text}") % 10_000 / 10_000,
            "document": {"text": text},
        }
        for at, text in enumerate(documents)
    ]
    results.sort(key=lambda result: (-float(str(result["relevance_score"])), int(str(result["index"]))))
    best = results[: whole(body, "top_n", 1, len(documents)) or len(documents)]
    count = len(tokens_of(query)) + sum(len(tokens_of(text)) for text in documents)
    return json_answer(
        {"id": f"rerank-{text_number(query):x}", "model": model, "results": best, "usage": {"total_tokens": count}}
    )


async def classify(simulation: Simulation, request: web.Request, body: Body) -> web.StreamResponse:
    """`/v1/classify`."""
    model, texts = simulation.check_model(body), texts_of(body, "input")
    data = []
    for at, text in enumerate(texts):
        share = text_number(text) % 1001 / 1000
        probabilities = [round(1 - share, 3), share]
        label = LABELS[share >= 0.5]
        data.append({"index": at, "label": label, "probs": probabilities, "num_classes": len(LABELS)})
    count = sum(len(tokens_of(text)) for text in texts)
    identifier = f"classify-{text_number(texts[0]):x}"
    return json_answer(
        {
            "id": identifier,
            "object": "list",
            "created": int(time.time()),
            "model": model,
            "data": data,
            "usage": _usage(count),
        }
    )


async def transcribe(simulation: Simulation, request: web.Request) -> web.StreamResponse:
    """`/v1/audio/transcriptions`: a text that tells how many bytes arrived."""
    if request.content_type != "multipart/form-data":
        return error(
            400, "invalid_request", f"content-type: given {request.content_type}, expected multipart/form-data"
        )
    try:
        form = await request.post()
    except ValueError as broken:
        return error(400, "invalid_request", f"the body is not multipart/form-data: {broken}")
    file, name = form.get("file"), form.get("model")
    try:
        simulation.check_model({"model": name})
        if not isinstance(file, web.FileField):
            raise wrong("file", file, "a file")
    except Bad as bad:
        return openai_error(bad)
    text = f"{len(file.file.read())} bytes of sound"
    if form.get("response_format") == "text":
        return web.Response(text=text + "\n")
    return json_answer({"text": text})
