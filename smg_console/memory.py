"""What the console remembers from one start to the next: the table's columns and order, and commands typed.

One JSON file under the XDG state directory, replaced in one step, so that no crash leaves half of it. A file
that cannot be read is set aside with a word and the console starts as if it were new; nothing here ends it.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from smg_console.places import state_directory

HISTORY = 200
"""Commands kept."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """All that is remembered. Names of columns are those of `present.columns`; no columns: the usual ones."""

    columns: tuple[str, ...] = ()
    sort: str = "name"
    reverse: bool = False
    group: str = ""
    history: tuple[str, ...] = ()


def state_file(environment: Mapping[str, str] | None = None) -> Path:
    """Where it is kept: `$XDG_STATE_HOME/smg-console/console.json`."""
    return state_directory(environment) / "console.json"


class Memory:
    """What is remembered, in `path`; None: for this run alone. `problem` is a word about the file, if one is due."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.problem = ""
        self.now = Remembered() if path is None else self._read(path)

    def keep(self, **changes: object) -> None:
        """Remember from now on; written at once. What cannot be written is told once and kept for this run."""
        changed = replace(self.now, **changes)  # type: ignore[arg-type]  # names of its fields
        if changed == self.now:
            return
        self.now = changed
        if self._path is not None:
            try:
                _write(self._path, json.dumps(asdict(changed), indent=1) + "\n")
            except OSError as error:
                self.problem = f"cannot remember in {self._path}: {(error.strerror or str(error)).lower()}"
                self._path = None

    def add_to_history(self, line: str) -> None:
        """One more command; typed again, it is only the newest."""
        kept = [old for old in self.now.history if old != line]
        self.keep(history=(*kept, line)[-HISTORY:])

    def take_problem(self) -> str:
        """The word about the file, once."""
        problem, self.problem = self.problem, ""
        return problem

    def _read(self, path: Path) -> Remembered:
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            return Remembered()
        except (OSError, UnicodeDecodeError) as error:
            return self._set_aside(path, error)
        try:
            return _remembered(json.loads(text))
        except (ValueError, TypeError) as error:
            return self._set_aside(path, error)

    def _set_aside(self, path: Path, error: Exception) -> Remembered:
        aside = path.with_suffix(".corrupt.json")
        try:
            os.replace(path, aside)
            self.problem = f"{path.name} cannot be read ({error}); it is now {aside}"
        except OSError:
            self.problem = f"{path} cannot be read ({error}); nothing is remembered"
            self._path = None
        return Remembered()


def _remembered(found: object) -> Remembered:
    """What a file says. Raises ValueError for what is none of it; what it does not say is as usual."""
    if not isinstance(found, dict):
        raise ValueError("expected an object")
    usual = Remembered()
    values: dict[str, object] = {}
    for item in fields(Remembered):
        value = found.get(item.name, getattr(usual, item.name))
        kind = type(getattr(usual, item.name))
        if kind is tuple:
            if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
                raise ValueError(f"{item.name}: expected a list of texts")
            value = tuple(value)
        elif not isinstance(value, kind):
            raise ValueError(f"{item.name}: expected {'true or false' if kind is bool else 'a text'}")
        values[item.name] = value
    return Remembered(**values)  # type: ignore[arg-type]  # checked above


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".console-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
