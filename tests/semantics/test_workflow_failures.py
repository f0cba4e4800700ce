"""Workflows whose steps fail, time out or cancel themselves: what is told, and what is done again."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from fanwood import (
    Context,
    FailedTaskRunExceptionGroup,
    Fanwood,
    RunState,
    TaskRunCancelled,
    TaskRunError,
    TaskRunTimedOut,
)
from fanwood.errors import StoreValueError
from fanwood.model.commands import Batch
from tests.conftest import MakeApp
from tests.semantics.in_time import in_time

# --- failure -------------------------------------------------------------------------------------------------------


def test_steps_below_a_failed_one_do_not_run_others_do(app: Fanwood) -> None:
    flow = app.workflow(name="flow")
    ran: list[str] = []

    @flow.task()
    async def bad() -> None:
        raise ValueError("bad")

    @flow.task(parents=[bad])
    async def below() -> None:
        ran.append("below")

    @flow.task()
    async def beside() -> None:
        ran.append("beside")

    with pytest.raises(FailedTaskRunExceptionGroup) as caught:
        flow.run()
    (error,) = caught.value.exceptions
    assert isinstance(error, TaskRunError)
    assert error.task_name == "flow:bad"
    assert ran == ["beside"]


def test_a_step_that_could_not_be_stored_is_the_reason(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """... and no group of errors, of which nothing but their number is told."""
    flow = app.workflow(name="flow")

    @flow.task()
    async def step() -> int:
        return 1

    store = app.engine().store
    commit = store.commit

    async def refusing(worker: int, batch: Batch) -> Any:
        if any(spawn.kind.task == "flow:step" for spawn in batch.spawns):
            raise StoreValueError("it can't be held")
        return await commit(worker, batch)

    monkeypatch.setattr(store, "commit", refusing)
    with pytest.raises(TaskRunError, match="StoreValueError: it can't be held"):
        flow.run()


def test_on_failure_and_on_success(app: Fanwood) -> None:
    calls: list[Any] = []

    def build(name: str, fail: bool) -> Any:
        flow = app.workflow(name=name)

        @flow.task()
        async def step() -> int:
            if fail:
                raise ValueError("bad")
            return 1

        @flow.on_failure_task()
        async def failed(input: Any, ctx: Context) -> None:
            calls.append((name, "failure", ctx.task_run_errors))

        @flow.on_success_task()
        async def succeeded(input: Any, ctx: Context) -> None:
            calls.append((name, "success", ctx.task_output(step)))

        return flow

    good, bad = build("good", False), build("bad", True)
    assert good.run()["step"] == 1
    with pytest.raises(FailedTaskRunExceptionGroup):
        bad.run()
    assert calls[0] == ("good", "success", 1)
    name, what, errors = calls[1]
    assert (name, what) == ("bad", "failure")
    assert "ValueError: bad" in errors["step"]
    assert len(calls) == 2


def test_a_retry_of_a_workflow_redoes_only_the_failed_steps(app: Fanwood) -> None:
    flow = app.workflow(name="flow")
    counts: Counter[str] = Counter()

    @flow.task()
    async def good() -> int:
        counts["good"] += 1
        return 1

    @flow.task(parents=[good])
    async def flaky(input: Any, ctx: Context) -> int:
        counts["flaky"] += 1
        if counts["flaky"] < 3:
            raise ValueError(f"failure number {counts['flaky']}")
        return ctx.task_output(good) + 1

    @flow.task(parents=[flaky])
    async def last() -> None:
        counts["last"] += 1

    @flow.on_failure_task()
    async def failed(input: Any, ctx: Context) -> None:
        counts["on_failure"] += 1
        assert f"failure number {counts['flaky']}" in ctx.task_run_errors["flaky"]

    ref = flow.run_no_wait()
    with pytest.raises(FailedTaskRunExceptionGroup):
        ref.result(timeout=60)
    assert app.runs.replay(ref.id)
    with pytest.raises(FailedTaskRunExceptionGroup) as caught:
        ref.result(timeout=60)
    assert "failure number 2" in str(caught.value.exceptions[0])
    assert app.runs.replay(ref.id)
    assert ref.result(timeout=60)["flaky"] == 2
    assert counts == {"good": 1, "flaky": 3, "last": 1, "on_failure": 2}


def test_steps_have_retries_of_their_own(app: Fanwood) -> None:
    flow = app.workflow(name="flow")
    tries: list[int] = []

    @flow.task(retries=2)
    async def flaky(input: Any, ctx: Context) -> int:
        tries.append(ctx.retry_count)
        if ctx.retry_count < 2:
            raise ValueError("again")
        return ctx.retry_count

    assert flow.run() == {"flaky": 2}
    assert tries == [0, 1, 2]


@in_time
def test_a_workflows_time_out_ends_its_steps(make_app: MakeApp, limit: float, begun: threading.Event) -> None:
    app = make_app()
    flow = app.workflow(name="flow", execution_timeout=limit)
    gate = threading.Event()

    @flow.task()
    def slow() -> None:
        begun.set()
        gate.wait(60)

    ref = flow.run_no_wait()
    with pytest.raises(TaskRunTimedOut) as caught:
        ref.result(timeout=60)
    gate.set()
    assert caught.value.limit == "execution_timeout"
    (step,) = app.runs.children(ref.id)
    assert step.status in (RunState.FAILED, RunState.CANCELLED)


# --- what a failed workflow says, and what is done again -------------------------------------------------------------


def test_a_failed_workflow_says_why(app: Fanwood) -> None:
    flow = app.workflow(name="flow")

    @flow.task
    async def first(input: Any) -> int:
        raise ValueError("boom")

    @app.task
    async def parent(input: int) -> None:
        await flow.aio_run()

    with pytest.raises(FailedTaskRunExceptionGroup) as caught:
        flow.run()
    assert str(caught.value).startswith(
        "1 of 1 steps of workflow flow failed: flow:first failed: ValueError: boom (run "
    )
    assert caught.value.message == str(caught.value)
    with pytest.raises(
        TaskRunError, match=r"1 of 1 steps of workflow flow failed: flow:first failed: ValueError: boom"
    ):
        parent.run(1)


def test_a_retry_finds_the_steps_that_began_after_one_had_failed(app: Fanwood) -> None:
    flow = app.workflow(name="flow")
    calls: Counter[str] = Counter()

    @flow.task
    async def broken(input: Any) -> int:
        calls["broken"] += 1
        if calls["broken"] == 1:
            raise ValueError("boom")
        return 1

    @flow.task
    async def slow(input: Any, ctx: Context) -> int:
        calls["slow"] += 1
        steps = await app.runs.aio_children(ctx.workflow_run_id)
        [first] = [step.id for step in steps if step.task_name == "flow:broken"]
        with pytest.raises(TaskRunError):
            await app.runs.aio_get_result(first)
        return 2

    @flow.task(parents=[slow])
    async def after(input: Any) -> int:
        calls["after"] += 1
        return 3

    ref = flow.run_no_wait()
    with pytest.raises(FailedTaskRunExceptionGroup):
        ref.result(60)
    app.runs.replay(ref.id)
    assert ref.result(60) == {"broken": 1, "slow": 2, "after": 3}
    assert calls == {"broken": 2, "slow": 1, "after": 1}


def test_a_step_that_cancels_itself_cancels_its_workflow(app: Fanwood) -> None:
    flow = app.workflow(name="flow")

    @flow.task
    async def first(input: Any, ctx: Context) -> int:
        await ctx.aio_cancel()
        return 1

    @flow.task(parents=[first])
    async def second(input: Any) -> int:
        raise AssertionError("it is not to begin")

    ref = flow.run_no_wait()
    with pytest.raises(TaskRunCancelled, match="its step flow:first was cancelled: by itself"):
        ref.result(60)
    assert ref.status() is RunState.CANCELLED


def test_a_childs_error_is_told_by_its_root_cause(app: Fanwood) -> None:
    @app.task
    async def leaf(n: int) -> int:
        raise ValueError("boom")

    @app.task
    async def middle(n: int) -> int:
        return await leaf.aio_run(n)

    @app.task
    async def top(n: int) -> int:
        return await middle.aio_run(n)

    with pytest.raises(TaskRunError) as caught:
        top.run(1)
    said = str(caught.value)
    assert said.startswith("top failed: ValueError: boom [in leaf, run ")
    assert said.count("boom") == 1
    assert said.index("in leaf") < said.index("in middle")
