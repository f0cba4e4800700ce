"""What surrounds the engine: the caller's loop, forks, tasks that others cancel, code that does not stop."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import threading
from typing import Any

import pytest

from fanwood import Fanwood, TaskRunError
from fanwood.engine import signals
from fanwood.errors import TaskRunTimedOut
from fanwood.worker import overtime
from tests.conftest import MakeApp


def test_a_call_never_blocks_the_loop_that_awaits_it(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it asks who serves the task, and becomes its worker."""
    app = make_app(local_worker=None)
    answered = threading.Event()
    kind = type(app.engine().store)
    served, register = kind.served, kind.register

    async def until_the_loop_has_turned() -> None:
        while not answered.is_set():
            await asyncio.sleep(0.005)

    async def slow_served(self: Any, worker_id: int, task: str) -> bool:
        await until_the_loop_has_turned()
        return await served(self, worker_id, task)

    async def slow_register(self: Any, info: Any, tasks: Any) -> int:
        await until_the_loop_has_turned()
        return await register(self, info, tasks)

    monkeypatch.setattr(kind, "served", slow_served)
    monkeypatch.setattr(kind, "register", slow_register)

    @app.task
    async def one(input: dict) -> int:
        return 1

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.2, answered.set)  # which a blocked loop would never come to
        await asyncio.gather(*[one.aio_run_no_wait({}) for _ in range(3)])

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_an_engine_of_its_own(app: Fanwood) -> None:
    @app.task
    def double(input: dict) -> int:
        return 2 * input["n"]

    assert double.run({"n": 1}) == 2
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said: Any = double.run({"n": 2}, timeout=60)
        except BaseException as error:
            said = repr(error)
        os.write(write, json.dumps(said).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert json.loads(pipe.read()) == 4
    os.waitpid(child, 0)
    assert double.run({"n": 3}) == 6


def test_a_task_that_is_cancelled_before_its_first_step_is_not_lost(app: Fanwood) -> None:
    """By a library, say, that cleans up by cancelling all there is."""

    @app.task
    async def one(input: dict) -> int:
        await asyncio.sleep(0)
        return 1

    async def main() -> int:
        cancelled, refs = 0, list[Any]()
        while not cancelled:  # they may all have begun before it is looked
            refs = await one.aio_run_many_no_wait([one.create_bulk_run_item({"n": n}) for n in range(50)])
            ends = asyncio.gather(*(ref.aio_result() for ref in refs))
            while not cancelled and not ends.done():
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    coroutine: Any = task.get_coro()
                    if (
                        coroutine.__name__ == "_execute_async"
                        and inspect.getcoroutinestate(coroutine) == "CORO_CREATED"
                    ):
                        task.cancel()
                        cancelled += 1
                await asyncio.sleep(0)
            assert await ends == [1] * 50
        return cancelled

    assert asyncio.run(asyncio.wait_for(main(), 60))


def test_code_that_does_not_stop_is_said_and_does_not_hold_all_slots(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(overtime, "HUNG_SECONDS", 0.1)
    app = make_app(slots=2)
    gate, begun = threading.Event(), list[int]()

    @app.task(execution_timeout=1.0)
    def hangs(input: dict) -> int:
        begun.append(1)
        gate.wait(60)
        return 1

    @app.task
    def quick(input: dict) -> int:
        return 1

    try:
        with caplog.at_level(logging.WARNING):
            while len(begun) < 2:  # (its limit may run out before it has begun)
                with pytest.raises(TaskRunTimedOut):
                    hangs.run({"n": len(begun)})
            assert quick.run({}, timeout=60) == 1
        assert "goes on though its run is over" in caplog.text
    finally:
        gate.set()


def test_a_task_does_not_close_what_executes_it(app: Fanwood) -> None:
    """It would be handed back, and do so again with the next who opens it."""

    @app.task
    def closes(_: None) -> None:
        app.close()

    @app.task
    async def closes_too(_: None) -> None:
        await app.aio_close()

    for task in (closes, closes_too):
        with pytest.raises(TaskRunError, match="A task can't close the Fanwood object that executes it"):
            task.run(None)


def test_a_loop_that_makes_no_tasks_fails_the_runs_on_it(app: Fanwood) -> None:
    @app.task
    async def one(n: int) -> int:
        return n

    def refuses(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no more tasks")

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        await one.aio_run(0)
        loop.set_task_factory(refuses)
        try:
            failed = await one.aio_run_many([one.create_bulk_run_item(n) for n in (1, 2, 3)], return_exceptions=True)
        finally:
            loop.set_task_factory(None)
        return [*failed, await one.aio_run(4)]

    *failed, then = asyncio.run(main())
    assert all("no more tasks" in str(error) for error in failed)
    assert then == 4


def test_a_call_into_a_loop_that_fails_holds_up_no_other() -> None:
    done: list[int] = []

    def fails() -> None:
        raise ValueError("for a test")

    async def main() -> None:
        port = signals.port_of(asyncio.get_running_loop())
        port.post(fails)
        port.post(lambda: done.append(1))
        while not done:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 60))
