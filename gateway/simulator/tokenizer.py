"""A real tokenizer for simulated engines: byte-level BPE, trained here on the words that answers are made of.

Every piece of a simulated answer is one token, so an answer has as many tokens whether it is counted by pieces or
by ids, and engines that speak text and engines that speak ids say and count the same. Anything else is encoded
too, in more tokens. Training takes a moment and always gives the same; the `tokenizers` library is loaded by who
asks for one.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from gateway.simulator.text import WORDS, text_number

TURN = "<|turn|>"
"""Begins each message, and the reply."""
END = "<|end|>"
VOCABULARY = 6144
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|turn|><' + message['role'] + '> ' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- elif message['content'] -%}"
    "{%- for part in message['content'] -%}"
    "{{- ' ' if not loop.first -}}"
    "{{- part['text'] if part['text'] is string else '[' + part['type'] + ']' -}}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{{- '<|turn|>' if add_generation_prompt -}}"
)
_PARTS_OF_SPEECH = r" ?\S+|\s+"


def forms() -> list[str]:
    """Every piece an answer may be made of."""
    words = [form for word in WORDS for form in (word, word.capitalize())]
    return [space + word + stop for word in words for space in ("", " ") for stop in ("", ".")]


class SimTokenizer:
    """The trained tokenizer, with what a simulated engine needs of it."""

    def __init__(self) -> None:
        self.backend: Any = _trained()
        self.vocabulary: int = self.backend.get_vocab_size()
        self.end_id: int = self.backend.token_to_id(END)
        self.turn_id: int = self.backend.token_to_id(TURN)
        pieces = forms()
        self._ids = {
            piece: found.ids[0]
            for piece, found in zip(pieces, self.backend.encode_batch_fast(pieces), strict=True)
            if len(found.ids) == 1
        }
        self._words = list(self._ids.values())
        if missing := [piece for piece in pieces if piece not in self._ids]:
            raise RuntimeError(f"the simulated tokenizer takes {missing[0]!r} apart")

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Lone surrogates, which no tokenizer takes, become question marks."""
        found: list[int] = self.backend.encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False).ids
        return found

    def encode_chat(self, lines: Iterable[str]) -> list[int]:
        """The ids that the chat template gives for messages, each as `<role> content`."""
        return self.encode("".join(TURN + line for line in lines) + TURN)

    def prompt_text(self, ids: Sequence[int]) -> str:
        """The text that ids mean: messages on lines of their own, without what marks them."""
        parts: list[list[int]] = [[]]
        for token in ids:
            if token == self.turn_id:
                parts.append([])
            else:
                parts[-1].append(token)
        texts = [self.backend.decode(part, skip_special_tokens=True) for part in parts]
        if len(texts) == 1:
            return str(texts[0])
        return "\n".join(texts[1:] if texts[-1] else texts[1:-1])

    def ids_of(self, pieces: Sequence[str]) -> list[int]:
        """The ids of an answer's pieces; the empty one is its end."""
        return [self._ids[piece] if piece else self.end_id for piece in pieces]

    def logprobs(self, ids: Sequence[int], at: int, count: int) -> tuple[float, list[tuple[int, float]]]:
        """The log probability of the token at a place, and the `count` likeliest there: functions of the ids."""
        seed = text_number(f"{at}:{ids[at]}")
        own = -(seed % 512) / 1024  # exact in 32 bits, so that it is the same on every wire
        others = [
            token for nth in range(count + 1) if (token := self._words[(seed + nth) % len(self._words)]) != ids[at]
        ]
        return own, [(token, own - nth) for nth, token in enumerate((ids[at], *others))][:count]

    def text_of(self, token: int) -> str:
        """The text of one token, those of special ones too."""
        found: str = self.backend.decode([token], skip_special_tokens=False)
        return found


@cache
def sim_tokenizer() -> SimTokenizer:
    """The one of this process."""
    return SimTokenizer()


@cache
def archive() -> tuple[bytes, str]:
    """The tokenizer's directory as a zip, and its sha256."""
    tokenizer = sim_tokenizer()
    special = {"eos_token": END, "additional_special_tokens": [TURN]}
    files = {
        "tokenizer.json": tokenizer.backend.to_str(),
        "tokenizer_config.json": json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "chat_template": CHAT_TEMPLATE,
                "clean_up_tokenization_spaces": False,
                "model_max_length": 32768,
                **special,
            }
        ),
        "special_tokens_map.json": json.dumps(special),
        "generation_config.json": json.dumps({"eos_token_id": tokenizer.end_id}),
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in files.items():
            packed.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    data = made.getvalue()
    return data, hashlib.sha256(data).hexdigest()


def _trained() -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PARTS_OF_SPEECH), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=1,
        show_progress=False,
        special_tokens=[AddedToken(TURN, special=True), AddedToken(END, special=True)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(forms(), trainer)
    return made
