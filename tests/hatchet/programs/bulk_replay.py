"""Runs that failed, replayed by what they have in common, and cancelled by their ids."""

from datetime import UTC, datetime, timedelta

from fanwood.hatchet import BulkCancelReplayOpts, Context, EmptyModel, Hatchet, RunFilter, V1TaskStatus

hatchet = Hatchet()
META = {"test": "bulk replay"}


@hatchet.task()
def first(input: EmptyModel, ctx: Context) -> None:
    if ctx.retry_count == 0:
        raise ValueError("not yet")


@hatchet.task(retries=1)
async def second(input: EmptyModel, ctx: Context) -> None:
    if ctx.retry_count < 2:
        raise ValueError("not yet")


@hatchet.task()
def other(input: EmptyModel, ctx: Context) -> None:
    raise ValueError("never")


async def main() -> object:
    tasks = {first: 5, second: 3}
    for task, count in tasks.items():
        items = [task.create_bulk_run_item(additional_metadata=META) for _ in range(count)]
        results = await task.aio_run_many(items, return_exceptions=True)
        assert all(isinstance(result, Exception) for result in results)
    left = await other.aio_run_no_wait(additional_metadata=META)
    filters = RunFilter(
        since=datetime.now(tz=UTC) - timedelta(minutes=2),
        until=datetime.now(),
        statuses=[V1TaskStatus.FAILED],
        workflow_ids=[task.id for task in tasks],
        additional_metadata=META,
    )
    await hatchet.runs.aio_bulk_replay(opts=BulkCancelReplayOpts(filters=filters))
    listed = {"workflow_ids": [task.id for task in tasks], "additional_metadata": META}
    for row in (await hatchet.runs.aio_list(**listed, limit=100)).rows:
        await hatchet.runs.aio_get_result(row.metadata.id)
    rows = (await hatchet.runs.aio_list(**listed, limit=100)).rows
    assert all(row.status == V1TaskStatus.COMPLETED and row.retry_count >= 1 and row.attempt >= 2 for row in rows)
    await hatchet.runs.aio_bulk_cancel(BulkCancelReplayOpts(ids=[left.workflow_run_id]))
    return {task.id: sum(row.workflow_id == task.id for row in rows) for task in tasks}
