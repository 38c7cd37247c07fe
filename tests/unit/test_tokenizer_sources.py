"""A model's files from directories and archives: complete where they are sound, named with what is wrong where not."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.tokenizers import sources
from gateway.tokenizers.errors import SourceUnusable
from gateway.tokenizers.loading import look
from gateway.tokenizers.model import built
from gateway.tokenizers.places import Named
from gateway.tokenizers.sources import ModelFiles, looked_at, read_archive, read_path, with_template
from tests.unit import tokenizer_families as families

TOKENIZER = families.trained("qwen")
FILES = {
    "tokenizer.json": TOKENIZER,
    "tokenizer_config.json": json.dumps(
        {
            "bos_token": None,
            "eos_token": {"content": "<|im_end|>", "lstrip": False},
            "model_max_length": 32768,
            "chat_template": "old",
        }
    ).encode(),
    "special_tokens_map.json": b'{"eos_token": "<other>", "pad_token": "<|endoftext|>"}',
    "generation_config.json": b'{"eos_token_id": [1, 2]}',
    "chat_template.jinja": b"new",
    "additional_chat_templates/tool_use.jinja": b"tools",
}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def zipped(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def check(files: ModelFiles) -> None:
    assert files.tokenizer == TOKENIZER
    assert files.templates == {"default": "new", "tool_use": "tools"}
    assert files.special_tokens == {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    assert (files.stop_ids, files.max_length) == ((1, 2), 32768)


def test_a_model_directory_is_read_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    check(read_path(write(tmp_path, FILES)))


@pytest.mark.parametrize("root", ["", "model/", "a/b/"])
def test_an_archive_gives_what_the_directory_gives(root: str) -> None:
    data = zipped({root + name: content for name, content in FILES.items()})
    check(read_archive(data, hashlib.sha256(data).hexdigest(), "w1"))
    check(read_archive(data, None, "w1"))


def test_a_tokenizer_file_alone_takes_what_lies_beside_it(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    found = read_path(tmp_path / "tokenizer.json")
    assert found.templates["default"] == "new"
    (tmp_path / "renamed.json").write_bytes(TOKENIZER)
    assert read_path(tmp_path / "renamed.json").tokenizer == TOKENIZER


@pytest.mark.parametrize(
    ("config", "templates"),
    [
        ({"chat_template": "text"}, {"default": "text"}),
        ({"chat_template": [{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}]}, None),
        ({}, {}),
    ],
)
def test_templates_are_one_text_or_a_list_of_named_ones(
    config: dict[str, object], templates: dict[str, str] | None, tmp_path: Path
) -> None:
    found = read_path(
        write(tmp_path, {"tokenizer.json": TOKENIZER, "tokenizer_config.json": json.dumps(config).encode()})
    )
    assert found.templates == ({"default": "a", "rag": "b"} if templates is None else templates)


@pytest.mark.parametrize("name", ["t.jinja", "t.j2", "t.json"])
def test_a_template_of_the_operators_replaces_the_models_own(name: str, tmp_path: Path) -> None:
    template = tmp_path / name
    template.write_text('{"chat_template": "mine"}' if name.endswith("json") else "mine", encoding="utf-8")
    assert with_template(read_path(write(tmp_path, FILES)), template).templates == {"default": "mine"}
    with pytest.raises(SourceUnusable, match=r"nowhere.jinja: no such file"):
        with_template(read_path(tmp_path), tmp_path / "nowhere.jinja")


BROKEN: list[tuple[dict[str, bytes], str]] = [
    ({}, "there is no tokenizer.json; slow tokenizers"),
    ({"tokenizer.json": b""}, "tokenizer.json: the file is empty"),
    ({"tokenizer.json": b'{"model": {'}, "tokenizer.json: not valid JSON"),
    ({"tokenizer.json": b"[]"}, "tokenizer.json: not a JSON object"),
    ({"tokenizer.json": b"{}"}, "tokenizer.json: no object 'model'"),
    ({"tokenizer.json": b'{"model": 3}'}, "tokenizer.json: no object 'model'"),
    ({"tokenizer.json": b"\xff\xfe{}"}, "tokenizer.json: not valid JSON"),
    ({"tokenizer.json": b"version https://git-lfs.github.com/spec/v1\n"}, "tokenizer.json: the file is a Git LFS"),
    (FILES | {"tokenizer_config.json": b"{"}, "tokenizer_config.json: not valid JSON"),
    (FILES | {"tokenizer_config.json": b'{"chat_template": 3}'}, "tokenizer_config.json: chat_template is neither"),
    (FILES | {"generation_config.json": b"[]"}, "generation_config.json: not a JSON object"),
    (FILES | {"special_tokens_map.json": b"\xff"}, "special_tokens_map.json: not valid JSON"),
    (FILES | {"chat_template.jinja": b"\xff"}, "chat_template.jinja: not UTF-8: invalid start byte at byte 0"),
]


@pytest.mark.parametrize(("files", "wrong"), BROKEN)
def test_a_broken_file_is_named_with_what_is_wrong(files: dict[str, bytes], wrong: str, tmp_path: Path) -> None:
    with pytest.raises(SourceUnusable, match=wrong):
        looked_at(write(tmp_path, files), None)
    with pytest.raises(SourceUnusable, match=wrong):
        built(read_path(tmp_path))
    data = zipped(files)
    with pytest.raises(SourceUnusable, match=wrong.replace("tokenizer.json: the file", "the file")):
        built(read_archive(data, None, "w1"))


def test_what_only_the_library_can_judge_is_told_in_its_words(tmp_path: Path) -> None:
    write(tmp_path, {"tokenizer.json": b'{"model": {"type": "Magic"}}'})
    looked_at(tmp_path, None)
    with pytest.raises(SourceUnusable, match=r"tokenizer.json: the tokenizers library cannot read it: .+"):
        built(read_path(tmp_path))


def test_a_broken_chat_template_leaves_the_tokenizer_of_use() -> None:
    made = built(ModelFiles("here", TOKENIZER, {"default": "{% if %}"}))
    assert made.templates is None
    assert made.template_error is not None
    assert made.template_error.startswith("the chat template 'default' is wrong in line 1")
    assert len(made.engine.encode("Hello")) > 0


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "tokenizer.json")
    return folder


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (lambda folder: folder / "nowhere", "nowhere: no such file or directory"),
        (lambda folder: Path("/dev/zero"), "/dev/zero: not a regular file"),
        (_fifo, "tokenizer.json: not a regular file"),
    ],
)
def test_a_path_that_is_no_file_is_refused_at_once(place: Callable[[Path], Path], wrong: str, tmp_path: Path) -> None:
    with pytest.raises(SourceUnusable, match=wrong):
        look(Named(str(place(tmp_path))))


def test_a_name_that_is_neither_path_nor_repository_is_refused() -> None:
    with pytest.raises(SourceUnusable, match="neither a file or directory here nor the id"):
        look(Named("no such/thing at all"))
    look(Named("owner/name@main"))  # what the hub has is not asked


def test_a_file_beyond_its_bound_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_SMALL", 1000)
    write(tmp_path, FILES | {"chat_template.jinja": b"x" * 1001})
    with pytest.raises(SourceUnusable, match=r"chat_template.jinja: larger than 1000 bytes"):
        read_path(tmp_path)
    with pytest.raises(SourceUnusable, match=r"chat_template.jinja: larger than 1000 bytes"):
        read_archive(zipped(FILES | {"chat_template.jinja": b"x" * 1001}), None, "w1")


def test_a_bomb_is_read_only_up_to_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_TOKENIZER", 1_000_000)
    data = zipped({"tokenizer.json": bytes(50_000_000)})
    assert len(data) < 100_000
    with pytest.raises(SourceUnusable, match=r"w1: tokenizer.json: larger than 1000000 bytes"):
        read_archive(data, None, "w1")


def test_names_that_lead_out_of_the_archive_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evil = {"../../evil.txt": b"x", "/etc/evil": b"x", "..\\evil": b"x", "tokenizer.json/../../x": b"x"}
    check(read_archive(zipped(FILES | evil), None, "w1"))
    outside = {f"../../{name}": content for name, content in FILES.items()}
    check(read_archive(zipped(outside), None, "w1"))
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_is_told_and_may_heal() -> None:
    with pytest.raises(SourceUnusable, match=r"w1: its tokenizer has the SHA-256 .* announced abc") as refused:
        read_archive(zipped(FILES), "abc", "w1")
    assert refused.value.temporary


def test_an_archive_damaged_anywhere_is_refused_or_whole() -> None:
    data = bytearray(zipped(FILES))
    for at in range(0, len(data), 997):
        damaged = bytes(data[:at]) + bytes([data[at] ^ 0x55]) + bytes(data[at + 1 :])
        with suppress(SourceUnusable):  # and nothing else
            read_archive(damaged, None, "w1")
    for cut in (0, 10, len(data) // 2, len(data) - 1):
        with pytest.raises(SourceUnusable, match="the archive it sent cannot be read"):
            read_archive(bytes(data[:cut]), None, "w1")
