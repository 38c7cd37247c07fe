"""The command line from outside: exit codes, one-line errors, help and version, as a process."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smg_console import cli


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
        (["lunch"], "smg-console: unknown command 'lunch'; expected one of run, launch, demo, "),
        (["demo", "--engines", "0"], "smg-console: --engines: given '0', expected a whole number from 1 to 32"),
        (["demo", "--worker-urls", "http://a:1"], "smg-console: --worker-urls: demo starts workers of its own"),
        (["demo", "--rate", "nan"], "smg-console: --rate: given 'nan', expected a number from 0 to 1000"),
        (["demo", "--seed"], "smg-console: --seed: given no value, expected N"),
        (["http://user:s3cret@a:1"], "smg-console: unknown command 'http://(hidden)@a:1'; expected one of"),
        (["--port\n"], "smg-console: --port\\n: unknown flag; did you mean --port?"),
        (["--config", "/"], "smg-console: --config: cannot read /: is a directory"),
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


def test_a_reader_that_has_seen_enough_of_the_help_is_no_error() -> None:
    for words in ("--help", "--version"):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb") as closed:
            done = subprocess.run(
                [sys.executable, "-m", "smg_console", words], stdout=closed, stderr=subprocess.PIPE, check=False
            )
        assert (done.returncode, done.stderr) == (0, b"")


def test_help_and_version_need_no_server_and_no_screen() -> None:
    for words in ("--help", "--version"):
        code = (
            f"import sys; from smg_console.cli import main; main([{words!r}]);"
            "print([m for m in ('aiohttp', 'textual', 'rich', 'asyncio', 'prometheus_client') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_does_not_wait_for_the_settings_to_load() -> None:
    code = "import sys; from smg_console.cli import main; main(['--version']); print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


class Started:
    """Stands where the product would start, and keeps what it was started with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answer: int | BaseException = 0
        monkeypatch.setitem(sys.modules, "smg_console.run", SimpleNamespace(run=self._run))
        demo = SimpleNamespace(run_demo=self._run, DemoOptions=lambda *values: values)
        monkeypatch.setitem(sys.modules, "smg_console.demo", demo)
        monkeypatch.setattr(cli, "_terminal", lambda: True)

    def _run(self, *given: Any) -> int:
        self.calls.append(given)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    for variable in [name for name in os.environ if name.startswith("SMG_CONSOLE_")]:
        monkeypatch.delenv(variable)
    return Started(monkeypatch)


@pytest.mark.parametrize("words", [[], ["run"], ["launch"]])
def test_no_word_run_and_launch_start_the_same(words: list[str], started: Started) -> None:
    started.answer = 7
    assert cli.main([*words, "--port=7", "--worker-urls", "http://a:1"]) == 7
    ((loaded,),) = started.calls
    assert (loaded.settings.port, loaded.settings.worker_urls) == (7, ("http://a:1",))
    assert (loaded.origins["port"], loaded.settings.no_ui) == ("--port", False)


def test_demo_has_flags_of_its_own_beside_the_settings(started: Started) -> None:
    assert cli.main(["demo", "--engines", "2", "--rate=0.5", "--port", "0"]) == 0
    ((loaded, options),) = started.calls
    assert (loaded.settings.port, options) == (0, (2, 0.5, 1))
    assert isinstance(options[0], int)


def test_demo_refuses_workers_wherever_they_were_named(
    started: Started, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "s.toml"
    file.write_text("worker_urls = ['http://a:1']", encoding="utf-8")
    assert cli.main(["demo", "--config", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"smg-console: {file}: worker_urls: demo starts workers of its own")
    monkeypatch.setenv("SMG_CONSOLE_WORKER_URLS", "http://a:1")
    assert cli.main(["demo"]) == 2
    assert capsys.readouterr().err.startswith("smg-console: SMG_CONSOLE_WORKER_URLS: demo starts workers of its own")
    assert started.calls == []


def test_without_a_terminal_it_runs_headless_whatever_is_set_for_the_console(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_terminal", lambda: False)
    monkeypatch.setenv("SMG_CONSOLE_THEME", "daylight")
    assert cli.main(["--ascii"]) == 0
    ((loaded,),) = started.calls
    assert (loaded.settings.no_ui, loaded.settings.theme, loaded.settings.ascii) == (True, None, False)


def test_ctrl_c_before_anything_runs_ends_quietly(started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    started.answer = KeyboardInterrupt()
    assert cli.main([]) == 130
    assert capsys.readouterr() == ("", "")
