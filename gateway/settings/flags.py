"""The command line made from the model: a grouped parser, and one-line errors.

Values are taken as text (lists as lists of text) and judged by the model together with those from environment
and file, so that a wrong value reads the same wherever it came from.
"""

import argparse
import difflib
import os
import shutil
from typing import Any, Literal, NoReturn, get_args, get_origin

from gateway.settings.model import Settings, flag

ALIASES = {
    "worker_startup_check_interval": ("--worker-startup-check-interval-secs",),
}


class UsageError(Exception):
    """The command line, environment or file cannot be used; the message is one line for the user."""


class Parser(argparse.ArgumentParser):
    """Raises instead of printing pages, and names the flag that was probably meant."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    def parse_strictly(self, words: list[str]) -> argparse.Namespace:
        """Parse; an unknown word is an error that offers the nearest flag."""
        options, unknown = self.parse_known_args(words)
        if unknown:
            raise UsageError(self._unknown(unknown[0].partition("=")[0]))
        return options

    def _unknown(self, word: str) -> str:
        if not word.startswith("-"):
            return f"unexpected argument {word!r}; flags begin with --, see --help"
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        near = difflib.get_close_matches(word, known, n=1)
        return f"{word}: unknown flag" + (f"; did you mean {near[0]}?" if near else "; --help lists all")


def _formatter(prog: str) -> argparse.HelpFormatter:
    width = min(80, shutil.get_terminal_size((80, 24)).columns)
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=width)


def new_parser(prog: str, description: str, epilog: str = "") -> Parser:
    """An empty parser in our style."""
    return Parser(
        prog=prog,
        usage=f"{prog} [flags]",
        description=description,
        epilog=epilog,
        formatter_class=_formatter,
        allow_abbrev=False,
        add_help=False,
        argument_default=argparse.SUPPRESS,
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every field of the model, grouped."""
    groups: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        title = str(extra["group"])
        group = groups.get(title) or groups.setdefault(title, parser.add_argument_group(title))
        words = [flag(name)]
        for alias in ALIASES.get(name, ()):
            group.add_argument(alias, dest=name, help=argparse.SUPPRESS)
        help_text = f"{field.description} {_default_text(field.default)}".strip().replace("%", "%%")
        if field.annotation is bool:
            group.add_argument(*words, dest=name, action="store_true", help=help_text)
            group.add_argument(
                f"--no-{name.replace('_', '-')}", dest=name, action="store_false", help=argparse.SUPPRESS
            )
        elif isinstance(field.default, tuple):
            group.add_argument(*words, dest=name, nargs="*", metavar=extra["metavar"], help=help_text)
        else:
            group.add_argument(
                *words, dest=name, metavar=extra["metavar"] or _choices(field.annotation), help=help_text
            )


def _choices(annotation: Any) -> str:
    return "{" + ",".join(get_args(annotation)) + "}" if get_origin(annotation) is Literal else "VALUE"


def _default_text(default: object) -> str:
    if default is None or default == () or default is False:
        return ""
    shown = (
        " ".join(default) if isinstance(default, tuple) else f"{default:g}" if isinstance(default, float) else default
    )
    return f"[{shown}]"


def environment() -> dict[str, str]:
    """The process's environment; a function so that tests need not change it."""
    return dict(os.environ)
