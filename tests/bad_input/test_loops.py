"""Tasks that attack what they run on: their loop, their own asyncio task, their thread."""

import asyncio
import sys
import threading
from typing import Any

import pytest

from fanwood.errors import TaskRunError
from tests.bad_input.places import PLACES, place


async def closes_its_loop() -> str:
    asyncio.get_running_loop().close()
    return "not reached"


async def stops_its_loop() -> str:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return "done"


async def cancels_itself() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)
    return "not reached"


async def awaits_a_cancelled_future() -> str:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future
    return "not reached"


async def cancels_all_others() -> str:
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()
    await asyncio.sleep(0.01)
    return "done"


async def subtask_exits() -> str:
    async def sub() -> None:
        sys.exit(4)

    await asyncio.create_task(sub())
    return "not reached"


async def subtask_interrupts() -> str:
    async def sub() -> None:
        raise KeyboardInterrupt

    await asyncio.create_task(sub())
    return "not reached"


async def callback_exits() -> str:
    asyncio.get_running_loop().call_soon(sys.exit, 5)
    await asyncio.sleep(0.01)
    return "done"


async def fails_in_a_group() -> str:
    async def sub() -> None:
        raise ValueError("in a group")

    async with asyncio.TaskGroup() as group:
        group.create_task(sub())
        group.create_task(asyncio.sleep(10))
    return "not reached"


async def gives_up_soon() -> str:
    async with asyncio.timeout(0.01):
        await asyncio.sleep(10)
    return "not reached"


def leaves_a_thread() -> str:
    threading.Thread(target=threading.Event().wait, args=(0.5,), daemon=True).start()
    return "done"


def runs_a_loop_of_its_own() -> str:
    async def main() -> str:
        await asyncio.sleep(0)
        return "done"

    return asyncio.run(main())


CASES: dict[Any, str] = {
    closes_its_loop: "RuntimeError",
    stops_its_loop: "done",
    cancels_itself: "CancelledError",
    awaits_a_cancelled_future: "CancelledError",
    subtask_exits: "SystemExit",
    subtask_interrupts: "KeyboardInterrupt",
    callback_exits: "done",
    fails_in_a_group: "ExceptionGroup",
    gives_up_soon: "TimeoutError",
    leaves_a_thread: "done",
    runs_a_loop_of_its_own: "done",
}


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # what they leave behind, asyncio reports
def test_every_run_ends(url: str, kind: str, function: Any) -> None:
    with place(kind, url) as where:

        @where.app.task
        async def healthy() -> int:
            return 1

        task = where.app.task(function)
        where.start()
        outcome = where.outcome(task)
        if CASES[function] == "done":
            assert outcome == "done"
        else:
            assert isinstance(outcome, TaskRunError), repr(outcome)
            assert outcome.exc_type == CASES[function]
        assert where.outcome(healthy) == 1


@pytest.mark.parametrize("kind", ["script", "worker.start"])
def test_a_task_that_cancels_all_others(url: str, kind: str) -> None:
    """Also those of the worker itself."""
    with place(kind, url) as where:

        @where.app.task
        async def healthy() -> int:
            return 1

        task = where.app.task(cancels_all_others)
        where.start()
        assert where.outcome(task) == "done"
        assert where.outcome(healthy) == 1


@pytest.mark.parametrize("kind", PLACES)
def test_a_task_that_swallows_its_cancellation(url: str, kind: str) -> None:
    with place(kind, url) as where:
        begun, ended = threading.Event(), threading.Event()

        @where.app.task
        async def stubborn() -> str:
            begun.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)
            ended.set()
            return "went on"

        where.start()

        def cancel() -> None:
            assert begun.wait(60)
            (root,) = where.app.runs.list()
            where.app.runs.cancel(root.id)

        canceller = threading.Thread(target=cancel)
        canceller.start()
        error = where.outcome(stubborn)
        canceller.join(60)
        assert type(error).__name__ == "TaskRunCancelled", repr(error)
        if kind != "asyncio.run":  # its loop ends with the waiting, and takes the task along
            assert ended.wait(60)
