"""Where the console's own files are, by the XDG rules: what it remembers and saves, and what its user wrote."""

import os
from collections.abc import Mapping
from pathlib import Path

NAME = "smg-console"


def state_directory(environment: Mapping[str, str] | None = None) -> Path:
    """What is kept between runs: screenshots, reports, histories of commands."""
    return _home(environment, "XDG_STATE_HOME", ".local/state")


def config_directory(environment: Mapping[str, str] | None = None) -> Path:
    """What users write: themes, keys that may log in."""
    return _home(environment, "XDG_CONFIG_HOME", ".config")


def _home(environment: Mapping[str, str] | None, variable: str, below: str) -> Path:
    environment = os.environ if environment is None else environment
    given = environment.get(variable)
    base = Path(given) if given else Path(environment.get("HOME") or Path.home()) / below
    return base / NAME
