"""Logs: structured, readable, and without secrets."""

import asyncio
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.telemetry import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hooks = list(root.handlers), root.level, (threading.excepthook, sys.unraisablehook)
    yield
    threading.excepthook, sys.unraisablehook = hooks
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


def captured(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Standard error, headless and no terminal."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    return stream


def headless(level: str = "info") -> logs.LogRing:
    return logs.configure(level=level, as_json=False, directory=None, console=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_lines_for_people_in_a_terminal_have_colours_unless_declined(
    monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("NO_COLOR", no_color)
    headless()
    logs.get_logger("test").info("worker_ready", worker="w1")
    assert "worker_ready worker=w1\n" in terminal.getvalue()
    assert ("\x1b[" in terminal.getvalue()) is coloured


def test_json_is_given_in_a_terminal_too_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    logs.configure(level="info", as_json=True, directory=None, console=False)
    logs.get_logger("test").info("worker_ready")
    assert json.loads(terminal.getvalue())["event"] == "worker_ready"


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("api_key", True),
        ("worker_api_key", True),
        ("X-Api-Key", True),
        ("authorization", True),
        ("Proxy-Authorization", True),
        ("token", True),
        ("bearer_token", True),
        ("client_secret", True),
        ("prompt_tokens", False),
        ("max_tokens", False),
        ("tokenizer", False),
        ("key", False),
    ],
)
def test_keys_and_tokens_are_hidden_and_counts_of_tokens_are_not(
    name: str, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = captured(monkeypatch)
    ring = headless()
    logs.get_logger("test").info("asked", **{name: "v4lue"}, headers={name: "v4lue"})
    shown = "(hidden)" if hidden else "v4lue"
    line = json.loads(stream.getvalue())
    assert (line[name], line["headers"][name]) == (shown, shown)
    assert ("v4lue" not in ring.lines[0]) is hidden
    assert f"{name}={shown}" in ring.lines[0]


def test_a_field_never_hides_when_and_what_a_line_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = captured(monkeypatch)
    headless()
    logs.get_logger("test").info("worker_ready", event="mine", level="loud", time=3)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"]) == ("worker_ready", "info")
    assert (line["field_event"], line["field_level"], line["field_time"]) == ("mine", "loud", 3)


def test_values_that_json_has_not_are_written_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = captured(monkeypatch)
    headless()
    logs.get_logger("test").info("odd", ratio=float("nan"), by={(1, 2): 3}, path=Path("/x"), n=1)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    line = json.loads(stream.getvalue(), parse_constant=refuse)
    assert (line["ratio"], line["by"], line["path"], line["n"]) == ("nan", "{(1, 2): 3}", "/x", 1)


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_a_line_that_cannot_be_written_never_breaks_who_logs_it() -> None:
    ring = logs.configure(level="info", as_json=False, directory=None, console=True)
    logging.getLogger("library").info("%d workers", "no number")
    logs.get_logger("test").info("odd", value=Unspeakable())
    assert "%d workers ('no number',)" in ring.lines[0]
    assert "test: a line that cannot be shown: RuntimeError" in ring.lines[1]


def test_a_level_that_is_off_never_looks_at_its_fields() -> None:
    ring = logs.configure(level="info", as_json=False, directory=None, console=True)
    logs.get_logger("test").debug("odd", value=Unspeakable())
    assert ring.count == 0


def test_a_message_can_not_steer_the_terminal() -> None:
    ring = logs.configure(level="info", as_json=False, directory=None, console=True)
    logging.getLogger("library").info("from a stranger: \x1b[2J\x9b5m")
    logs.get_logger("test").info("odd", value="\x1b[2J")
    assert "\x1b" not in "".join(ring.lines)
    assert "\x9b" not in "".join(ring.lines)


def test_warnings_dead_threads_and_errors_nobody_can_catch_are_log_lines(
    capfd: pytest.CaptureFixture[str],
) -> None:
    ring = logs.configure(level="info", as_json=False, directory=None, console=True)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)

    class Bad:
        def __del__(self) -> None:
            raise ValueError("at the end")

    Bad()
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    text = "\n".join(ring.lines)
    for part in ("old ways", "error_ignored", "at the end", "thread_died", "ZeroDivisionError"):
        assert part in text
    assert capfd.readouterr() == ("", "")


async def test_what_asyncio_has_nobody_to_tell_is_a_log_line(capfd: pytest.CaptureFixture[str]) -> None:
    ring = logs.configure(level="error", as_json=False, directory=None, console=True)
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
    assert ring.count == 1
    assert "ZeroDivisionError" in ring.lines[0]
    assert capfd.readouterr() == ("", "")


def test_a_directory_that_cannot_be_written_is_named_with_its_flag(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(OSError, match="--log-dir: cannot log to ") as error:
        logs.configure(level="info", as_json=False, directory=file / "logs", console=False)
    assert str(file) in str(error.value.strerror)


def test_files_of_logs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 500)
    logs.configure(level="info", as_json=False, directory=tmp_path, console=True)
    for number in range(100):
        logs.get_logger("test").info("worker_ready", number=number)
    files = sorted(tmp_path.iterdir())
    assert len(files) == logs.FILES
    assert all(file.stat().st_size <= 500 for file in files)
