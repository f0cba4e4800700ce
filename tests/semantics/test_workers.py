"""Workers in one process: inside a script, on the user's loop, by themselves; stopping, and what others go on with."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanwood import (
    BlockingCallError,
    Context,
    DuplicateTaskError,
    EmptyModel,
    Fanwood,
    NotInTaskError,
    RunState,
    SettingsError,
    TaskRunError,
)
from tests.serving import serving

# --- loops ---------------------------------------------------------------------------------------------------------


def test_async_tasks_run_on_the_loop_that_asks_then_on_the_next_then_on_ours(app: Fanwood) -> None:
    @app.task
    async def child(input: int) -> int:
        return id(asyncio.get_running_loop())

    @app.task
    async def parent(input: int) -> list[int]:
        return [id(asyncio.get_running_loop()), await child.aio_run(input)]

    loops: list[Any] = []

    async def main(number: int) -> None:
        loops.append(asyncio.get_running_loop())
        own = id(loops[-1])
        assert await parent.aio_run(number) == [own, own]

    asyncio.run(main(1))
    asyncio.run(main(2))
    mine = parent.run(3)
    assert mine[0] == mine[1]
    assert mine[0] not in {id(loop) for loop in loops}


def test_what_is_declared_once_it_works_is_executed_as_well(app: Fanwood) -> None:
    @app.task
    def first() -> int:
        return 1

    assert first.run() == 1

    @app.task
    def second() -> int:
        return 2

    assert second.run_no_wait().result(60) == 2
    flow = app.workflow(name="flow")

    @flow.task()
    def third(input: Any, ctx: Context) -> int:
        return 3

    assert flow.run() == {"third": 3}

    @flow.task()
    def fourth(input: Any, ctx: Context) -> int:
        return 4

    assert flow.run_no_wait().result(60) == {"third": 3, "fourth": 4}


def test_a_loop_that_ends_under_a_run_leaves_it_to_another(app: Fanwood) -> None:
    started = threading.Event()
    attempts: list[int] = []

    @app.task
    async def task(input: EmptyModel, ctx: Context) -> int:
        attempts.append(ctx.attempt_number)
        started.set()
        if len(attempts) == 1:
            await asyncio.Event().wait()
        return ctx.retry_count

    async def main() -> str:
        ref = await task.aio_run_no_wait()
        await asyncio.to_thread(started.wait, 60)
        return ref.id

    run_id = asyncio.run(main())
    assert app.runs.get_result(run_id, timeout=60) == 0
    assert len(attempts) == 2


def test_contextvars_of_a_worker_are_carried_into_threads(make_app: Any) -> None:
    app = make_app(local_worker=False)
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    who.set("the one who started")

    @app.task
    def sync_task() -> str:
        before = who.get()
        who.set("changed in a task")
        return before

    @app.task
    async def async_task() -> str:
        before = who.get()
        who.set("changed in a task")
        return before

    async def main() -> None:
        worker = app.worker()
        working = asyncio.create_task(worker.aio_start())
        for _ in range(2):
            assert await sync_task.aio_run() == "the one who started"
            assert await async_task.aio_run() == "the one who started"
        worker.stop()
        await working

    asyncio.run(main())
    assert who.get() == "the one who started"


def test_sync_tasks_do_not_use_the_loops_default_executor(app: Fanwood) -> None:
    @app.task
    def task() -> str:
        return threading.current_thread().name

    async def main() -> str:
        return await task.aio_run()

    assert asyncio.run(main()).startswith("fanwood-task")


# --- workers -------------------------------------------------------------------------------------------------------


def test_a_worker_beside_a_client(make_app: Any) -> None:
    app = make_app(local_worker=False)

    @app.task
    async def task(input: int) -> int:
        return input + 1

    with serving(app.worker(slots=2)):
        assert task.run_many([task.create_bulk_run_item(i) for i in range(10)]) == list(range(1, 11))


async def test_aio_start_in_an_existing_loop(make_app: Any) -> None:
    app = make_app(local_worker=False)
    loop = asyncio.get_running_loop()

    @app.task
    async def task() -> bool:
        return asyncio.get_running_loop() is loop

    worker = app.worker()
    serving = asyncio.create_task(worker.aio_start())
    assert await task.aio_run() is True
    with pytest.raises(BlockingCallError, match="aio_start"):
        worker.start()
    await worker.exit_gracefully()
    await serving
    ref = await task.aio_run_no_wait()
    assert await ref.aio_status() is RunState.QUEUED


def test_a_worker_serves_only_what_it_is_told_to(make_app: Any) -> None:
    app = make_app(local_worker=False)

    @app.task
    async def one() -> int:
        return 1

    @app.task
    async def two() -> int:
        return 2

    with serving(app.worker(workflows=[one])):
        ref = two.run_no_wait()
        assert one.run() == 1
        assert ref.status() is RunState.QUEUED
    with serving(app.worker(workflows=[two])):
        assert ref.result(timeout=60) == 2


def test_lifespan(make_app: Any) -> None:
    app = make_app(local_worker=False)
    events: list[str] = []

    async def lifespan() -> AsyncIterator[dict[str, int]]:
        events.append("begins")
        yield {"pool": 7}
        events.append("ends")

    @app.task
    async def task(input: EmptyModel, ctx: Context) -> int:
        events.append("runs")
        return ctx.lifespan["pool"]

    with serving(app.worker(lifespan=lifespan)):
        assert task.run() == 7
    assert events == ["begins", "runs", "ends"]


def test_a_stopping_worker_lets_runs_end_within_its_grace(make_app: Any) -> None:
    app = make_app(local_worker=False, grace=60)
    started, gate = threading.Event(), threading.Event()

    @app.task
    def task(input: EmptyModel, ctx: Context) -> int:
        started.set()
        gate.wait(60)
        return ctx.attempt_number

    worker = app.worker()
    with serving(worker) as thread:
        ref = task.run_no_wait()
        assert started.wait(60)
        worker.stop()
        gate.set()
        thread.join(60)
    assert ref.result(timeout=60) == 1


class HandedBack:
    """A tree that is handed back in mid-run: some children completed, one failed, one in flight, some not begun."""

    def __init__(self, app: Fanwood, colour: str) -> None:
        self.app = app
        self.counts: Counter[Any] = Counter()
        self.in_flight = threading.Event()
        self.second_worker = False

        @app.task
        async def child(input: int) -> int:
            self.counts[input] += 1
            if input == 3:
                raise ValueError("three fails")
            if input == 5 and not self.second_worker:
                self.in_flight.set()
                await asyncio.Event().wait()
            return input

        @app.task
        async def async_parent(input: EmptyModel, ctx: Context) -> list[Any]:
            self.counts["parent"] += 1
            items = [child.create_bulk_run_item(n) for n in range(5)]
            first = await child.aio_run_many(items, return_exceptions=True)
            return [*map(str, first), await child.aio_run(5), ctx.retry_count]

        @app.task
        def sync_parent(input: EmptyModel, ctx: Context) -> list[Any]:
            self.counts["parent"] += 1
            first = child.run_many([child.create_bulk_run_item(n) for n in range(5)], return_exceptions=True)
            return [*map(str, first), child.run(5), ctx.retry_count]

        self.parent = async_parent if colour == "async" else sync_parent


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_tree_that_was_handed_back_is_resumed(make_app: Any, colour: str) -> None:
    """Completed children don't run again, failed ones stay failed, and nothing counts as a failure."""
    app = make_app(local_worker=False, grace=0)
    story = HandedBack(app, colour)
    with serving(app.worker()):
        ref = story.parent.run_no_wait()
        assert story.in_flight.wait(60)
    runs = app.runs
    assert runs.get(ref.id).status is RunState.QUEUED
    assert {c.status for c in runs.children(ref.id)} == {RunState.COMPLETED, RunState.FAILED, RunState.QUEUED}
    story.second_worker = True
    with serving(app.worker()):
        result = ref.result(timeout=60)
    assert result[:3] == ["0", "1", "2"]
    assert "three fails" in result[3]
    assert result[4:] == ["4", 5, 0]
    assert story.counts == {0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 2, "parent": 2}
    assert len(runs.children(ref.id)) == 6


