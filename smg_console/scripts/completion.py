"""`completion SHELL`: a script that completes commands, flags and, from the gateway that runs, names of workers."""

import argparse

from smg_console.scripts.options import FIRST_WORDS, SPELLED, Spelled, one_of

BASH = """\
_smg_console() {{
  local words cur
  cur="${{COMP_WORDS[COMP_CWORD]}}"
  words="$(smg-console __complete "${{COMP_WORDS[@]:1:COMP_CWORD-1}}" 2>/dev/null)"
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -F _smg_console smg-console
"""
ZSH = """\
#compdef smg-console
_smg_console() {{
  local -a found
  found=(${{(f)"$(smg-console __complete "${{(@)words[2,CURRENT-1]}}" 2>/dev/null)"}})
  compadd -- $found
}}
compdef _smg_console smg-console
"""
FISH = """\
function __smg_console
  set -l words (commandline -opc)
  smg-console __complete $words[2..-1] 2>/dev/null
end
complete -c smg-console -f -a '(__smg_console)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
NAMES = ("show", "cordon", "uncordon", "drain", "resume", "remove", "probe", "retry", "reset-breaker", "wait")
"""Commands whose arguments are workers."""


def script(shell: str) -> str:
    """The script for a shell. Raises UsageError."""
    one_of(shell, "completion", tuple(SCRIPTS))
    return SCRIPTS[shell].format()


def wants_workers(words: list[str]) -> bool:
    """Whether names of workers may come next."""
    return (len(words) >= 2 and words[0] == "workers" and words[1] in NAMES) or words[-1:] == ["--worker"]


def next_words(words: list[str], commands: tuple[str, ...]) -> list[str]:
    """What may follow these words. `commands`: all first words that there are."""
    if not words:
        return list(commands)
    if len(words) == 1 and (
        second := [each.words[1] for each in SPELLED if each.words[0] == words[0] and each.words[1:]]
    ):
        return second
    for spelled in SPELLED:
        if tuple(words[: len(spelled.words)]) == spelled.words:
            if spelled.words == ("completion",):
                return list(SCRIPTS)
            return _flags(spelled)
    return []


def _flags(spelled: Spelled) -> list[str]:
    parser = argparse.ArgumentParser(add_help=False)
    spelled.add(parser)
    flags = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    common = [] if spelled.words == ("completion",) else ["--gateway", "--api-key-file", "--json"]
    return [*flags, *common, "--help"]


__all__ = ["FIRST_WORDS", "next_words", "script", "wants_workers"]
