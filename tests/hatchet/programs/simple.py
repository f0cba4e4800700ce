"""One task, asked for in every way that there is."""

from fanwood.hatchet import Context, EmptyModel, Hatchet

hatchet = Hatchet(debug=True)


@hatchet.task()
def simple(input: EmptyModel, ctx: Context) -> dict[str, str]:
    return {"result": "done"}


@hatchet.durable_task()
def durable(input: EmptyModel, ctx: Context) -> dict[str, str]:
    return {"result": "done"}


def blocking() -> list[dict[str, str]]:
    return [
        simple.run(),
        simple.run_many([simple.create_bulk_run_item()])[0],
        simple.run_no_wait().result(),
        *(ref.result() for ref in simple.run_many_no_wait([simple.create_bulk_run_item()])),
        simple.run(wait_for_result=False).result(),
        durable.run(),
    ]


async def main() -> int:
    results = [
        await simple.aio_run(),
        *await simple.aio_run_many([simple.create_bulk_run_item()]),
        await (await simple.aio_run_no_wait()).aio_result(),
        *[await ref.aio_result() for ref in await simple.aio_run_many_no_wait([simple.create_bulk_run_item()])],
        await durable.aio_run(),
    ]
    assert all(result == {"result": "done"} for result in results), results
    return len(results)
