"""The command line from outside: exit codes, one-line errors, help and version, as a process."""

import os
import subprocess
import sys

import pytest


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "smg_console", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--port", "abc"], "smg-console: --port: given 'abc', expected a whole number from 0 to 65535"),
        (["--prot", "1"], "smg-console: --prot: unknown flag; did you mean --port?"),
        (["lunch"], "smg-console: unknown command 'lunch'; expected one of run, launch, demo, or flags alone"),
        (["demo", "--engines", "0"], "smg-console: --engines: given '0', expected a whole number from 1 to 32"),
        (["demo", "--worker-urls", "http://a:1"], "smg-console: --worker-urls: demo starts workers of its own"),
        (["launch", "--policy", "x"], "smg-console: --policy: given 'x', expected one of random"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(words: list[str], line: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_version_and_help() -> None:
    assert run("--version").stdout.startswith("smg-console 0.")
    for words in (("--help",), ("demo", "--help"), ("launch", "-h")):
        done = run(*words)
        assert done.returncode == 0
        assert "Workers:" in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80


def test_headless_imports_no_textual() -> None:
    code = (
        "import sys, gateway.gateway, smg_console.run, smg_console.cli, gateway.settings.load;"
        "print([m for m in sys.modules if m.split('.')[0] in ('textual', 'rich')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys, gateway.gateway; print([m for m in sys.modules if m.startswith('smg_console')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
