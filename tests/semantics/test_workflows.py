"""Workflows: steps in parallel and after each other, what they see of each other, and how they fail."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from pydantic import BaseModel

from fanwood import (
    Context,
    DuplicateTaskError,
    FailedTaskRunExceptionGroup,
    Fanwood,
    InputValidationError,
    RunState,
    TaskRunCancelled,
    TaskRunError,
    TaskRunTimedOut,
    UsageError,
    WorkflowDeclarationError,
    WorkflowRunRef,
)


class Number(BaseModel):
    n: int


class Doubled(BaseModel):
    value: int


def test_steps_in_order_with_typed_outputs(app: Fanwood) -> None:
    flow = app.workflow(name="flow", input_validator=Number)

    @flow.task()
    async def double(input: Number, ctx: Context) -> Doubled:
        return Doubled(value=input.n * 2)

    @flow.task(parents=[double])
    def triple(input: Number, ctx: Context) -> int:
        output = ctx.task_output(double)
        assert isinstance(output, Doubled)
        return output.value * 3

    @flow.task(parents=["double", triple])
    async def both(input: Number, ctx: Context) -> list[int]:
        assert not ctx.was_skipped(double)
        return [ctx.task_output(double).value, ctx.task_output(triple)]

    assert flow.run(Number(n=1)) == {"double": {"value": 2}, "triple": 6, "both": [2, 6]}


async def test_a_workflow_async_and_its_ref(app: Fanwood) -> None:
    flow = app.workflow(name="flow", input_validator=Number)

    @flow.task()
    async def one(input: Number) -> int:
        return input.n

    ref = await flow.aio_run_no_wait(Number(n=3))
    assert isinstance(ref, WorkflowRunRef)
    assert await ref == {"one": 3}
    assert await flow.aio_run({"n": 4}) == {"one": 4}
    with pytest.raises(InputValidationError):
        await flow.aio_run({"n": "x"})


def test_steps_whose_parents_are_done_run_in_parallel(app: Fanwood) -> None:
    flow = app.workflow(name="flow")
    barrier = threading.Barrier(3)

    @flow.task()
    def first() -> None: ...

    def meet() -> int:
        barrier.wait(60)
        return 1

    for name in "abc":
        flow.task(name=name, parents=[first])(meet)

    assert flow.run() == {"first": None, "a": 1, "b": 1, "c": 1}


def test_a_step_waits_for_all_its_parents(app: Fanwood) -> None:
    flow = app.workflow(name="flow")
    order: list[str] = []

    def note(name: str) -> Any:
        def step() -> None:
            order.append(name)

        return step

    flow.task(name="d", parents=["b", "c"])(note("d"))
    flow.task(name="c", parents=["a"])(note("c"))
    flow.task(name="b", parents=["a"])(note("b"))
    flow.task(name="a")(note("a"))
    flow.run()
    assert order[0] == "a"
    assert order[-1] == "d"
    assert sorted(order) == ["a", "b", "c", "d"]


def test_what_a_steps_context_says(app: Fanwood) -> None:
    flow = app.workflow(name="flow")

    @flow.task()
    async def step(input: Any, ctx: Context) -> list[Any]:
        return [ctx.workflow_run_id, ctx.workflow_name, ctx.task_name, ctx.parent_workflow_run_id]

    ref = flow.run_no_wait(additional_metadata={"a": 1})
    run_id, workflow, task, parent = ref.result()["step"]
    assert (run_id, workflow, task) == (ref.id, "flow", "step")
    assert parent == ref.id
    (child,) = app.runs.children(ref.id)
    assert child.additional_metadata == {"a": 1}
    assert child.task_name == "flow:step"


def test_steps_that_spawn_workflows_of_several_steps(app: Fanwood) -> None:
    inner = app.workflow(name="inner", input_validator=Number)

    @inner.task()
    async def square(input: Number) -> int:
        return input.n**2

    @inner.task(parents=[square])
    def text(input: Number, ctx: Context) -> str:
        return f"{input.n}: {ctx.task_output(square)}"

    outer = app.workflow(name="outer", input_validator=Number)

    @outer.task()
    async def fan_out(input: Number) -> list[Any]:
        return await inner.aio_run_many([inner.create_bulk_run_item(Number(n=n)) for n in range(input.n)])

    @outer.task(parents=[fan_out])
    async def collect(input: Number, ctx: Context) -> list[str]:
        return [result["text"] for result in ctx.task_output(fan_out)]

    assert outer.run(Number(n=4))["collect"] == ["0: 0", "1: 1", "2: 4", "3: 9"]


def test_a_workflow_on_one_slot(make_app: Any) -> None:
    app = make_app(slots=1)
    flow = app.workflow(name="flow", input_validator=Number)

    @flow.task()
    def first(input: Number) -> int:
        return flow.run(Number(n=input.n - 1))["second"] if input.n else 0

    @flow.task(parents=[first])
    async def second(input: Number, ctx: Context) -> int:
        return ctx.task_output(first) + 1

    assert flow.run(Number(n=5), timeout=60)["second"] == 6


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


def test_a_workflows_time_out_ends_its_steps(app: Fanwood) -> None:
    flow = app.workflow(name="flow", execution_timeout=0.1)
    gate = threading.Event()

    @flow.task()
    def slow() -> None:
        gate.wait(60)

    ref = flow.run_no_wait()
    with pytest.raises(TaskRunTimedOut) as caught:
        ref.result(timeout=60)
    gate.set()
    assert caught.value.limit == "execution_timeout"
    (step,) = app.runs.children(ref.id)
    assert step.status in (RunState.FAILED, RunState.CANCELLED)


# --- declaration ---------------------------------------------------------------------------------------------------


def test_a_cycle_is_an_error_that_shows_it(app: Fanwood) -> None:
    flow = app.workflow(name="flow")
    flow.task(name="a", parents=["c"])(lambda: None)
    flow.task(name="b", parents=["a"])(lambda: None)
    with pytest.raises(WorkflowDeclarationError, match="cycle: c -> b -> a -> c"):
        flow.task(name="c", parents=["b"])(lambda: None)


def test_an_unknown_parent_is_an_error_that_names_it(app: Fanwood) -> None:
    flow, other = app.workflow(name="flow"), app.workflow(name="other")

    @other.task()
    def stranger() -> None: ...

    with pytest.raises(WorkflowDeclarationError, match="other:stranger is no step of workflow flow"):

        @flow.task(parents=[stranger])
        def mixed() -> None: ...

    @flow.task(parents=["missing"])
    def step() -> None: ...

    with pytest.raises(WorkflowDeclarationError, match=r"'missing'.*no such step"):
        flow.run()
    with pytest.raises(WorkflowDeclarationError, match=r"'missing'.*no such step"):
        app.worker(workflows=[flow])


def test_double_names_are_errors(app: Fanwood) -> None:
    flow = app.workflow(name="flow")
    flow.task(name="a")(lambda: None)
    with pytest.raises(WorkflowDeclarationError, match="a step named a already"):
        flow.task(name="a")(lambda: None)
    with pytest.raises(DuplicateTaskError, match="flow"):
        app.workflow(name="flow")
    with pytest.raises(DuplicateTaskError, match="named flow"):
        app.task(name="flow")(lambda: None)


def test_a_workflow_without_steps_is_an_error(app: Fanwood) -> None:
    with pytest.raises(WorkflowDeclarationError, match="no steps"):
        app.workflow(name="empty").run()


def test_task_output_of_a_step_that_is_no_parent_is_an_error(app: Fanwood) -> None:
    flow = app.workflow(name="flow")

    @flow.task()
    async def a() -> int:
        return 1

    @flow.task()
    async def b(input: Any, ctx: Context) -> str:
        try:
            ctx.task_output(a)
        except UsageError as error:
            return str(error)
        return ""

    assert "no output of a" in flow.run()["b"]


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
        ref.result(30)
    app.runs.replay(ref.id)
    assert ref.result(30) == {"broken": 1, "slow": 2, "after": 3}
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
        ref.result(30)
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
