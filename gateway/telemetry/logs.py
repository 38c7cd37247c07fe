"""Logs as structured events: a stable name and fields, human in a terminal, JSON lines elsewhere.

Built on the standard `logging`, so that libraries' records join in. Fields travel in `extra={"fields": …}`;
`get_logger` gives a small wrapper that spells that. While the console is on, nothing may write to the
terminal: records go to a ring that its log screen reads. Fields that are keys or tokens are never written. A line
that cannot be written is the log's trouble and never its caller's.
"""

import json
import logging
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

RING_SIZE = 10_000
FILE_BYTES, FILES = 10 * 1024 * 1024, 5
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
# `token` and not `tokens`: counts of tokens are what an LLM gateway has to tell.
_SECRET = re.compile(r".*api[_-]?key.*|(.*[_-])?(authorization|token|password|secret)([_-].*)?", re.IGNORECASE)
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}


class Log:
    """Logs named events with fields: `log.info("worker_ready", worker="w1")`."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def _log(self, level: int, event: str, fields: dict[str, Any], error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, exc_info=error, extra={"fields": fields}, stacklevel=3)

    def debug(self, event: str, /, **fields: Any) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, /, *, error: BaseException | None = None, **fields: Any) -> None:
        self._log(logging.ERROR, event, fields, error)


def get_logger(name: str) -> Log:
    """The log of a module."""
    return Log(logging.getLogger(name))


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """A record's fields, without secrets."""
    return _without_secrets(getattr(record, "fields", {}))


def _without_secrets(fields: Mapping[Any, Any]) -> dict[Any, Any]:
    return {
        name: "(hidden)"
        if _SECRET.fullmatch(str(name))
        else _without_secrets(value)
        if isinstance(value, Mapping)
        else value
        for name, value in fields.items()
    }


def _event(record: logging.LogRecord) -> str:
    """The event's name or a library's message, even if its arguments do not fit it."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args!r}"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, logger, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": _event(record),
            "logger": record.name,
        }
        for name, value in fields_of(record).items():
            line[f"field_{name}" if name in line else name] = value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return json.dumps(line, default=str, allow_nan=False)
        except (TypeError, ValueError):  # a key that is no text, a number that JSON has not, a circle
            return json.dumps(
                {name: value if isinstance(value, str | int) else str(value) for name, value in line.items()}
            )


class Human(logging.Formatter):
    """`12:00:01 INFO    worker_ready worker=w1`, coloured if asked."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        level = f"{record.levelname:<8}"
        if self._colours:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        fields = " ".join(f"{name}={_word(value)}" for name, value in fields_of(record).items())
        line = f"{clock} {level}{_harmless(_event(record))} {fields}".rstrip()
        return f"{line}\n{_harmless(self.formatException(record.exc_info))}" if record.exc_info else line


def _harmless(text: str) -> str:
    """Without what would move the cursor or colour the screen: messages may quote what a stranger sent."""
    return (
        text if text.isprintable() else "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    )


def _word(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in ' ="' or not c.isprintable() for c in text) else text


class LogRing(logging.Handler):
    """The last lines, for the console's log screen. `count` only grows: it tells whether there is more to show."""

    def __init__(self, size: int = RING_SIZE) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=size)
        self.count = 0
        self.setFormatter(Human(colours=False))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a field's own text may fail in any way; who logs must not
            line = f"{record.levelname:<8}{record.name}: a line that cannot be shown: {type(error).__name__}"
        self.lines.append(line)
        self.count += 1


def configure(*, level: str, as_json: bool, directory: Path | None, console: bool) -> LogRing:
    """Set up the process's logging and return the ring. Raises OSError if the directory cannot be written."""
    ring = LogRing()
    handlers: list[logging.Handler] = [ring]
    if directory is not None:
        handlers.append(_file(directory))
    if not console:
        handlers.append(_stderr(as_json=as_json))
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.setLevel(LEVELS[level])
    for handler in handlers:
        root.addHandler(handler)
    for chatty in ("asyncio", "aiohttp.access", "aiohttp.server"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, LEVELS[level]))
    _catch_the_uncaught()
    return ring


def _stderr(*, as_json: bool) -> logging.Handler:
    stream = logging.StreamHandler(sys.stderr)
    terminal = sys.stderr.isatty()
    colours = terminal and not os.environ.get("NO_COLOR")
    stream.setFormatter(Human(colours=colours) if terminal and not as_json else JsonLines())
    return stream


def _file(directory: Path) -> logging.Handler:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = RotatingFileHandler(
            directory / "smg-console.log", maxBytes=FILE_BYTES, backupCount=FILES - 1, encoding="utf-8"
        )
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise OSError(error.errno, f"--log-dir: cannot log to {directory}: {why}") from None
    file.setFormatter(JsonLines())
    return file


def _catch_the_uncaught() -> None:
    """Let warnings, and errors nobody can catch, come as log lines: on their own they write over the console."""
    log = get_logger("uncaught")

    def in_thread(given: threading.ExceptHookArgs) -> None:
        if not isinstance(given.exc_value, SystemExit):
            log.error("thread_died", error=given.exc_value, thread=given.thread.name if given.thread else "")

    def unraisable(given: "sys.UnraisableHookArgs") -> None:
        # The object is named by its type: its own text may be what is broken.
        log.error("error_ignored", error=given.exc_value, where=given.err_msg or "", type=type(given.object).__name__)

    logging.captureWarnings(True)
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable
