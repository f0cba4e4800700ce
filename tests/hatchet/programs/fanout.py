"""A workflow's step spawns workflows, which carry what the parent was given."""

from typing import Any

from pydantic import BaseModel

from fanwood.hatchet import Context, Hatchet, TriggerWorkflowOptions

hatchet = Hatchet()


class ParentInput(BaseModel):
    n: int = 10


class ChildInput(BaseModel):
    a: str


parent = hatchet.workflow(name="FanoutParent", input_validator=ParentInput)
child = hatchet.workflow(name="FanoutChild", input_validator=ChildInput)


@parent.task()
async def spawn(input: ParentInput, ctx: Context) -> dict[str, Any]:
    items = [
        child.create_bulk_run_item(
            input=ChildInput(a=str(i)),
            options=TriggerWorkflowOptions(additional_metadata={"child": i}, key=f"c{i}"),
        )
        for i in range(input.n)
    ]
    return {"results": await child.aio_run_many(items)}


@child.task()
async def process(input: ChildInput, ctx: Context) -> dict[str, str]:
    return {"status": input.a}


@child.task(parents=[process])
async def process2(input: ChildInput, ctx: Context) -> dict[str, str]:
    return {"status2": ctx.task_output(process)["status"] + "!"}


def main() -> object:
    ref = parent.run_no_wait(ParentInput(n=2), additional_metadata={"test": "fanout"})
    results = ref.result()["spawn"]["results"]
    below = hatchet.runs.list(additional_metadata={"test": "fanout"}, workflow_ids=[child.id])
    step = hatchet.runs.get_details(ref.workflow_run_id).task_runs["spawn"]
    of_step = hatchet.runs.list(parent_task_external_id=step.external_id).rows
    spawned = hatchet.runs.list(
        parent_task_external_id=ref.workflow_run_id, additional_metadata={"test": "fanout"}
    ).rows
    assert [row.task_external_id for row in spawned] == [row.task_external_id for row in of_step]
    assert all(step.additional_metadata["test"] == "fanout" for row in spawned for step in row.children)
    return (
        results,
        sorted(row.additional_metadata["child"] for row in below.rows),
        sum(len(r.children) for r in of_step),
    )
