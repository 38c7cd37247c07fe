"""Logs as structured events: a stable name and fields, human in a terminal, JSON lines elsewhere.

Built on the standard `logging`, so that libraries' records join in. Fields travel in `extra={"fields": …}`;
`get_logger` gives a small wrapper that spells that. While the console is on, nothing may write to the
terminal: records go to a ring that its log screen reads. Fields that are keys or tokens are never written.
"""

import json
import logging
import os
import sys
from collections import deque
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

RING_SIZE = 10_000
FILE_BYTES, FILES = 10 * 1024 * 1024, 5
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_SECRET = ("api_key", "authorization", "token", "password", "secret")
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}


class Log:
    """Logs named events with fields: `log.info("worker_ready", worker="w1")`."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def _log(self, level: int, event: str, fields: dict[str, Any], error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, exc_info=error, extra={"fields": fields}, stacklevel=3)

    def debug(self, event: str, **fields: Any) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, *, error: BaseException | None = None, **fields: Any) -> None:
        self._log(logging.ERROR, event, fields, error)


def get_logger(name: str) -> Log:
    """The log of a module."""
    return Log(logging.getLogger(name))


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """A record's fields, without secrets."""
    fields = dict(getattr(record, "fields", {}))
    for name in fields:
        if any(word in name.lower() for word in _SECRET):
            fields[name] = "(hidden)"
    return fields


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, logger, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **fields_of(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


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
        line = f"{clock} {level}{record.getMessage()} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _word(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c.isspace() or not c.isprintable() for c in text) else text


class LogRing(logging.Handler):
    """The last lines, for the console's log screen. `count` only grows: it tells whether there is more to show."""

    def __init__(self, size: int = RING_SIZE) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=size)
        self.count = 0
        self.setFormatter(Human(colours=False))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
        self.count += 1


def configure(*, level: str, as_json: bool, directory: Path | None, console: bool) -> LogRing:
    """Set up the process's logging and return the ring. Raises OSError if the directory cannot be written."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.setLevel(LEVELS[level])
    ring = LogRing()
    root.addHandler(ring)
    if not console:
        stream = logging.StreamHandler(sys.stderr)
        terminal = sys.stderr.isatty()
        colours = terminal and not os.environ.get("NO_COLOR")
        stream.setFormatter(Human(colours=colours) if terminal and not as_json else JsonLines())
        root.addHandler(stream)
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        file = RotatingFileHandler(
            directory / "smg-console.log", maxBytes=FILE_BYTES, backupCount=FILES - 1, encoding="utf-8"
        )
        file.setFormatter(JsonLines())
        root.addHandler(file)
    logging.captureWarnings(True)
    for chatty in ("asyncio", "aiohttp.access", "aiohttp.server"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, LEVELS[level]))
    return ring
