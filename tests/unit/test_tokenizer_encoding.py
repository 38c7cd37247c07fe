"""Encoding through caches, pieces and threads gives exactly what the tokenizers library gives for the whole text."""

import asyncio
import os
from array import array
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from random import Random
from threading import Event

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from gateway.tokenizers.cache import IdCache, entry_bytes
from gateway.tokenizers.encode import INLINE_CHARS, CacheSettings, Encoding
from gateway.tokenizers.engine import Engine, engine_of
from gateway.tokenizers.errors import NotText, TokenizerBroken
from gateway.tokenizers.pieces import Anatomy, Cutter, Special, may_cut_before, objections
from gateway.tokenizers.trial import cutting_objections
from tests.unit import tokenizer_families as families

NAMES = [*families.TRAINED, *families.installed()]
PROMPTS = int(os.environ.get("SMG_CONSOLE_TEST_PROMPTS", "1500"))
"""For each family; 100,000 take about three minutes in all."""


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def engine(name: str) -> Engine:
    data = families.trained(name) if name in families.TRAINED else families.published(name)
    return engine_of(data, name)


@pytest.mark.parametrize("name", NAMES)
async def test_cached_and_plain_encoding_are_identical(name: str, pool: Executor) -> None:
    made, rng = engine(name), Random(name)
    assert cutting_objections(made, Random(1)) == []
    encoding = Encoding(made, pool, CacheSettings(exact_bytes=2_000_000, prefix_bytes=200_000))
    specials = [special.content for special in made.anatomy.specials][:40]
    wrong = []
    for _ in range(PROMPTS // 500):
        texts = [families.prompt(rng, specials) for _ in range(450)]
        texts += rng.choices(texts, k=50)
        for text, plain in zip(texts, made.encode_many(texts), strict=True):
            if await encoding.encode(text) != plain:
                wrong.append(text)
    assert wrong == []
    exact, prefix = encoding.counts()
    assert exact is not None
    assert prefix is not None
    assert exact.hits > 0
    assert prefix.hits > 100
    assert prefix.bytes <= prefix.max_bytes


@pytest.mark.parametrize("name", families.TRAINED)
async def test_a_text_encoded_in_a_thread_has_the_ids_of_one_encoded_inline(name: str, pool: Executor) -> None:
    made = engine(name)
    text = "\n".join(families.natural()[:50])
    assert len(text) > INLINE_CHARS
    assert await Encoding(made, pool).encode(text) == made.encode(text)
    assert await Encoding(made, pool).encode_with_special(text) == made.encode(text, add_special=True)


async def test_what_the_tokenizer_adds_of_itself_is_added_only_when_asked(pool: Executor) -> None:
    encoding = Encoding(engine("llama3"), pool, CacheSettings())
    plain = await encoding.encode("Hello")
    assert list(await encoding.encode_with_special("Hello")) == [0, *plain]
    assert await encoding.encode("Hello") == plain
    assert list(await encoding.encode_with_special("Hello")) == [0, *plain]
    exact, _ = encoding.counts()
    assert exact is not None
    assert (exact.hits, exact.misses) == (2, 2)
    with pytest.raises(NotText):
        await encoding.encode("\ud800Hello")


async def test_a_chat_that_grows_is_encoded_only_where_it_is_new(pool: Executor) -> None:
    encoding = Encoding(engine("qwen"), pool, CacheSettings(exact_bytes=0))
    text = ""
    for turn in range(20):
        text += f"<|im_start|>user\nquestion {turn}<|im_end|>\n"
        await encoding.encode(text)
    _, prefix = encoding.counts()
    assert prefix is not None
    # Two new pieces a turn, of which the one between messages, "<|im_end|>\n", is always the same.
    assert prefix.misses == 20 + 1
    assert prefix.hits == sum(2 * turn for turn in range(1, 21)) - prefix.misses


@pytest.mark.parametrize("bad", ["\ud800", "abc \udfff def", "<|im_start|>\ud83d" + "x" * 5000])
async def test_half_a_surrogate_pair_is_refused_with_its_place(bad: str, pool: Executor) -> None:
    encoding = Encoding(engine("qwen"), pool, CacheSettings())
    with pytest.raises(NotText, match="half of a surrogate pair"):
        await encoding.encode(bad)


async def test_a_cancelled_caller_leaves_the_queue_before_its_text_is_encoded() -> None:
    made = engine("qwen")
    with ThreadPoolExecutor(1) as pool:
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        hold = Event()
        pool.submit(lambda: (loop.call_soon_threadsafe(gate.set), hold.wait(30)))
        await gate.wait()
        encoding = Encoding(made, pool, CacheSettings())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(encoding.encode("long " * 2000), 0.01)
        assert pool._work_queue.qsize() == 1  # the library drops it when its turn comes
        hold.set()
        assert await encoding.encode("long " * 2000) == made.encode("long " * 2000)


def test_pieces_joined_are_the_text_and_begin_with_tokens_that_may_be_cut_before() -> None:
    cutter = Cutter([Special("<a>"), Special("<ab>"), Special("<l>", lstrip=True), Special("[x]", single_word=True)])
    text = "one<a> two <ab><l>three[x]<a"
    assert cutter.pieces(text) == ["one", "<a> two ", "<ab><l>three[x]<a"]
    assert cutter.pieces("<a>") == ["<a>"]
    assert cutter.pieces("") == [""]


def test_a_token_inside_a_longer_one_is_no_place_to_cut() -> None:
    assert Cutter([Special("<a><b>"), Special("<b>")]).pieces("x<a><b>y<b>") == ["x", "<a><b>y", "<b>"]
    assert Cutter([Special("[<b"), Special("<b>")]).pieces("x[<b>y<b>") == ["x", "[<b>y", "<b>"]


@pytest.mark.parametrize(
    ("special", "safe"),
    [
        (Special("<s>"), True),
        (Special("<s>", rstrip=True), True),
        (Special("<s>", lstrip=True), False),
        (Special("<s>", single_word=True), False),
        (Special("mask"), False),
        (Special("_x"), False),
        (Special(" <s>"), False),
        (Special("▁<s>"), True),
    ],
)
def test_what_a_token_says_decides_whether_one_may_cut_before_it(special: Special, safe: bool) -> None:
    assert may_cut_before(special) is safe


def test_a_tokenizer_with_unknown_parts_or_dropout_is_not_cut() -> None:
    known = Anatomy("BPE", False, None, {"type": "ByteLevel"}, (Special("<s>"),))
    assert objections(known) == []
    strange = Anatomy("Magic", True, {"type": "Sequence", "normalizers": [{"type": "Odd"}]}, None, ())
    assert objections(strange) == [
        "its model Magic is not known",
        "its model has a dropout, so that encoding twice differs",
        "its part Odd is not known",
        "it has no special token before which a text may be cut",
    ]


async def test_a_tokenizer_that_fails_the_trial_has_no_prefix_cache_and_says_why(pool: Executor) -> None:
    made = engine("qwen")
    made.anatomy = Anatomy("BPE", False, None, None, (Special("e q"), *made.anatomy.specials, Special("<|not")))
    found = cutting_objections(made, Random(1))  # it cuts inside what is no special token
    assert len(found) == 1
    assert found[0].startswith("a text cut at its special tokens gave other ids")
    encoding = Encoding(made, pool, CacheSettings(), prefix_off=found)
    await encoding.encode("<|im_start|>a<|im_end|>")
    assert encoding.counts()[1] is None
    assert encoding.prefix_off == tuple(found)


def test_truncation_and_padding_of_the_file_are_switched_off() -> None:
    tokenizer = Tokenizer.from_buffer(families.trained("wordpiece"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    made = engine_of(tokenizer.to_str().encode(), "file")
    assert len(made.encode("one two three four five six")) >= 6
    assert len(made.encode("one")) < 10


def test_the_least_recently_used_entry_goes_first_and_the_bytes_stay_bounded() -> None:
    ids = array("I", range(10))
    cache = IdCache(3 * entry_bytes("a", ids))
    for text in "abc":
        cache.put(text, ids)
    assert cache.get("a") == ids
    cache.put("d", ids)
    assert [cache.get(text) is not None for text in "abcd"] == [True, False, True, True]
    counts = cache.counts()
    assert (counts.hits, counts.misses, counts.evicted, counts.entries) == (4, 1, 1, 3)
    assert counts.bytes == counts.max_bytes
    cache.put("too large" * 1000, ids)
    assert cache.counts().entries == 3


def test_an_entry_replaced_is_counted_once() -> None:
    cache = IdCache(10_000, max_entries=2)
    cache.put("a", array("I", [1]))
    cache.put("a", array("I", [1, 2]))
    assert cache.counts().bytes == entry_bytes("a", array("I", [1, 2]))
    for text in "bc":
        cache.put(text, array("I"))
    assert cache.counts().entries == 2


async def test_a_panic_of_the_library_is_an_error_like_others(pool: Executor) -> None:
    tokenizer = Tokenizer.from_buffer(families.trained("qwen"))
    tokenizer.add_special_tokens([AddedToken("x", rstrip=True, normalized=False)])
    tokenizer.add_special_tokens([AddedToken("\n", lstrip=True, normalized=False)])
    made = Engine(tokenizer)
    with pytest.raises(TokenizerBroken, match=r"library failed on this input: .*bad split"):
        made.encode(" \n x \n ")
    encoding = Encoding(made, pool)
    with pytest.raises(TokenizerBroken):
        await encoding.encode(" \n x \n " * 1000)
    assert list(await encoding.encode("Hello")) == tokenizer.encode("Hello", add_special_tokens=False).ids


def test_a_word_level_tokenizer_without_special_tokens_is_left_whole() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert cutting_objections(Engine(tokenizer), Random(1)) != []
    tokenizer.add_special_tokens([AddedToken("<s>", normalized=False)])
    assert cutting_objections(Engine(tokenizer), Random(1)) == []


ODD_TOKENS = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im|>",
    "<",
    "|>",
    "[X]",
    "x",
    " y",
    "y ",
    "\n",
    "_z",
    "é",
    "<é>",
    "▁",
    "ing",
    "<<",
    "s>",
]


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_tokens_are_added_a_text_that_is_cut_keeps_its_ids(seed: int, pool: Executor) -> None:
    """Tokens that strip, look at their neighbours, overlap or are found after normalizing: cut or not, and exact."""
    rng = Random(seed)
    tokenizer = Tokenizer.from_buffer(families.trained(rng.choice(list(families.TRAINED))))
    for content in rng.sample(ODD_TOKENS, rng.randrange(1, 10)):
        token = AddedToken(
            content,
            single_word=rng.random() < 0.2,
            lstrip=rng.random() < 0.2,
            rstrip=rng.random() < 0.3,
            normalized=rng.random() < 0.3,
        )
        (tokenizer.add_special_tokens if rng.random() < 0.6 else tokenizer.add_tokens)([token])
    made = Engine(tokenizer)
    objections = cutting_objections(made, Random(1))
    encoding = Encoding(made, pool, CacheSettings(exact_bytes=0, prefix_bytes=100_000), prefix_off=objections)
    texts = []
    for _ in range(150):
        parts = rng.choices([*ODD_TOKENS, " ", "  ", "a", "word", " two words ", "É", "e\u0301", "\u0301"], k=12)
        texts.append("".join(parts) if rng.random() < 0.7 else families.prompt(rng, ODD_TOKENS))
    for text in texts:
        try:
            plain = made.encode(text)
        except TokenizerBroken:  # the library gives up on some overlaps, and so has no ids to keep
            continue
        assert await encoding.encode(text) == plain, text
