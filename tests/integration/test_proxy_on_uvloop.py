"""The proxy's tests once more on uvloop, whose transports differ from the standard loop's in many details."""

import asyncio
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.integration import (
    test_proxy_control,
    test_proxy_failures,
    test_proxy_fetch,
    test_proxy_listener,
    test_proxy_relay,
)

uvloop = pytest.importorskip("uvloop")


def stories(*modules: ModuleType) -> Iterator[Any]:
    """Each test of the modules with each of its parameters."""
    for module in modules:
        for name, test in vars(module).items():
            if not name.startswith("test_") or not asyncio.iscoroutinefunction(test):
                continue
            rows: list[dict[str, Any]] = [{}]
            for mark in getattr(test, "pytestmark", ()):
                assert mark.name == "parametrize", "only parametrized tests can be told again here"
                names, values = mark.args
                if isinstance(names, str):
                    rows = [{**row, names: value} for row in rows for value in values]
                else:
                    rows = [{**row, **dict(zip(names, value, strict=True))} for row in rows for value in values]
            for n, row in enumerate(rows):
                yield pytest.param(test, row, id=f"{name}-{n}")


ALL = (test_proxy_control, test_proxy_failures, test_proxy_fetch, test_proxy_listener, test_proxy_relay)


@pytest.mark.parametrize(("story", "row"), stories(*ALL))
def test_on_uvloop(story: Any, row: dict[str, Any]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story(**row))
