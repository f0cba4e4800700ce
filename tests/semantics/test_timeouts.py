"""Limits: of an attempt, of the queue, and those inherited from an ancestor; each error says which, and whose."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fanwood import Context, EmptyModel, Fanwood, RunState, TaskRunError, TaskRunTimedOut, UsageError
from fanwood.ids import id_bytes
from fanwood.model.records import Swept
from tests.conftest import MakeApp
from tests.faults.processes import until
from tests.semantics.in_time import in_time


@in_time
def test_execution_timeout_of_an_async_task(make_app: MakeApp, limit: float, begun: threading.Event) -> None:
    app, cancelled = make_app(), threading.Event()

    @app.task(execution_timeout=limit)
    async def slow() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(TaskRunTimedOut) as caught:
        slow.run()
    error = caught.value
    assert (error.limit, error.owner, error.task_name) == ("execution_timeout", error.run_id, "slow")
    assert f"execution_timeout of {limit:g} s" in str(error)
    assert begun.is_set()
    assert cancelled.wait(60)


@in_time
def test_execution_timeout_of_a_sync_task(make_app: MakeApp, limit: float, begun: threading.Event) -> None:
    """Its thread can't be killed; it sees `is_cancelled`, and is interrupted at its next call."""
    app = make_app()
    go_on, interrupted = threading.Event(), threading.Event()
    seen: list[bool] = []

    @app.task
    def leaf() -> None: ...

    @app.task(execution_timeout=f"{limit}s")
    def slow(input: EmptyModel, ctx: Context) -> None:
        begun.set()
        go_on.wait(60)
        seen.append(ctx.is_cancelled)
        try:
            leaf.run()
        except BaseException:
            interrupted.set()
            raise

    with pytest.raises(TaskRunTimedOut) as caught:
        slow.run()
    assert caught.value.limit == "execution_timeout"
    go_on.set()
    assert begun.is_set()
    assert interrupted.wait(60)
    assert seen == [True]
    assert app.runs.children(caught.value.run_id) == []


def test_a_task_that_blocks_its_loop_does_not_outrun_its_limit(make_app: Any) -> None:
    app = make_app()
    go_on = threading.Event()

    @app.task(execution_timeout=0.05)
    async def blocking() -> None:
        go_on.wait(60)

    with pytest.raises(TaskRunTimedOut):
        blocking.run()
    go_on.set()


@in_time
def test_a_time_out_is_retried_like_a_failure(make_app: MakeApp, limit: float, begun: threading.Event) -> None:
    app = make_app()

    @app.task(execution_timeout=timedelta(seconds=limit), retries=1)
    async def task(input: EmptyModel, ctx: Context) -> int:
        if ctx.retry_count == 0:
            await asyncio.Event().wait()
        begun.set()
        return ctx.retry_count

    assert task.run() == 1


def test_a_run_that_ends_in_time_is_left_alone(app: Fanwood) -> None:
    @app.task(execution_timeout=600)
    async def quick(input: EmptyModel, ctx: Context) -> bool:
        return ctx.deadline is not None

    assert quick.run() is True


def test_schedule_timeout(make_app: Any) -> None:
    app = make_app(slots=1)
    gate = threading.Event()

    @app.task
    def busy() -> None:
        gate.wait(60)

    @app.task(schedule_timeout=0.05)
    async def impatient() -> None: ...

    busy_ref = busy.run_no_wait()
    with pytest.raises(TaskRunTimedOut) as caught:
        impatient.run()
    gate.set()
    error = caught.value
    assert (error.limit, error.owner) == ("schedule_timeout", error.run_id)
    assert "schedule_timeout of 0.05 s of impatient" in str(error)
    busy_ref.result()


@in_time
def test_children_inherit_the_deadline_and_the_error_names_its_owner(
    make_app: MakeApp, limit: float, begun: threading.Event
) -> None:
    app, ended = make_app(), threading.Event()

    @app.task
    async def leaf() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    @app.task
    async def middle(input: EmptyModel, ctx: Context) -> None:
        assert ctx.deadline is not None
        await leaf.aio_run()

    @app.task(execution_timeout=limit)
    async def top() -> None:
        await middle.aio_run()

    with pytest.raises(TaskRunTimedOut) as top_error:
        top.run()
    assert top_error.value.limit == "execution_timeout"
    assert begun.is_set()
    assert ended.wait(60)
    root = top_error.value.run_id
    (middle_run,) = app.runs.children(root)
    (leaf_run,) = app.runs.children(middle_run.id)
    for run in (middle_run, leaf_run):
        assert run.status in (RunState.FAILED, RunState.CANCELLED)
        assert root in (app.runs.get(run.id).error or "")


