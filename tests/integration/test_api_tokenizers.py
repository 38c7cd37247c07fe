"""`/v1/tokenizers`, `/v1/tokenize` and `/v1/detokenize` answer as SMG does, key for key, and bad input by name."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import aiohttp
import pytest

from gateway.tokenizers.engine import engine_of
from gateway.tokenizers.errors import SourceUnusable
from gateway.tokenizers.places import place_of
from tests.integration.control import Control, control
from tests.integration.fleet import HeadlessGateway, until
from tests.integration.test_metrics import scrape
from tests.unit import tokenizer_families as families

ENGINE = engine_of(families.trained("qwen"), "qwen")
CALM_S = 0.03
LATE_S = 0.1
"""Tokenizing the text of that test on the loop would hold it for some 300 ms."""
TEXT = "Hello <|im_end|> Köln 👍🏽"


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A model directory."""
    (tmp_path / "tokenizer.json").write_bytes(families.trained("qwen"))
    return str(tmp_path)


@asynccontextmanager
async def with_qwen(source: str) -> AsyncIterator[Control]:
    async with control() as api:
        api.tokenizers.add("qwen", place_of(source))
        await api.tokenizers.wait("qwen", 20)
        yield api


async def test_a_tokenizer_is_added_followed_listed_shown_and_removed(source: str) -> None:
    async with control() as api:
        status, added = await api.call("POST", "/v1/tokenizers", json={"name": "owner/name", "source": source})
        assert (status, added) == (
            202,
            {
                "id": added["id"],  # type: ignore[index,call-overload]  # an object, as the comparison says
                "status": "pending",
                "message": f"Tokenizer 'owner/name' registration job submitted. Loading from: {source}",
            },
        )
        assert isinstance(added, dict)
        number = added["id"]
        assert UUID(number).version == 7
        await api.tokenizers.wait(number, 20)
        done = {
            "id": number,
            "status": "completed",
            "message": "Tokenizer 'owner/name' is loaded and ready",
            "vocab_size": 4000,
        }
        info = {"id": number, "name": "owner/name", "source": source, "vocab_size": 4000}
        for name in (number, quote("owner/name", safe="")):
            assert await api.call("GET", f"/v1/tokenizers/{name}/status") == (200, done)
            assert await api.call("GET", f"/v1/tokenizers/{name}") == (200, info)
        assert await api.call("GET", "/v1/tokenizers") == (200, {"tokenizers": [info]})
        taken = {"id": number, "status": "failed", "message": "Tokenizer 'owner/name' already exists"}
        again = await api.call("POST", "/v1/tokenizers", json={"name": "owner/name", "source": "x/y"})
        assert again == (409, taken)
        removed = {"success": True, "message": "Tokenizer 'owner/name' removed successfully"}
        assert await api.call("DELETE", f"/v1/tokenizers/{number}") == (200, removed)
        missing = {"success": False, "message": f"Tokenizer '{number}' not found"}
        assert await api.call("DELETE", f"/v1/tokenizers/{number}") == (404, missing)
        assert await api.call("GET", "/v1/tokenizers") == (200, {"tokenizers": []})


async def test_what_is_not_there_is_told_in_smgs_types() -> None:
    async with control() as api:
        assert await api.call("GET", "/v1/tokenizers/a") == (
            404,
            {"error": {"message": "Tokenizer 'a' not found", "type": "tokenizer_not_found"}},
        )
        assert await api.call("GET", "/v1/tokenizers/a/status") == (
            404,
            {"error": {"message": "Tokenizer 'a' not found and no pending job", "type": "not_found"}},
        )
        for path, body in (("tokenize", {"prompt": "a"}), ("detokenize", {"tokens": [1]})):
            text = "No tokenizers available. Use POST /v1/tokenizers to add one."
            told = {"error": {"message": text, "type": "tokenizer_not_found"}}
            assert await api.call("POST", f"/v1/{path}", json={"model": "a", **body}) == (400, told)


