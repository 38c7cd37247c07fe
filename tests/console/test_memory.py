"""What the console remembers: written in one step, and a broken file is set aside with a word."""

import json
import os
from pathlib import Path

import pytest

from smg_console import memory
from smg_console.memory import HISTORY, Memory, Remembered, state_file


def test_what_was_kept_is_there_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "console.json"
    first = Memory(path)
    assert first.now == Remembered()
    first.keep(columns=("name", "label:rack"), sort="p99", reverse=True, group="model")
    first.add_to_history("drain w1")
    assert Memory(path).now == Remembered(("name", "label:rack"), "p99", True, "model", ("drain w1",))
    assert [file.name for file in path.parent.iterdir()] == ["console.json"], "nothing else is left"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"columns": "name"}', '{"columns": [1]}', '{"reverse": 1}', '{"sort": null}', "\0"]
)
def test_a_broken_file_is_set_aside_with_a_word(tmp_path: Path, text: str) -> None:
    path = tmp_path / "console.json"
    path.write_text(text)
    found = Memory(path)
    assert found.now == Remembered()
    assert "console.json cannot be read" in found.take_problem()
    assert found.take_problem() == ""
    assert (tmp_path / "console.corrupt.json").read_text() == text
    found.keep(sort="p99")
    assert json.loads(path.read_text())["sort"] == "p99"


def test_what_a_newer_console_wrote_besides_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "console.json"
    path.write_text('{"sort": "kv", "zoom": 3}')
    assert Memory(path).now == Remembered(sort="kv")


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "console.json"
    found = Memory(path)
    found.keep(sort="kv")

    def fails(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    found.keep(sort="p99")
    assert found.now.sort == "p99", "kept for this run"
    assert "no space left on device" in found.take_problem()
    assert json.loads(path.read_text())["sort"] == "kv"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_command_typed_again_is_only_the_newest_and_old_ones_leave() -> None:
    found = Memory()
    for n in range(HISTORY + 5):
        found.add_to_history(f"drain w{n}")
    found.add_to_history("drain w10")
    assert found.now.history[-1] == "drain w10"
    assert len(found.now.history) == len(set(found.now.history)) == HISTORY


def test_it_is_kept_under_the_state_directory() -> None:
    assert state_file({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == Path("/s/smg-console/console.json")
    assert state_file({"HOME": "/h"}) == Path("/h/.local/state/smg-console/console.json")
    assert memory.__doc__
