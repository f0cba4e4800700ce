"""Bare functions with a fake context: tasks, and steps that read what others returned."""

from pydantic import BaseModel

from fanwood.hatchet import Context, DurableContext, Hatchet

hatchet = Hatchet()


class Given(BaseModel):
    key: str


class Seen(Given):
    metadata: dict[str, str]
    retry_count: int


@hatchet.task(input_validator=Given)
def sync_task(input: Given, ctx: Context) -> Seen:
    return Seen(key=input.key, metadata=ctx.additional_metadata, retry_count=ctx.retry_count)


@hatchet.durable_task(input_validator=Given)
async def durable_task(input: Given, ctx: DurableContext) -> Seen:
    return Seen(key=input.key, metadata=ctx.additional_metadata, retry_count=ctx.retry_count)


flow = hatchet.workflow(name="UnitTesting", input_validator=Given)


@flow.task()
async def start(input: Given, ctx: Context) -> Seen:
    return Seen(key=input.key, metadata=ctx.additional_metadata, retry_count=ctx.retry_count)


@flow.durable_task(parents=[start])
def then(input: Given, ctx: DurableContext) -> Seen:
    return ctx.task_output(start)


async def main() -> int:
    wanted = Seen(key="k", metadata={"meta": "x"}, retry_count=1)
    tasks = [sync_task, durable_task, start, then]
    for task in tasks:
        how = {
            "input": Given(key="k"),
            "additional_metadata": {"meta": "x"},
            "retry_count": 1,
            "parent_outputs": {start.name: wanted.model_dump()},
        }
        result = await task.aio_mock_run(**how) if task.is_async_function else task.mock_run(**how)
        assert result == wanted, task
    return len(tasks)