async def test_a_load_that_fails_later_is_told_by_its_status(source: str) -> None:
    await asyncio.to_thread(Path(source, "tokenizer.json").write_bytes, b'{"model": {"type": "Magic"}}')
    async with control() as api:
        status, added = await api.call("POST", "/v1/tokenizers", json={"name": "a", "source": source})
        assert status == 202
        assert isinstance(added, dict)

        async def failed() -> Any:
            _, told = await api.call("GET", f"/v1/tokenizers/{added['id']}/status")
            assert isinstance(told, dict)
            return told if told["status"] == "failed" else None

        told = await until(failed, "the load's end")
        assert told["message"].startswith(f"{source}: tokenizer.json: the tokenizers library cannot read it: ")
        assert await api.call("GET", "/v1/tokenizers") == (200, {"tokenizers": []})
        status, _ = await api.call("POST", "/v1/tokenizers", json={"name": "a", "source": source})
        assert status == 202  # a name that failed is free


async def test_all_there_is_to_know_of_each_tokenizer_is_told_also_of_those_that_failed(source: str) -> None:
    async with with_qwen(source) as api:
        api.tokenizers.ensure("qwen", [], ["qwen-8b"])
        api.tokenizers.add("broken", place_of("/no/such"))
        with pytest.raises(SourceUnusable):
            await api.tokenizers.wait("broken", 10)
        for _ in range(2):
            await api.call("POST", "/v1/tokenize", json={"model": "qwen", "prompt": TEXT})
        status, told = await api.call("GET", "/tokenizers")
        assert status == 200
        assert isinstance(told, dict)
        loaded, failed = told["tokenizers"]
        assert (loaded["name"], loaded["models"], loaded["status"]) == ("qwen", ["qwen", "qwen-8b"], "completed")
        assert loaded["vocab_size"] == 4000
        assert loaded["memory_bytes"] > 0
        exact = loaded["exact_cache"]
        assert (exact["enabled"], exact["hits"], exact["misses"], exact["hit_rate"]) == (True, 1, 1, 0.5)
        assert loaded["prefix_cache"]["enabled"]
        assert (failed["status"], failed["vocab_size"]) == ("failed", None)
        assert failed["message"] == "could not be loaded: /no/such: no such file or directory"
        assert failed["prefix_cache"] == {"enabled": False, "off_because": "it is not loaded"}


async def test_users_sharers_and_who_asked_are_told(source: str) -> None:
    async with with_qwen(source) as api:
        first = api.ready("grpc://10.0.0.1:1", "qwen")
        api.ready("http://10.0.0.2:1", "qwen")  # does its own tokenizing
        status, _ = await api.call("POST", "/v1/tokenizers", json={"name": "twin", "source": source})
        assert status == 202
        await api.tokenizers.wait("twin", 20)
        _, told = await api.call("GET", "/tokenizers")
        assert isinstance(told, dict)
        shown = [(row["name"], row["users"], row["shared_with"], row["automatic"]) for row in told["tokenizers"]]
        assert shown == [("qwen", [first.worker.name], ["twin"], False), ("twin", [], ["qwen"], False)]
        assert await api.call("DELETE", "/v1/tokenizers/twin") == (
            200,
            {"success": True, "message": "Tokenizer 'twin' removed successfully"},
        )
        _, told = await api.call("GET", "/tokenizers")
        assert isinstance(told, dict)
        assert [row["shared_with"] for row in told["tokenizers"]] == [[]]


async def test_a_texts_tokens_are_shown_one_by_one_past_the_caches(source: str) -> None:
    async with with_qwen(source) as api:
        status, told = await api.call("POST", "/tokenizers/qwen/tokens", json={"text": TEXT})
        assert status == 200
        assert isinstance(told, dict)
        ids = list(ENGINE.encode(TEXT))
        assert [token["id"] for token in told["tokens"]] == ids
        assert (told["count"], told["char_count"]) == (len(ids), len(TEXT))
        assert [token["text"] for token in told["tokens"] if token["special"]] == ["<|im_end|>"]
        whole = "".join(token["text"] for token in told["tokens"])
        assert whole.startswith("Hello <|im_end|> K")
        assert "\N{REPLACEMENT CHARACTER}" not in whole
        _, listed = await api.call("GET", "/tokenizers")
        assert isinstance(listed, dict)
        exact = listed["tokenizers"][0]["exact_cache"]
        assert (exact["hits"], exact["misses"]) == (0, 0)


