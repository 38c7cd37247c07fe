"""The command line made from the model: a grouped parser, and one-line errors.

Values are taken as text (lists as lists of text) and judged by the model together with those from environment
and file, so that a wrong value reads the same wherever it came from.
"""

import argparse
import difflib
import os
import re
import shutil
from typing import Any, Literal, NoReturn, get_args, get_origin

from gateway.settings.model import GROUPS, SECRETS, Settings, flag

ALIASES = {
    "model_path": ("--model",),
    "worker_startup_check_interval": ("--worker-startup-check-interval-secs",),
}


class UsageError(Exception):
    """The command line, environment or file cannot be used; the message is one line for the user."""

    def __init__(self, message: str) -> None:
        # Words, keys and paths may hold line breaks and escape sequences; what is said of them stays one line.
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))


def without_credentials(text: str) -> str:
    """The text with whatever may be a user and password hidden: all before the last @, but for the scheme."""
    before, at, after = text.rpartition("@")
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", before)
    return f"{scheme[0] if scheme else ''}(hidden)@{after}" if at else text


class Parser(argparse.ArgumentParser):
    """Raises instead of printing pages, and names the flag that was probably meant."""

    def error(self, message: str) -> NoReturn:
        found = re.fullmatch(r"argument ([^:/\s]+)\S*: (expected one argument|ignored explicit argument .*)", message)
        if found is None:
            raise UsageError(message)
        word, problem = found[1], found[2]
        if problem.startswith("ignored"):
            raise UsageError(f"{word}: takes no value")
        metavar = next(action.metavar for action in self._actions if word in action.option_strings)
        raise UsageError(f"{word}: given no value, expected {metavar}")

    def parse_strictly(self, words: list[str]) -> argparse.Namespace:
        """Parse; an unknown word is an error that offers the nearest flag."""
        options, unknown = self.parse_known_args(words)
        if unknown:
            secret = any(flag(name) in words for name in SECRETS)
            raise UsageError(self._unknown(unknown[0].partition("=")[0], secret=secret))
        return options

    def _unknown(self, word: str, *, secret: bool) -> str:
        if not word.startswith("-"):
            # After a key that was not quoted, the stray word may be the rest of it.
            shown = "(hidden)" if secret else repr(without_credentials(word))
            return f"unexpected argument {shown}; flags begin with --, see --help"
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        near = difflib.get_close_matches(word, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; --help lists all"
        return f"{without_credentials(word)}: unknown flag{hint}"


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
    groups: dict[str, Any] = {title: parser.add_argument_group(title) for title in GROUPS}
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        group = groups[str(extra["group"])]
        metavar = extra["metavar"] or _choices(field.annotation)
        help_text = f"{field.description} {_default_text(field.default)}".strip().replace("%", "%%")
        for alias in ALIASES.get(name, ()):
            group.add_argument(alias, dest=name, metavar=metavar, help=argparse.SUPPRESS)
        if field.annotation is bool:
            group.add_argument(flag(name), dest=name, action="store_true", help=help_text)
            group.add_argument(
                f"--no-{name.replace('_', '-')}", dest=name, action="store_false", help=argparse.SUPPRESS
            )
        elif isinstance(field.default, tuple):
            # Given twice, a list grows: workers that were named are never dropped in silence.
            group.add_argument(flag(name), dest=name, nargs="*", action="extend", metavar=metavar, help=help_text)
        else:
            group.add_argument(flag(name), dest=name, metavar=metavar, help=help_text)


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
