"""A store that raises anything: each command says so in a sentence."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import pytest

from fanwood.store.looks import Looks
from fanwood.store.sqlite.store import SqliteStore
from fanwood.store.store import Store
from tests.cli.conftest import Invoke, Stocked
from tests.cli.test_options import COMMANDS

VERBS = (Looks.__abstractmethods__ | Store.__abstractmethods__) - {"close", "now", "watch"}
ASKS_NOBODY = {("docs",), ("bench",), ("token",), ("mcp",), ("check",)}  # (the last: there are no durable tasks)
GIVEN = {
    ("worker",): ["shop:fanwood"],
    ("run",): ["square", "--app", "shop:fanwood", "--input", '{"n": 1}'],
    ("demo",): ["."],
    ("ui",): ["@last", "--port", "0", "--no-open"],
    ("db", "copy"): ["sqlite:///fanwood.db", "sqlite:///other.db"],
    ("db", "prune"): ["--older-than", "1h"],
    ("events", "push"): ["key", "1"],
    ("promises", "resolve"): ["fwp_x", "1"],
    ("runs", "patch"): ["@last", "1"],
    ("runs", "reprioritize"): ["@last", "--priority", "1", "--yes"],
}


class Another(BaseException):
    """Of a driver."""


KINDS = [KeyError, MemoryError, ConnectionResetError, GeneratorExit, StopIteration, asyncio.CancelledError, Another]


def arguments(path: tuple[str, ...], command: click.Command) -> list[str]:
    if path in GIVEN:
        return GIVEN[path]
    asks = ["--yes"] if any("--yes" in p.opts for p in command.params) else []
    return [*asks, *("@last" for p in command.params if isinstance(p, click.Argument))]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_command_says_so(
    invoke: Invoke, stocked: Stocked, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    stocked()

    async def raises(*_: Any, **__: Any) -> Any:
        raise kind("injected")

    for verb in VERBS - {"open"} if kind is KeyError else VERBS:
        monkeypatch.setattr(SqliteStore, verb, raises)
    for path, command in COMMANDS.items():
        if path not in ASKS_NOBODY:
            result = invoke(*path, *arguments(path, command))
            assert result.exit_code == (1 if path == ("doctor",) else 2), (path, result.output)
            last = result.output.splitlines()[-1]
            assert last.startswith(("error: ", "problem ")), (path, result.output)
            assert "injected" in last, (path, result.output)
            assert "Traceback" not in result.output, path