def test_a_closed_app_hands_back_what_its_local_worker_executes(make_app: Any) -> None:
    first = make_app()
    started = threading.Event()

    def declare(app: Fanwood) -> Any:
        @app.task
        async def task(input: EmptyModel, ctx: Context) -> list[int]:
            if not started.is_set():
                started.set()
                await asyncio.Event().wait()
            return [ctx.attempt_number, ctx.retry_count]

        return task

    ref = declare(first).run_no_wait()
    assert started.wait(60)
    first.close()
    second = make_app()
    assert declare(second).run() == [1, 0]
    assert second.runs.get_result(ref.id, timeout=60) == [2, 0]
    assert len(first.runs.list()) == 2  # opened again


# --- applications --------------------------------------------------------------------------------------------------


def test_namespaces_keep_applications_apart(make_app: Any) -> None:
    def declare(app: Fanwood, answer: str) -> Any:
        @app.task
        async def task() -> str:
            return answer

        return task

    red, blue, none = make_app(namespace="red"), make_app(namespace="blue"), make_app()
    tasks = [declare(app, name) for app, name in ((red, "red"), (blue, "blue"), (none, "none"))]
    assert [task.run() for task in tasks] == ["red", "blue", "none"]
    assert [run.task_name for run in red.runs.list()] == ["red/task"]
    assert [run.task_name for run in blue.runs.list(task_name="task")] == ["blue/task"]
    assert red.find("task") is tasks[0]


