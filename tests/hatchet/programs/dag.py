"""Steps, of which some wait for others and read what they returned."""

from pydantic import BaseModel

from fanwood.hatchet import Context, EmptyModel, Hatchet, TaskDefaults

hatchet = Hatchet()


class Number(BaseModel):
    value: int


class Total(BaseModel):
    total: int


dag = hatchet.workflow(name="Dag", task_defaults=TaskDefaults(retries=2))


@dag.task()
def one(input: EmptyModel, ctx: Context) -> Number:
    return Number(value=1)


@dag.task()
async def two(input: EmptyModel, ctx: Context) -> Number:
    return Number(value=2)


@dag.task(parents=[one, two])
async def add(input: EmptyModel, ctx: Context) -> Total:
    return Total(total=ctx.task_output(one).value + ctx.task_output(two).value)


@dag.task(parents=[one, add])
async def last(input: EmptyModel, ctx: Context) -> dict[str, str]:
    return {"name": ctx.task_name, "of": ctx.workflow_name}


def main() -> object:
    return dag.run()