def test_a_childs_own_shorter_limit_stays(app: Fanwood) -> None:
    @app.task(execution_timeout=0.05)
    async def leaf() -> None:
        await asyncio.Event().wait()

    @app.task(execution_timeout=600)
    async def parent() -> list[str]:
        try:
            await leaf.aio_run()
        except TaskRunTimedOut as error:
            return [error.limit, error.owner, error.run_id]
        return []

    limit, owner, run_id = parent.run()
    assert (limit, owner) == ("execution_timeout", run_id)


def test_a_childs_longer_limit_is_cut_to_its_parents(app: Fanwood) -> None:
    @app.task(execution_timeout=5000)
    async def leaf(input: EmptyModel, ctx: Context) -> float:
        assert ctx.deadline is not None
        return ctx.deadline.timestamp()

    @app.task(execution_timeout=600)
    async def parent(input: EmptyModel, ctx: Context) -> list[float]:
        assert ctx.deadline is not None
        return [await leaf.aio_run(), ctx.deadline.timestamp()]

    child, own = parent.run()
    assert child == own


def test_children_that_are_not_waited_for_or_go_on_do_not_inherit(app: Fanwood) -> None:
    @app.task
    async def leaf(input: int, ctx: Context) -> bool:
        return ctx.deadline is None

    @app.task(execution_timeout=600)
    async def parent() -> list[bool]:
        ref = await leaf.aio_run_no_wait(1)
        (other,) = await leaf.aio_run_many([leaf.create_bulk_run_item(2)], wait_for_result=False)
        return [await ref, await other, await leaf.aio_run(3, on_parent_end="continue"), await leaf.aio_run(4)]

    assert parent.run() == [True, True, True, False]