@pytest.mark.parametrize(
    ("name", "body", "expected", "why"),
    [
        ("qwen", {"text": "x" * 16_385}, 400, "text: given 16385 characters, expected at most 16384"),
        ("qwen", {}, 400, "text: missing"),
        ("qwen", {"text": "a", "more": 1}, 400, "more: unknown field"),
        ("other", {"text": "a"}, 404, "Tokenizer for model 'other' not found"),
    ],
)
async def test_a_wrong_question_for_tokens_is_refused_by_name(
    name: str, body: dict[str, object], expected: int, why: str, source: str
) -> None:
    async with with_qwen(source) as api:
        status, told = await api.call("POST", f"/tokenizers/{name}/tokens", json=body)
        assert isinstance(told, dict)
        assert status == expected
        assert told["error"]["message"].startswith(why)


BAD_SOURCES: list[tuple[dict[str, object], str]] = [
    ({"source": "/no/such/file"}, "/no/such/file: no such file or directory"),
    ({"source": "/etc/hostname"}, "/etc/hostname: tokenizer.json: not valid JSON"),
    ({"source": "/dev/zero"}, "/dev/zero: not a regular file"),
    ({"source": "not a name"}, "not a name: neither a file or directory here nor the id"),
    ({"source": "SOURCE", "chat_template_path": "/no/such.jinja"}, "/no/such.jinja: no such file"),
]
BAD_BODIES: list[tuple[object, str]] = [
    ({"source": "a/b"}, "name: missing"),
    ({"name": "a"}, "source: missing"),
    ({"name": "", "source": "a/b"}, "name: given ''"),
    ({"name": "unknown", "source": "a/b"}, "name: given 'unknown'"),
    ({"name": 5, "source": "a/b"}, "name: given 5"),
    ({"name": "a", "source": ""}, "source: given ''"),
    ({"name": "a", "source": "a/b", "chat_template_path": "/etc/passwd"}, "chat_template_path: given '/etc/passwd'"),
    ({"name": "a", "source": "a/b", "more": 1}, "more: unknown field; accepted: name, source"),
    ([], "the body is not a JSON object"),
]


@pytest.mark.parametrize(("body", "why"), BAD_SOURCES)
async def test_a_source_of_no_use_is_refused_at_once(body: dict[str, object], why: str, source: str) -> None:
    async with control() as api:
        given = {name: source if value == "SOURCE" else value for name, value in body.items()}
        status, told = await api.call("POST", "/v1/tokenizers", json={"name": "a", **given})
        assert isinstance(told, dict)
        assert (status, told["id"], told["status"]) == (400, "", "failed")
        assert told["message"].startswith(why) or why in told["message"]
        assert api.tokenizers.entries == {}


@pytest.mark.parametrize(("body", "why"), BAD_BODIES)
async def test_a_wrong_body_is_refused_by_field(body: object, why: str) -> None:
    async with control() as api:
        status, told = await api.call("POST", "/v1/tokenizers", json=body)
        assert isinstance(told, dict)
        assert (status, told["error"]["type"]) == (400, "bad_request")
        assert told["error"]["message"].startswith(why)
        assert api.tokenizers.entries == {}


