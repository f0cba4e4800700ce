"""What pytest loads: the fixture, and what runs async tests that take it, unless another plugin does."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fanwood.testing.app import TestApp

FIXTURE = "fanwood_app"
OTHERS = ("anyio", "asyncio", "trio")
"""Marks of tests that other plugins run."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:  # noqa: ARG001
    """As soon as this is loaded: pytest would compile the whole package anew, with asserts that tell more, as it does
    with whatever brings a plugin. What is tested should be what works."""
    marked: object = getattr(getattr(pluginmanager, "rewrite_hook", None), "_must_rewrite", None)
    if isinstance(marked, set):
        marked.discard("fanwood")


@pytest.fixture
def fanwood_app() -> Iterator[TestApp]:
    """An app in memory, on virtual time; all Fanwood objects are there as well (see fanwood.testing.on_memory)."""
    from fanwood.testing.app import on_memory

    with on_memory() as app:
        yield app


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test that takes the fixture, if nobody else does."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function) or FIXTURE not in pyfuncitem.fixturenames:
        return None
    if any(pyfuncitem.get_closest_marker(name) is not None for name in OTHERS):
        return None
    given = pyfuncitem.funcargs
    arguments = {name: given[name] for name in inspect.signature(function).parameters if name in given}
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(function(**arguments))
    return True
