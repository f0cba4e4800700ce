"""Cancelling a run cancels all below it; and what becomes of children when their parent ends."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from fanwood import (
    Context,
    EmptyModel,
    Fanwood,
    RunInterrupted,
    RunNotFoundError,
    RunState,
    TaskRunCancelled,
    TaskRunError,
)
from tests.faults.processes import until
from tests.semantics.closing import swept


def tree(app: Fanwood, run_id: str) -> list[Any]:
    """A run and all below it."""
    run = app.runs.get(run_id)
    return [run, *(below for child in app.runs.children(run_id) for below in tree(app, child.id))]


def test_a_deep_tree_is_cancelled_while_it_runs_and_nothing_starts_afterwards(make_app: Any) -> None:
    app = make_app(slots=3)
    lock = threading.Lock()
    started, stopped = 0, 0
    deep = threading.Event()

    @app.task
    async def node(input: int) -> None:
        nonlocal started, stopped
        with lock:
            started += 1
        if input == 0:
            deep.set()
        try:
            if input:
                await node.aio_run_many([node.create_bulk_run_item(input - 1) for _ in range(3)])
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped += 1
            raise

    ref = node.run_no_wait(5)
    assert deep.wait(60)
    count = app.runs.cancel(ref.id)
    at_return = started
    with pytest.raises(TaskRunCancelled) as caught:
        ref.result(timeout=60)
    assert "by request" in str(caught.value)
    until(lambda: {run.status for run in tree(app, ref.id)} == {RunState.CANCELLED}, "what the call left has ended")
    assert 1 <= count <= len(tree(app, ref.id))
    assert len(tree(app, ref.id)) > 6

    @app.task
    async def probe() -> str:
        return "alive"

    assert probe.run(timeout=60) == "alive"  # the slots are free again, and had nothing else to do
    assert started <= at_return + 3  # those that had been handed to the loop already, at most
    until(lambda: stopped >= 3, "the code is told")


def test_a_sync_task_sees_it_and_is_interrupted_at_its_next_call(app: Fanwood) -> None:
    running, go_on, out = threading.Event(), threading.Event(), threading.Event()
    seen: list[Any] = []

    @app.task
    def leaf() -> None:
        seen.append("leaf ran")

    @app.task
    def parent(input: EmptyModel, ctx: Context) -> None:
        seen.append(ctx.is_cancelled)
        running.set()
        go_on.wait(60)
        seen.append(ctx.is_cancelled)
        try:
            leaf.run()
        except Exception:
            seen.append("swallowed")
        except RunInterrupted:
            seen.append("interrupted")
            raise
        finally:
            out.set()

    ref = parent.run_no_wait()
    assert running.wait(60)
    ref.cancel()
    with pytest.raises(TaskRunCancelled):
        ref.result(timeout=60)
    go_on.set()
    assert out.wait(60)
    assert seen == [False, True, "interrupted"]


def test_a_sync_parent_that_waits_is_interrupted_in_its_wait(app: Fanwood) -> None:
    running, interrupted = threading.Event(), threading.Event()

    @app.task
    async def leaf() -> None:
        running.set()
        await asyncio.Event().wait()

    @app.task
    def parent() -> None:
        try:
            leaf.run()
        except RunInterrupted:
            interrupted.set()
            raise

    ref = parent.run_no_wait()
    assert running.wait(60)
    ref.cancel()
    assert interrupted.wait(60)


def test_a_queued_run_that_is_cancelled_never_starts(make_app: Any) -> None:
    app = make_app(slots=1)
    gate, started = threading.Event(), threading.Event()
    ran: list[str] = []

    @app.task
    def busy() -> None:
        started.set()
        gate.wait(60)

    @app.task
    async def queued() -> None:
        ran.append("queued")

    first = busy.run_no_wait()
    assert started.wait(60)
    second = queued.run_no_wait()
    second.cancel()
    gate.set()
    first.result(timeout=60)
    with pytest.raises(TaskRunCancelled):
        second.result(timeout=60)
    assert ran == []


def test_a_cancelled_child_raises_in_its_parent(app: Fanwood) -> None:
    running = threading.Event()

    @app.task
    async def leaf() -> None:
        running.set()
        await asyncio.Event().wait()

    @app.task
    async def parent() -> list[Any]:
        ref = await leaf.aio_run_no_wait()
        await asyncio.to_thread(running.wait, 60)
        await ref.aio_cancel()
        try:
            await ref
        except TaskRunCancelled as error:
            return [error.task_name, error.run_id == ref.id]
        return []

    assert parent.run() == ["leaf", True]


def test_a_run_cancels_itself(app: Fanwood) -> None:
    @app.task
    async def task(input: EmptyModel, ctx: Context) -> None:
        await ctx.aio_cancel()
        await asyncio.Event().wait()

    @app.task
    def sync_task(input: EmptyModel, ctx: Context) -> None:
        ctx.cancel()
        ctx.children()

    for cancelled in (task, sync_task):
        with pytest.raises(TaskRunCancelled, match="by itself"):
            cancelled.run()


def test_cancelling_what_has_ended_changes_nothing(app: Fanwood) -> None:
    @app.task
    async def task() -> int:
        return 1

    ref = task.run_no_wait()
    assert ref.result() == 1
    assert app.runs.cancel(ref.id) == 0
    assert ref.result() == 1
    with pytest.raises(RunNotFoundError):
        app.runs.cancel("018f4e2a-0000-7000-8000-000000000000")
    with pytest.raises(RunNotFoundError):
        app.runs.get_run_ref("018f4e2a-0000-7000-8000-000000000000").result(timeout=60)


def test_a_cancelled_run_is_not_retried_but_can_be_replayed(app: Fanwood) -> None:
    running = threading.Event()
    tries: list[int] = []

    @app.task(retries=3)
    async def task() -> str:
        tries.append(1)
        if len(tries) == 1:
            running.set()
            await asyncio.Event().wait()
        return "again"

    ref = task.run_no_wait()
    assert running.wait(60)
    ref.cancel()
    with pytest.raises(TaskRunCancelled):
        ref.result(timeout=60)
    assert len(tries) == 1
    assert app.runs.replay(ref.id) is True
    assert ref.result(timeout=60) == "again"


def test_a_running_run_is_not_replayed(app: Fanwood) -> None:
    running, gate = threading.Event(), threading.Event()

    @app.task
    def task() -> None:
        running.set()
        gate.wait(60)

    ref = task.run_no_wait()
    assert running.wait(60)
    assert app.runs.replay(ref.id) is False
    gate.set()
    ref.result(timeout=60)


# --- parents that end ----------------------------------------------------------------------------------------------


class Family:
    """A parent that starts children of each policy, without waiting, and ends as it is told."""

    def __init__(self, app: Fanwood) -> None:
        self.app = app
        self.spawned = threading.Event()

        @app.task
        async def child(input: str) -> None:
            await asyncio.Event().wait()

        @app.task(execution_timeout=600)
        async def parent(input: str, ctx: Context) -> None:
            await child.aio_run_no_wait("default")
            await child.aio_run_no_wait("cancel", on_parent_end="cancel")
            await child.aio_run_no_wait("continue", on_parent_end="continue")
            self.spawned.set()
            if input == "fails":
                raise ValueError("fails")
            if input == "is cancelled":
                await asyncio.Event().wait()
            if input == "times out":
                ctx.refresh_timeout(0.05)
                await asyncio.Event().wait()

        self.parent = parent

    def end(self, how: str) -> dict[str, RunState]:
        ref = self.parent.run_no_wait(how)
        if how == "is cancelled":
            assert self.spawned.wait(60)
            ref.cancel()
        try:
            ref.result(timeout=60)
        except TaskRunError:
            assert how != "completes"
        swept(self.app)
        runs = self.app.runs
        return {runs.get(child.id).input: runs.get(child.id).status for child in runs.children(ref.id)}


@pytest.mark.parametrize("how", ["completes", "fails", "is cancelled", "times out"])
def test_what_becomes_of_children_when_their_parent(app: Fanwood, how: str) -> None:
    states = Family(app).end(how)
    assert len(states) == 3
    assert states["cancel"] is RunState.CANCELLED
    assert not states["continue"].is_terminal
    if how == "completes":
        assert not states["default"].is_terminal
    else:
        assert states["default"] is RunState.CANCELLED


def test_a_parent_that_will_be_retried_keeps_its_children(app: Fanwood) -> None:
    gate = asyncio.Event()

    @app.task
    async def child() -> int:
        await gate.wait()
        return 1

    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> list[int]:
        ref = await child.aio_run_no_wait()
        if ctx.retry_count == 0:
            raise ValueError("once more")
        gate.set()
        return [await ref, app.runs is not None and ctx.attempt_number]

    assert parent.run() == [1, 2]


def test_grandchildren_end_with_a_parent_that_fails(app: Fanwood) -> None:
    """Also those below a child that has completed."""
    ids: list[str] = []

    @app.task
    async def leaf(input: EmptyModel) -> None:
        await asyncio.Event().wait()

    @app.task
    async def middle(input: EmptyModel) -> str:
        return (await leaf.aio_run_no_wait()).id

    @app.task
    async def top() -> None:
        ids.append(await middle.aio_run())
        raise ValueError("fails")

    with pytest.raises(TaskRunError):
        top.run()
    with pytest.raises(TaskRunCancelled):
        app.runs.get_result(ids[0], timeout=60)


def test_a_parent_that_fails_at_last_takes_with_it_what_its_first_attempt_left(app: Fanwood) -> None:
    """The last one asked for nothing."""
    ids: list[str] = []

    @app.task
    async def leaf(input: EmptyModel) -> None:
        await asyncio.Event().wait()

    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> None:
        if ctx.attempt_number == 1:
            ids.append((await leaf.aio_run_no_wait()).id)
        raise ValueError("fails")

    with pytest.raises(TaskRunError):
        parent.run()
    with pytest.raises(TaskRunCancelled):
        app.runs.get_result(ids[0], timeout=60)
