"""Logs: structured, readable, and without secrets."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.telemetry import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        if handler not in handlers:
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)


def test_lines_are_json_with_fields_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure(level="info", as_json=False, directory=None, console=False)
    log = logs.get_logger("test")
    log.info("worker_ready", worker="w1", api_key="sk-1", authorization="Bearer x")
    log.debug("not_this")
    try:
        raise ValueError("broken")
    except ValueError as error:
        log.error("it_broke", error=error)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["event"], first["worker"], first["level"]) == ("worker_ready", "w1", "info")
    assert "sk-1" not in stream.getvalue()
    assert "Bearer" not in stream.getvalue()
    assert "ValueError: broken" in second["traceback"]


def test_with_the_console_on_nothing_reaches_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ring = logs.configure(level="debug", as_json=False, directory=tmp_path / "logs", console=True)
    logs.get_logger("test").warning("careful", why="two words")
    logging.getLogger("library").error("theirs")
    assert capfd.readouterr() == ("", "")
    assert ring.count == 2
    assert 'careful why="two words"' in ring.lines[0]
    written = [json.loads(line) for line in (tmp_path / "logs" / "smg-console.log").read_text("utf-8").splitlines()]
    assert [line["event"] for line in written] == ["careful", "theirs"]


def test_the_ring_is_bounded() -> None:
    ring = logs.LogRing(size=3)
    for number in range(10):
        ring.emit(logging.LogRecord("x", logging.INFO, "", 0, f"event{number}", None, None))
    assert (len(ring.lines), ring.count) == (3, 10)