async def test_a_text_becomes_ids_without_special_tokens_and_back(source: str) -> None:
    ids = list(ENGINE.encode(TEXT))
    async with with_qwen(source) as api:
        for model in ("qwen", "", "unknown"):
            assert await api.call("POST", "/v1/tokenize", json={"model": model, "prompt": TEXT}) == (
                200,
                {"tokens": ids, "count": len(ids), "char_count": len(TEXT)},
            )
        assert await api.call("POST", "/v1/tokenize", json={"model": "qwen", "prompt": [TEXT, "", "a"]}) == (
            200,
            {
                "tokens": [ids, [], list(ENGINE.encode("a"))],
                "count": [len(ids), 0, 1],
                "char_count": [len(TEXT), 0, 1],
            },
        )
        whole = {"model": "qwen", "tokens": ids, "skip_special_tokens": False}
        assert await api.call("POST", "/v1/detokenize", json=whole) == (200, {"text": TEXT})
        assert await api.call("POST", "/v1/detokenize", json={"model": "qwen", "tokens": ids}) == (
            200,
            {"text": TEXT.replace("<|im_end|>", "")},
        )
        batch = {"model": "qwen", "tokens": [ids, []], "skip_special_tokens": False}
        assert await api.call("POST", "/v1/detokenize", json=batch) == (200, {"text": [TEXT, ""]})
        for empty, text in (([], ""), ([[]], [""])):
            assert await api.call("POST", "/v1/detokenize", json={"model": "qwen", "tokens": empty}) == (
                200,
                {"text": text},
            )


BAD_TEXTS: list[tuple[str, bytes, str]] = [
    ("tokenize", b'{"model": "qwen", "prompt": "\\ud800"}', "the body is not valid JSON"),
    ("tokenize", b'{"model": "qwen", "prompt": "a\xff"}', "the body is not valid JSON"),
    ("tokenize", b'{"model": "qwen", "prompt": "\xed\xa0\x80"}', "the body is not valid JSON"),
    ("tokenize", b'{"model": "qwen", "prompt": ', "the body is not valid JSON"),
    ("tokenize", b'{"model": "qwen", "prompt": 5}', "prompt.str: given 5"),
    ("tokenize", b'{"model": "qwen", "prompt": [5]}', "prompt"),
    ("tokenize", b'{"model": "qwen"}', "prompt: missing"),
    ("tokenize", b'{"model": 5, "prompt": "a"}', "model: given 5"),
    ("tokenize", b'{"model": "qwen", "prompt": "a", "add_special_tokens": true}', "add_special_tokens: unknown field"),
    ("tokenize", b'{"prompt": [' + b'"",' * 5000 + b'""]}', "prompt"),
    ("tokenize", b"[" * 100_000, "the body"),
    ("detokenize", b'{"model": "qwen", "tokens": ["a"]}', "tokens: given an array"),
    ("detokenize", b'{"model": "qwen", "tokens": [true]}', "tokens: given an array"),
    ("detokenize", b'{"model": "qwen", "tokens": [1.5]}', "tokens: given an array"),
    ("detokenize", b'{"model": "qwen", "tokens": [-1]}', "tokens: given an array"),
    ("detokenize", b'{"model": "qwen", "tokens": [4294967296]}', "tokens: given an array"),
    ("detokenize", b'{"model": "qwen", "tokens": [1, [2]]}', "tokens: given an array"),
    ("detokenize", b'{"model": "qwen", "tokens": [[1], 2]}', "tokens: given an array"),
    ("detokenize", b'{"model": "qwen", "tokens": "1"}', "tokens: given '1'"),
]


@pytest.mark.parametrize(("route", "body", "why"), BAD_TEXTS)
async def test_bad_input_is_refused_by_name(route: str, body: bytes, why: str, source: str) -> None:
    async with with_qwen(source) as api:
        status, told = await api.call("POST", f"/v1/{route}", data=body)
        assert isinstance(told, dict)
        assert (status, told["error"]["type"]) == (400, "bad_request")
        assert told["error"]["message"].startswith(why)


async def test_a_model_without_tokenizer_is_told_with_those_that_have_one(source: str) -> None:
    async with with_qwen(source) as api:
        told = {"message": "Tokenizer for model 'x' not found. Available: qwen", "type": "tokenizer_not_found"}
        assert await api.call("POST", "/v1/tokenize", json={"model": "x", "prompt": "a"}) == (400, {"error": told})


