"""Workflows: steps in parallel and after each other, what they see of each other, and how they fail."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pydantic import BaseModel

from fanwood import (
    Context,
    DuplicateTaskError,
    Fanwood,
    InputValidationError,
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
