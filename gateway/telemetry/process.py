"""What the system says of this process: its clock, its open files and its memory. Linux tells all of it."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

_OPEN, _MEMORY = Path("/proc/self/fd"), Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """At the moment `at`, in wall-clock seconds. None: the system does not say."""

    at: float
    pid: int
    open_files: int | None
    most_open_files: int | None
    """The soft limit, which is the one that holds."""
    resident_bytes: int | None


def process_facts() -> ProcessFacts:
    """Read now. With thousands of open files this takes milliseconds: not for the loop."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = None if soft == resource.RLIM_INFINITY else soft
    return ProcessFacts(time.time(), os.getpid(), _open_files(), limit, _resident())


def _open_files() -> int | None:
    try:
        return len(os.listdir(_OPEN)) - 1  # the directory itself is one while it is read
    except OSError:
        return None


def _resident() -> int | None:
    try:
        return int(_MEMORY.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None