@in_time
def test_a_retried_parents_new_deadline_is_its_childrens(
    make_app: MakeApp, limit: float, begun: threading.Event
) -> None:
    """The second try has its time again, and so has a child that the first one left unfinished."""
    app, left = make_app(), list[int]()

    @app.task
    async def leaf(input: EmptyModel, ctx: Context) -> int:
        left.append(ctx.attempt_number)
        if ctx.attempt_number == 1:
            await asyncio.Event().wait()
        assert ctx.deadline is not None
        return ctx.attempt_number

    @app.task(execution_timeout=limit, retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> int:
        if ctx.retry_count == 1 and left:
            ctx.refresh_timeout(600)
            begun.set()
        return await leaf.aio_run()

    assert parent.run() == 2


@in_time
def test_refresh_timeout_moves_the_own_limit(make_app: MakeApp, limit: float, begun: threading.Event) -> None:
    app = make_app()

    @app.task(execution_timeout=limit)
    async def task(input: EmptyModel, ctx: Context) -> str:
        before = ctx.deadline
        ctx.refresh_timeout("600s")
        begun.set()
        assert before is not None
        assert ctx.deadline is not None
        assert (ctx.deadline - before).total_seconds() > 500
        await asyncio.sleep(limit + 0.05)  # past the old limit: that is what is tested
        return "in time"

    assert task.run() == "in time"


@in_time
def test_refresh_timeout_moves_the_deadline_of_running_and_queued_children(
    make_app: MakeApp, limit: float, begun: threading.Event
) -> None:
    app = make_app(slots=1)
    started = asyncio.Event()

    @app.task
    async def leaf(input: int) -> int:
        if not started.is_set():
            started.set()
            await asyncio.sleep(limit + 0.1)  # past the old limit
        return input

    @app.task(execution_timeout=limit)
    async def parent(input: EmptyModel, ctx: Context) -> list[int]:
        children = asyncio.ensure_future(leaf.aio_run_many([leaf.create_bulk_run_item(n) for n in range(2)]))
        await started.wait()
        ctx.refresh_timeout(600)
        begun.set()
        return await children

    assert parent.run() == [0, 1]


@in_time
def test_refresh_timeout_leaves_a_childs_own_limit(make_app: MakeApp, limit: float, begun: threading.Event) -> None:
    app, started = make_app(), asyncio.Event()

    @app.task(execution_timeout=limit)
    async def leaf() -> None:
        started.set()
        await asyncio.Event().wait()

    @app.task(execution_timeout=500)
    async def parent(input: EmptyModel, ctx: Context) -> str:
        child = asyncio.ensure_future(leaf.aio_run())
        waits = asyncio.ensure_future(started.wait())
        await asyncio.wait([waits, child], return_when=asyncio.FIRST_COMPLETED)
        assert waits.done(), "its limit ran out before it had begun"
        ctx.refresh_timeout(3000)
        begun.set()
        try:
            await child
        except TaskRunTimedOut as error:
            return error.limit
        return ""

    assert parent.run(timeout=60) == "execution_timeout"


def test_refresh_timeout_does_not_move_children_past_an_ancestors_deadline(app: Fanwood) -> None:
    started, gate = asyncio.Event(), asyncio.Event()
    ids: list[str] = []

    @app.task
    async def leaf(input: EmptyModel, ctx: Context) -> float:
        ids.append(ctx.task_run_id)
        started.set()
        await gate.wait()
        assert ctx.deadline is not None
        return ctx.deadline.timestamp()

    @app.task(execution_timeout=100)
    async def middle(input: EmptyModel, ctx: Context) -> float:
        child = asyncio.ensure_future(leaf.aio_run())
        await started.wait()
        ctx.refresh_timeout(5000)
        while (await app.runs.aio_get(ids[0])).status is RunState.QUEUED or not await told(ids[0]):
            await asyncio.sleep(0.01)
        gate.set()
        return await child

    async def told(run_id: str) -> bool:
        id_ = bytes.fromhex(run_id.replace("-", ""))
        record = await asyncio.wrap_future(app.engine().call(lambda store: store.get(id_)))
        assert record.deadline is not None
        return record.deadline > app.clock.now() + 200_000_000

    @app.task(execution_timeout=600)
    async def top(input: EmptyModel, ctx: Context) -> list[float]:
        assert ctx.deadline is not None
        return [await middle.aio_run(), ctx.deadline.timestamp()]

    leafs, tops = top.run()
    assert leafs <= tops


@pytest.mark.parametrize("told", [False, True], ids=["not told yet", "told"])
@in_time
def test_who_executes_below_a_moved_deadline_is_not_interrupted_by_the_old_one(
    make_app: MakeApp, limit: float, begun: threading.Event, told: bool
) -> None:
    """Nor are those that begin or are born meanwhile, also on other workers. (`told`: they hear of it in time.)"""
    app = make_app(slots=2)
    started, limits = asyncio.Event(), list[datetime]()

    @app.task
    async def leaf(input: int) -> int:
        return input

    @app.task
    async def child(input: int, ctx: Context) -> list[int]:
        assert ctx.deadline is not None
        limits.append(ctx.deadline)
        started.set()
        while datetime.now(UTC) <= limits[0]:  # until the old one is over: that is what is tested
            await asyncio.sleep(0.02)
        return [await leaf.aio_run(input), input]

    @app.task(execution_timeout=limit)
    async def parent(input: EmptyModel, ctx: Context) -> list[list[int]]:
        children = asyncio.ensure_future(child.aio_run_many([child.create_bulk_run_item(n) for n in range(3)]))
        await started.wait()
        ctx.refresh_timeout(600)
        begun.set()
        return await children

    if not told:
        _tells_nobody(app)
    assert parent.run() == [[0, 0], [1, 1], [2, 2]]


def _tells_nobody(app: Fanwood) -> None:
    async def sweep(run_id: bytes | None = None) -> Swept:
        return Swept(0, more=False)

    app.engine().store.sweep = sweep


def test_refresh_timeout_without_a_limit_is_an_error(app: Fanwood) -> None:
    @app.task
    async def task(input: EmptyModel, ctx: Context) -> str:
        try:
            ctx.refresh_timeout(1)
        except UsageError as error:
            return str(error)
        return ""

    assert "no execution_timeout" in task.run()


@in_time
def test_a_deadline_is_not_healed_by_retries(make_app: MakeApp, limit: float, begun: threading.Event) -> None:
    app, tries = make_app(), list[int]()

    @app.task(retries=5)
    async def leaf() -> None:
        begun.set()
        tries.append(1)
        await asyncio.Event().wait()

    @app.task(execution_timeout=limit)
    async def parent() -> None:
        await leaf.aio_run()

    with pytest.raises(TaskRunError):
        parent.run()
    assert len(tries) == 1


def test_a_retried_parents_new_limit_is_that_of_all_below_it(app: Fanwood) -> None:
    """Also of a grandchild that executes, and that nobody asks for again."""
    begun = asyncio.Event()
    limits: list[datetime] = []
    ids: list[bytes] = []

    @app.task
    async def leaf(input: EmptyModel, ctx: Context) -> int:
        ids.append(id_bytes(ctx.task_run_id))
        begun.set()
        return await asyncio.Event().wait()

    @app.task
    async def child(input: EmptyModel) -> int:
        return await leaf.aio_run()

    @app.task(execution_timeout=600, retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> int:
        assert ctx.deadline is not None
        limits.append(ctx.deadline)
        waiting = asyncio.ensure_future(child.aio_run())
        if ctx.attempt_number == 1:
            await begun.wait()
            raise ValueError("once more")  # who waits ends with the attempt, and gives nothing up
        return await waiting

    def deadline_of_leaf() -> datetime:
        found = app.engine().call(lambda store: store.deadlines(ids)).result()
        return datetime.fromtimestamp(found.get(ids[0], 0) / 1e6, UTC)  # (it may be about to be queued again)

    ref = parent.run_no_wait()
    until(lambda: len(limits) == 2, "it is tried again")
    assert limits[0] < limits[1]
    until(lambda: deadline_of_leaf() > limits[0], "what is below has its new limit")
    ref.cancel()
