"""Every blocking method has an async twin that takes and returns the same."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from fanwood import Context, Fanwood, TaskRunRef, Tool, Tools, Workflow
from fanwood.sdk.client.runs import Runs
from fanwood.sdk.tasks.task import Runnable, Standalone

WITHOUT_TWIN: dict[type, set[str]] = {
    Runnable: {"as_tool", "asked_for", "create_bulk_run_item", "get_run_ref"},
    Standalone: {"as_tool", "asked_for", "create_bulk_run_item", "get_run_ref"},
    Workflow: {
        "as_tool",
        "asked_for",
        "create_bulk_run_item",
        "get_run_ref",
        "task",
        "durable_task",
        "on_failure_task",
        "on_success_task",
        "check",
    },
    TaskRunRef: {"stream", "with_end", "take_end", "comes_by", "watch"},
    Context: {
        "get_task_run_error",
        "group",
        "reserve",
        "log",
        "messages",
        "progress",
        "random",
        "refresh_timeout",
        "release_slot",
        "start_over",
        "task_output",
        "uuid",
        "was_skipped",
    },
    Tool: {"anthropic", "item", "openai", "openai_responses", "result"},
    Tools: {"anthropic", "count", "index", "openai", "openai_responses"},
    Runs: {"get_run_ref", "subscribe_to_stream", "watch"},
}
"""Methods that wait for nothing; or what they return has both colours."""
GENERATORS = {"map"}
"""Of these the one is a generator, and the other an async one."""


def methods(cls: type) -> dict[str, Any]:
    found = {name: getattr(cls, name) for name in dir(cls) if not name.startswith("_")}
    return {name: method for name, method in found.items() if inspect.isfunction(method)}


@pytest.mark.parametrize("cls", list(WITHOUT_TWIN), ids=lambda cls: cls.__name__)
def test_twins(cls: type) -> None:
    present = methods(cls)
    blocking = {name for name in present if not name.startswith("aio_")} - WITHOUT_TWIN[cls]
    twins = {name.removeprefix("aio_") for name in present if name.startswith("aio_")}
    assert blocking == twins
    twins -= GENERATORS
    for name in twins:
        one, other = present[name], present[f"aio_{name}"]
        assert inspect.signature(one) == inspect.signature(other), name
        assert inspect.iscoroutinefunction(other), name
        assert not inspect.iscoroutinefunction(one), name
        assert inspect.getdoc(one), name
        assert inspect.getdoc(other), name


def test_closing_has_a_twin() -> None:
    assert inspect.signature(Fanwood.close) == inspect.signature(Fanwood.aio_close)


async def test_as_async_context_manager(url: str) -> None:
    async with Fanwood(url, local_worker=True) as app:

        @app.task
        async def task() -> int:
            return 1

        assert await task.aio_run() == 1
