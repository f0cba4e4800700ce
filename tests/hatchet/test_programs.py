"""Programs of the shapes that Hatchet's spawning examples have: its names, another import.

Each declares its tasks on an object of its own and has a `main`; here it is imported, run in this process on a database
of its own, and says what is expected.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAMS = Path(__file__).parent / "programs"

EXPECTED: dict[str, Any] = {
    "bulk_fanout": 12,
    "bulk_replay": {"first": 5, "second": 3},
    "cancellation": ["CANCELLED", "CANCELLED", "CANCELLED"],
    "child_spawn_cache_on_retry": ({"made by": "child"}, ["COMPLETED"]),
    "dag": {
        "one": {"value": 1},
        "two": {"value": 2},
        "add": {"total": 3},
        "last": {"name": "last", "of": "Dag"},
    },
    "dict_input": "Hello, Ada!",
    "fanout": (
        [{"process": {"status": str(i)}, "process2": {"status2": f"{i}!"}} for i in range(2)],
        [0, 1],
        4,
    ),
    "fanout_sync": [{"process": {"status": "success 0"}}, {"process": {"status": "success 1"}}],
    "non_retryable": {
        "NonRetryable:is_not": 1,
        "NonRetryable:is_tried_again": 2,
        "NonRetryable:is_tried_again_too": 2,
    },
    "on_failure": ("FAILED", {"exc": "step1 failed", "type": "RuntimeError", "traced": True}),
    "return_exceptions": [{"index": 1}, {"index": 3}],
    "run_details": {
        "run": "FAILED",
        "step1": "COMPLETED",
        "fail_step": "FAILED",
        "cancel_step": "CANCELLED",
        "step2": "COMPLETED",
    },
    "simple": 5,
    "timeout": {"refresh": {"more": 15.0}},
    "unit_testing": 4,
}


@pytest.fixture
def program(request: pytest.FixtureRequest, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("FANWOOD_DATABASE_URL", url)
    module = load(request.param)
    yield module
    module.hatchet.close()


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"hatchet_{name}", PROGRAMS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_that_every_program_is_expected_to_do_something():
    assert sorted([*EXPECTED, "dataclasses"]) == sorted(path.stem for path in PROGRAMS.glob("*.py"))


@pytest.mark.parametrize("program", EXPECTED, indirect=True)
def test_program(program: ModuleType):
    result = program.main()
    if inspect.isawaitable(result):
        result = asyncio.run(_awaited(result))
    assert result == EXPECTED[program.__name__.removeprefix("hatchet_")]


async def _awaited(result: Any) -> Any:
    return await result


@pytest.mark.parametrize("program", ["simple"], indirect=True)
def test_the_blocking_ways(program: ModuleType):
    assert program.blocking() == [{"result": "done"}] * 6


@pytest.mark.parametrize("program", ["dataclasses"], indirect=True)
def test_dataclasses(program: ModuleType):
    assert program.main() == program.Greeting("Hello, Ada!")
