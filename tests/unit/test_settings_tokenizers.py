"""Settings of the tokenizers: SMG's flags, what they come to, and what cannot be."""

from pathlib import Path

import pytest

from gateway.parts import wanted_tokenizers
from gateway.tokenizers.encode import CacheSettings
from gateway.tokenizers.places import Named
from tests.unit.test_settings import parsed, refused

MB = 1024 * 1024


def test_smgs_flags_are_taken_as_they_are() -> None:
    wanted = wanted_tokenizers(
        parsed(
            "--model-path", "owner/name", "--tokenizer-path", "/t", "--chat-template", "/c.jinja",
            "--tokenizer-cache-enable-l0", "--tokenizer-cache-l0-max-entries", "7",
            "--tokenizer-cache-l0-max-memory", "2048", "--tokenizer-cache-enable-l1",
            "--tokenizer-cache-l1-max-memory", "4096", "--model-alias", "fast=owner/name",
        )
    )  # fmt: skip
    assert wanted.place == Named("/t", Path("/c.jinja"))
    assert (wanted.name, wanted.template, wanted.autoload) == ("owner/name", Path("/c.jinja"), True)
    assert wanted.caches == CacheSettings(exact_bytes=2048, exact_entries=7, prefix_bytes=4096)
    assert wanted.aliases == {"fast": "owner/name"}


def test_by_default_nothing_is_loaded_and_the_prefix_cache_alone_is_on() -> None:
    wanted = wanted_tokenizers(parsed())
    assert (wanted.place, wanted.name, wanted.autoload) == (None, "", True)
    assert wanted.caches == CacheSettings(exact_bytes=0, exact_entries=10_000, prefix_bytes=50 * MB)
    assert wanted_tokenizers(parsed("--tokenizer-cache-enable-l0")).caches.exact_bytes == 256 * MB
    assert wanted_tokenizers(parsed("--no-tokenizer-cache-enable-l1")).caches.prefix_bytes == 0


@pytest.mark.parametrize("flag", ["--model-path", "--model"])
def test_the_model_gives_name_and_tokenizer(flag: str) -> None:
    wanted = wanted_tokenizers(parsed(flag, "owner/name"))
    assert (wanted.name, wanted.place) == ("owner/name", Named("owner/name"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--disable-tokenizer-autoload", "--model-path", "a"], "--model-path has no effect with --disable-tokenizer"),
        (["--disable-tokenizer-autoload", "--chat-template", "a.j2"], "--chat-template has no effect with"),
        (["--tokenizer-cache-l0-max-entries", "5"], "--tokenizer-cache-l0-max-entries is for --tokenizer-cache-enable"),
        (
            ["--no-tokenizer-cache-enable-l1", "--tokenizer-cache-l1-max-memory", "5000"],
            "--tokenizer-cache-l1-max-memory is for --tokenizer-cache-enable-l1, which is off",
        ),
    ],
)
def test_what_has_no_effect_is_refused(words: list[str], why: str) -> None:
    assert refused(*words).startswith(why)


def test_a_switch_on_the_command_line_needs_no_change_of_the_file_it_shares(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("tokenizer_cache_l1_max_memory = 5000", encoding="utf-8")
    assert not parsed("--no-tokenizer-cache-enable-l1", file=file).tokenizer_cache_enable_l1
