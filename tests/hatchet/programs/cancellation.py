"""Cancelled from outside and from within; a task that looks at the flag."""

import asyncio
import time

from fanwood.hatchet import Context, EmptyModel, Hatchet, RunStatus

hatchet = Hatchet()
flow = hatchet.workflow(name="Cancel")


@flow.task()
async def itself(input: EmptyModel, ctx: Context) -> dict[str, str]:
    await ctx.aio_cancel()
    await asyncio.sleep(600)
    return {"error": "should have been cancelled"}


@flow.task()
def flagged(input: EmptyModel, ctx: Context) -> dict[str, str]:
    while not ctx.exit_flag:
        time.sleep(0.005)
    return {"error": "should have been cancelled"}


@hatchet.task()
async def long(input: EmptyModel, ctx: Context) -> None:
    await ctx.aio_release_slot()
    await ctx.aio_log("waits")
    await asyncio.sleep(600)


async def main() -> object:
    ref = await flow.aio_run_no_wait()
    other = await long.aio_run_no_wait()
    while await hatchet.runs.aio_get_status(other.workflow_run_id) != RunStatus.RUNNING:
        await asyncio.sleep(0.005)
    await hatchet.runs.aio_cancel(other.workflow_run_id)
    while not (details := await hatchet.runs.aio_get_details(ref.workflow_run_id)).task_runs:
        await asyncio.sleep(0.005)
    await hatchet.runs.aio_cancel(details.task_runs["flagged"].external_id)
    for each in (ref, other):
        try:
            await each.aio_result()
        except Exception as error:
            assert "cancelled" in str(error), error
    details = await hatchet.runs.aio_get_details(ref.workflow_run_id)
    return [str(run.status) for run in (details, *details.task_runs.values())]
