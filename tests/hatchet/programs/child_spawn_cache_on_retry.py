"""A parent that is tried three times, and has one child."""

from fanwood.hatchet import Context, EmptyModel, Hatchet

hatchet = Hatchet()


@hatchet.task()
async def child(input: EmptyModel, ctx: Context) -> dict[str, str]:
    return {"made by": ctx.task_name}


@hatchet.task(retries=2)
async def parent(input: EmptyModel, ctx: Context) -> dict[str, str]:
    found = await child.aio_run()
    if ctx.retry_count < 2:
        raise RuntimeError(f"try {ctx.retry_count}")
    return found


def main() -> object:
    result = parent.run(additional_metadata={"test": "cache"})
    return result, [str(run.status) for run in child.list_runs(additional_metadata={"test": "cache"})]
