"""Workflows that spawn workflows: a step of the parent runs many child workflows of several steps each.

python examples/workflows.py
"""

from typing import Any

from pydantic import BaseModel

from fanwood import Context, Fanwood, TriggerWorkflowOptions

fanwood = Fanwood()


class ParentInput(BaseModel):
    n: int


class ChildInput(BaseModel):
    n: int


child = fanwood.workflow(name="child", input_validator=ChildInput)


@child.task()
async def double(input: ChildInput, ctx: Context) -> int:
    return input.n * 2


@child.task()
def label(input: ChildInput, ctx: Context) -> str:  # runs beside `double`: neither is the other's parent
    return f"child {input.n}"


@child.task(parents=[double, label])
async def describe(input: ChildInput, ctx: Context) -> str:
    return f"{ctx.task_output(label)}: {ctx.task_output(double)}"


parent = fanwood.workflow(name="parent", input_validator=ParentInput)


@parent.task()
async def spawn(input: ParentInput, ctx: Context) -> list[dict[str, Any]]:
    return await child.aio_run_many([child.create_bulk_run_item(ChildInput(n=i)) for i in range(input.n)])


@parent.task()
async def spawn_with_options(input: ParentInput, ctx: Context) -> list[str]:
    results = await child.aio_run_many(
        [
            child.create_bulk_run_item(options=TriggerWorkflowOptions(input=ChildInput(n=i), child_key=f"option-{i}"))
            for i in range(input.n)
        ]
    )
    return [result["describe"] for result in results]


@parent.task(parents=[spawn])
async def total(input: ParentInput, ctx: Context) -> int:
    return sum(result["double"] for result in ctx.task_output(spawn))


if __name__ == "__main__":
    result = parent.run(ParentInput(n=3))
    print("one child:", result["spawn"][2]["describe"])
    print("with options:", result["spawn_with_options"])
    print("total:", result["total"])
