"""The simulator's real tokenizer: an answer has as many tokens as pieces, and ids mean the text they came from."""

import io
import json
import zipfile
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.planning import Prompt, Room, Sampling, plan
from gateway.simulator.text import answer
from gateway.simulator.tokenizer import END, archive, sim_tokenizer

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
ROOM = Room(4096, 100_000)


@given(texts, st.integers(1, 400))
def test_every_piece_of_an_answer_is_one_token(prompt: str, limit: int) -> None:
    tokenizer, said = sim_tokenizer(), answer(prompt, limit)
    assert tokenizer.ids_of(said.pieces) == tokenizer.encode(said.text)


@given(texts)
def test_ids_mean_the_text_they_came_from(text: str) -> None:
    tokenizer = sim_tokenizer()
    if "<|" not in text:
        assert tokenizer.prompt_text(tokenizer.encode(text)) == text


def test_a_chats_ids_mean_the_prompt_that_engines_over_http_make_of_it() -> None:
    lines = ["<system> be brief", "<user> hi\nyou", "<assistant> ", "<user> ok 🙂"]
    tokenizer = sim_tokenizer()
    assert tokenizer.prompt_text(tokenizer.encode_chat(lines)) == "\n".join(lines)


def test_an_end_of_its_own_is_one_token_more_unless_the_limit_comes_first() -> None:
    prompt = Prompt.of_text("hello")
    natural = len(answer("hello").pieces)
    for limit, count, finish in ((None, natural + 1, "stop"), (natural + 1, natural + 1, "stop")):
        [each] = plan(prompt, Sampling(limit), ROOM, end_counts=True)
        assert (each.job.answer_tokens, each.answer.finish, each.answer.pieces[-1]) == (count, finish, "")
    [cut] = plan(prompt, Sampling(natural), ROOM, end_counts=True)
    assert (cut.job.answer_tokens, cut.answer.finish) == (natural, "length")


def test_the_archive_is_the_tokenizers_directory() -> None:
    from tokenizers import Tokenizer

    data, checksum = archive()
    assert sha256(data).hexdigest() == checksum
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    loaded = Tokenizer.from_str(files["tokenizer.json"].decode())
    assert loaded.encode("Worker holds.").ids == sim_tokenizer().encode("Worker holds.")
    config = json.loads(files["tokenizer_config.json"])
    assert config["eos_token"] == END
    assert json.loads(files["generation_config.json"]) == {"eos_token_id": sim_tokenizer().end_id}


def test_the_chat_template_gives_what_the_engines_over_http_count() -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    data, _ = archive()
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        template = json.loads(packed.read("tokenizer_config.json"))["chat_template"]
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "b"},
    ]
    rendered = (
        ImmutableSandboxedEnvironment().from_string(template).render(messages=messages, add_generation_prompt=True)
    )
    tokenizer = sim_tokenizer()
    assert tokenizer.encode(rendered) == tokenizer.encode_chat(["<user> a [image_url]", "<assistant> ", "<user> b"])
