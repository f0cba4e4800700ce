"""References to runs, waits with a time limit, and calls that would block a loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fanwood import (
    BlockingCallError,
    Fanwood,
    RunState,
    TaskRunError,
    UsageError,
    WaitTimeoutError,
)
from tests.semantics.conftest import Number

# --- references ----------------------------------------------------------------------------------------------------


def test_references(app: Fanwood, square: Any) -> None:
    ref = square.run_no_wait(Number(n=6))
    assert ref.result(timeout=60) == 36
    assert ref.status() is RunState.COMPLETED
    assert ref.workflow_run_id == ref.id
    again = square.get_run_ref(ref.id)
    assert again == ref
    assert again.result() == 36
    assert app.runs.get_run_ref(ref.id).result() == 36
    assert app.runs.get_result(ref.id) == 36
    assert app.runs.get_status(ref.id) is RunState.COMPLETED


async def test_references_async(app: Fanwood, square: Any) -> None:
    ref = await square.aio_run_no_wait(Number(n=6))
    assert await ref == 36
    assert await ref.aio_result() == 36
    assert await ref.aio_status() is RunState.COMPLETED
    assert await (await square.aio_run(Number(n=5), wait_for_result=False)) == 25


def test_a_reference_from_another_application(make_app: Any) -> None:
    here, there = make_app(), make_app(local_worker=False)

    @here.task
    async def task() -> str:
        return "done"

    ref = task.run_no_wait()
    assert there.runs.get_run_ref(ref.id).result(timeout=60) == "done"


def test_a_childs_reference_awaited_by_another_child(app: Fanwood, square: Any) -> None:
    @app.task
    async def waiter(input: dict[str, str]) -> int:
        return await app.runs.get_run_ref(input["id"])

    @app.task
    async def parent() -> int:
        ref = await square.aio_run_no_wait(Number(n=9))
        return await waiter.aio_run({"id": ref.id})

    assert parent.run() == 81


def test_waits_take_a_timeout_and_the_run_goes_on(app: Fanwood) -> None:
    gate = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    @app.task
    async def slow() -> str:
        loops.append(asyncio.get_running_loop())
        await gate.wait()
        return "at last"

    @app.task
    async def parent() -> str:
        ref = await slow.aio_run_no_wait()
        try:
            await ref.aio_result(timeout=0.02)
        except WaitTimeoutError:
            gate.set()
            return await ref
        return "too early"

    assert parent.run() == "at last"
    gate.clear()
    with pytest.raises(WaitTimeoutError):
        slow.run(timeout=0.02)
    with pytest.raises(WaitTimeoutError):
        slow.run_many([slow.create_bulk_run_item(additional_metadata={"a": 1})], timeout=0.02)
    refs = [run for run in app.runs.list(task_name="slow") if not run.status.is_terminal]
    assert len(refs) == 2
    loops[-1].call_soon_threadsafe(gate.set)
    assert [app.runs.get_result(run.id, timeout=60) for run in refs] == ["at last"] * 2


# --- refused -------------------------------------------------------------------------------------------------------


def test_a_blocking_call_inside_an_async_task_names_its_twin(app: Fanwood, square: Any) -> None:
    @app.task
    async def parent(input: Number) -> Any:
        match input.n:
            case 0:
                return square.run(Number(n=1))
            case 1:
                return square.run_many([square.create_bulk_run_item(Number(n=1))])
            case _:
                ref = await square.aio_run_no_wait(Number(n=1))
                return ref.result()

    for n, twin in enumerate(["square.aio_run(", "square.aio_run_many(", "aio_result("]):
        with pytest.raises(TaskRunError) as caught:
            parent.run(Number(n=n))
        assert caught.value.exc_type == "BlockingCallError"
        assert twin in caught.value.message


async def test_a_blocking_call_on_a_loop_outside_of_tasks(square: Any) -> None:
    with pytest.raises(BlockingCallError, match="aio_run"):
        square.run(Number(n=1))


def test_a_task_is_not_called_like_a_function(square: Any) -> None:
    with pytest.raises(UsageError, match="mock_run"):
        square(Number(n=1))
