"""Fixtures of the SSH server's tests."""

import subprocess
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def engine() -> Iterator[str]:
    """The URL of a simulated engine."""
    command = [sys.executable, "-m", "gateway.simulator", "--engine", "vllm", "--model", "sim", "--itl-ms", "30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()
        process.wait(10)