def test_two_tasks_with_one_name_are_an_error_that_shows_both_places(app: Fanwood) -> None:
    @app.task(name="same")
    async def first() -> None: ...

    with pytest.raises(DuplicateTaskError, match=r"test_workers\.py:\d+: .*same already .*test_workers\.py:\d+"):

        @app.task(name="same")
        async def second() -> None: ...


@pytest.mark.parametrize("name", ["", "a:b", "a/b"])
def test_impossible_names(app: Fanwood, name: str) -> None:
    with pytest.raises(SettingsError):
        app.workflow(name=name)


def test_the_current_context(app: Fanwood) -> None:
    @app.task
    async def async_task(input: EmptyModel, ctx: Context) -> bool:
        return app.get_current_context().task_run_id == ctx.task_run_id

    @app.task
    def sync_task(input: EmptyModel, ctx: Context) -> bool:
        return app.get_current_context().task_run_id == ctx.task_run_id

    assert async_task.run() is True
    assert sync_task.run() is True
    with pytest.raises(NotInTaskError):
        app.get_current_context()


def test_what_a_task_logs_is_stored_with_its_run(app: Fanwood) -> None:
    @app.task(retries=1)
    async def task(input: EmptyModel, ctx: Context) -> None:
        ctx.log(f"try {ctx.retry_count}")
        ctx.log({"a": 1}, level="WARNING")
        if ctx.retry_count == 0:
            raise ValueError("again")

    ref = task.run_no_wait()
    ref.result(timeout=60)
    run_id = bytes.fromhex(ref.id.replace("-", ""))
    lines = app.engine().call(lambda store: store.logs(run_id)).result()
    assert [(line.seq, line.attempt, line.level, line.message) for line in lines] == [
        (0, 1, "info", "try 0"),
        (1, 1, "warning", "{'a': 1}"),
        (2, 2, "info", "try 1"),
        (3, 2, "warning", "{'a': 1}"),
    ]


def test_an_unknown_log_level_is_an_error(app: Fanwood) -> None:
    @app.task
    async def task(input: EmptyModel, ctx: Context) -> None:
        ctx.log("x", level="loud")

    with pytest.raises(TaskRunError, match="level must be one of"):
        task.run()


def test_ctx_children(app: Fanwood) -> None:
    @app.task
    async def child(input: int) -> int:
        return input

    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> list[int]:
        before = await ctx.aio_children()
        await child.aio_run_many_no_wait([child.create_bulk_run_item(n) for n in range(5)])
        return [len(before), *[await ref for ref in await ctx.aio_children()]]

    @app.task
    def sync_parent(input: EmptyModel, ctx: Context) -> list[int]:
        child.run(7)
        return [ref.result() for ref in ctx.children()]

    assert parent.run() == [0, 0, 1, 2, 3, 4]
    assert sync_parent.run() == [7]


def test_mock_run(app: Fanwood) -> None:
    @app.task(retries=2)
    def sync_task(input: int, ctx: Context) -> list[Any]:
        return [input, ctx.retry_count, ctx.attempt_number, ctx.max_attempts, ctx.additional_metadata, ctx.lifespan]

    @app.task
    async def async_task(input: int) -> int:
        return input + 1

    assert sync_task.mock_run(1) == [1, 0, 1, 3, {}, None]
    given = sync_task.mock_run(1, retry_count=1, additional_metadata={"a": 1}, lifespan="pool")
    assert given == [1, 1, 2, 3, {"a": 1}, "pool"]
    assert asyncio.run(async_task.aio_mock_run(1)) == 2
    assert app.runs.list() == []


def test_what_the_context_says_of_a_child(app: Fanwood) -> None:
    @app.task
    async def child(input: EmptyModel, ctx: Context) -> list[Any]:
        return [ctx.parent_workflow_run_id, ctx.depth, ctx.child_key, ctx.workflow_name, ctx.is_cancelled]

    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> bool:
        assert ctx.parent_workflow_run_id is None
        assert ctx.workflow_run_id == ctx.task_run_id
        return await child.aio_run(child_key="k") == [ctx.task_run_id, 1, "k", "child", False]

    assert parent.run() is True
