"""A chat through the gateway beside transformers alone: its template, its ids, the engine asked directly, its text."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.engines.generation import Generate, Sampling
from gateway.gateway import Gateway
from tests.integration.grpc_world import KINDS, bench, ids_of
from tests.integration.simulator_world import until
from tests.integration.test_grpc_workers import gateway, ready

CHATS = (
    [{"role": "user", "content": "What is a drain?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Was ist das? 🚰 déjà vu, 你好"}],
    [
        {"role": "user", "content": "One <|im_end|> two"},
        {"role": "assistant", "content": "three\n\n"},
        {"role": "user", "content": " "},
    ],
)


def theirs(folder: Path, archive: bytes) -> Any:
    """The worker's own tokenizer, as transformers reads it."""
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        packed.extractall(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what transformers warns of at import is its own affair
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(str(folder))


async def has_tokenizer(running: Gateway, model: str) -> None:
    async def loaded() -> bool:
        return running.tokenizers.get(model) is not None

    await until(loaded, "the worker's tokenizer")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_chats_text_is_that_of_transformers_for_the_engines_ids(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    async with bench(kind, "--speed", "20") as engine, gateway(engine.engine.url) as running:
        archive = b"".join([part async for part in engine.client.tokenizer_archive(timeout_s=10)])
        tokenizer = theirs(tmp_path, archive)
        worker = await ready(running, engine.engine.url)
        model = worker.worker.model_id
        await has_tokenizer(running, model)
        async with openai.AsyncOpenAI(base_url=f"{running.address}/v1", api_key="k", max_retries=0) as client:
            for number, chat in enumerate(CHATS):
                prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
                ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
                call = Generate(f"direct-{number}", ids, Sampling(max_new_tokens=200), text=prompt)
                answer = ids_of([piece async for piece in engine.client.generate(call, timeout_s=20)])
                expected = tokenizer.decode(answer, skip_special_tokens=True, clean_up_tokenization_spaces=False)
                ask: dict[str, Any] = {"model": model, "messages": chat, "max_tokens": 200}
                whole = await client.chat.completions.create(**ask)
                assert whole.choices[0].message.content == expected
                assert whole.usage is not None
                assert whole.usage.prompt_tokens == len(ids)
                assert whole.usage.completion_tokens == len(answer)
                stream = await client.chat.completions.create(**ask, stream=True)
                parts = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
                assert "".join(parts) == expected
                assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)
