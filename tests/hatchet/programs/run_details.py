"""A run and its steps, looked at from outside: while it runs and afterwards."""

import asyncio

from pydantic import BaseModel

from fanwood.hatchet import Context, Hatchet, RunStatus, TriggerWorkflowOptions, V1TaskStatus

hatchet = Hatchet()


class Given(BaseModel):
    foo: str


flow = hatchet.workflow(name="RunDetails", input_validator=Given)
go_on = asyncio.Event()


@flow.task()
async def step1(input: Given, ctx: Context) -> dict[str, int]:
    await go_on.wait()
    return {"number": 1}


@flow.task()
async def fail_step(input: Given, ctx: Context) -> None:
    await go_on.wait()
    raise RuntimeError("on purpose")


@flow.task()
async def cancel_step(input: Given, ctx: Context) -> None:
    await ctx.aio_cancel()
    await asyncio.sleep(600)


@flow.task(parents=[step1])
async def step2(input: Given, ctx: Context) -> dict[str, int]:
    return {"number": ctx.task_output(step1)["number"] + 1}


async def main() -> object:
    meta = {"test": "details"}
    ref = await flow.aio_run_no_wait(input=Given(foo="x"), options=TriggerWorkflowOptions(additional_metadata=meta))
    while len((details := await hatchet.runs.aio_get_details(ref.workflow_run_id)).task_runs) < 3:
        await asyncio.sleep(0.005)
    assert details.status == RunStatus.RUNNING
    assert details.input == {"foo": "x"}
    assert details.additional_metadata == meta
    assert details.task_runs["step1"].status in (V1TaskStatus.RUNNING, V1TaskStatus.QUEUED)
    assert "step2" not in details.task_runs
    assert not details.done
    go_on.set()
    try:
        await ref.aio_result()
    except Exception as error:
        assert "on purpose" in str(error)
    details = await hatchet.runs.aio_get_details(ref.workflow_run_id)
    assert details.done
    assert details.task_runs["fail_step"].error is not None
    assert details.task_runs["cancel_step"].error is None
    assert details.task_runs["step2"].output == {"number": 2}
    return {"run": str(details.status)} | {name: str(run.status) for name, run in details.task_runs.items()}