async def test_ids_beyond_the_vocabulary_are_left_out_as_the_library_does_it(source: str) -> None:
    async with with_qwen(source) as api:
        ids = list(ENGINE.encode("ab"))
        body = {"model": "qwen", "tokens": [*ids, 4_000_000_000, 10_000]}
        assert await api.call("POST", "/v1/detokenize", json=body) == (200, {"text": "ab"})


async def test_a_gateway_serves_long_prompts_without_being_late(source: str) -> None:
    """Over its own data plane's port, with prompts of 10 MB, too; the loop's lateness is what it measures itself."""
    text = ("\n".join(families.natural()) * 4)[:600_000]
    expected = list(ENGINE.encode(text))
    options = ("--tokenizer-path", source, "--model-path", "owner/qwen", "--no-tokenizer-cache-enable-l1")
    async with HeadlessGateway(*options) as gateway, aiohttp.ClientSession(gateway.address) as client:

        async def loaded() -> bool:
            async with client.get("/v1/tokenizers") as answer:
                return [found["name"] for found in (await answer.json())["tokenizers"]] == ["owner/qwen"]

        await until(loaded, "the tokenizer of the settings")

        async def calm() -> bool:  # the gauge is of the last second, and loading holds the loop
            return scrape(gateway.metrics_address)["smg_loop_lateness_seconds"][()] < CALM_S

        await until(calm, "a loop that is on time")
        worst = 0.0
        for _ in range(5):
            async with client.post("/v1/tokenize", json={"model": "owner/qwen", "prompt": text}) as answer:
                assert (await answer.json())["tokens"] == expected
            worst = max(worst, scrape(gateway.metrics_address)["smg_loop_lateness_seconds"][()])
        async with client.post("/v1/detokenize", json={"model": "", "tokens": expected}) as answer:
            assert (await answer.json())["text"] == ENGINE.decode(expected)
        huge = io.BytesIO(json.dumps({"model": "owner/qwen", "prompt": "word " * 2_000_000}).encode())
        async with client.post("/v1/tokenize", data=huge) as answer:
            assert answer.status == 413
            assert (await answer.json())["error"]["type"] == "payload_too_large"
        worst = max(worst, scrape(gateway.metrics_address)["smg_loop_lateness_seconds"][()])
        assert worst < LATE_S
        found = scrape(gateway.metrics_address)
        assert found["smg_tokenizers"][(("status", "completed"),)] == 1
        assert found["smg_tokenizer_loads_total"][(("result", "success"),)] == 1


async def test_cache_hits_are_in_the_metrics_under_smgs_name(source: str) -> None:
    chat = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    options = ("--model-path", source, "--tokenizer-cache-enable-l0")
    async with HeadlessGateway(*options) as gateway, aiohttp.ClientSession(gateway.address) as client:

        async def loaded() -> bool:
            async with client.get("/v1/tokenizers") as answer:
                return bool((await answer.json())["tokenizers"])

        await until(loaded, "the tokenizer of the settings")
        for prompt in (chat, chat, chat + "<|im_start|>user\nMore<|im_end|>"):
            async with client.post("/v1/tokenize", json={"model": "", "prompt": prompt}) as answer:
                assert (await answer.json())["tokens"] == list(ENGINE.encode(prompt))
        metrics = scrape(gateway.metrics_address)
        assert set(metrics["smg_tokenizer_cache_enabled"].values()) == {1}
        assert all(value > 0 for value in metrics["smg_tokenizer_cache_bytes"].values())
        found = metrics["smg_tokenizer_cache_lookups_total"]
        counts = {(labels[0][1], labels[1][1]): value for labels, value in found.items()}
        assert counts["l0", "hit"] == 1
        assert counts["l0", "miss"] == 2
        assert counts["l1", "hit"] >= 4
        assert counts["l1", "miss"] >= 4


async def test_a_gateway_without_tokenizers_does_not_load_their_libraries() -> None:
    code = (
        "import sys, gateway.gateway, gateway.settings; "
        "print([m for m in ('tokenizers', 'jinja2', 'huggingface_hub', 'transformers', 'httpx') if m in sys.modules])"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert out.decode().strip() == "[]"
