"""Errors: around one child, around many, and retries.

python examples/errors.py
"""

from fanwood import Context, Fanwood, NonRetryableException, TaskRunError

fanwood = Fanwood()


@fanwood.task
async def invert(n: int) -> float:
    return 1 / n


@fanwood.task
async def one() -> str:
    try:
        return str(await invert.aio_run(0))
    except TaskRunError as error:
        return f"{error.task_name} raised {error.exc_type}: {error.message}"


@fanwood.task
async def many() -> list[str]:
    results = await invert.aio_run_many([invert.create_bulk_run_item(n) for n in (1, 0, 4)], return_exceptions=True)
    return [type(result).__name__ if isinstance(result, BaseException) else str(result) for result in results]


@fanwood.task(retries=3, backoff_factor=0.01)
async def flaky(n: int, ctx: Context) -> str:
    if ctx.retry_count < 2:
        raise ConnectionError("try again")
    return f"worked at try {ctx.retry_count + 1} of {ctx.max_attempts}"


@fanwood.task(retries=3)
async def hopeless() -> None:
    raise NonRetryableException("no retry would help")


if __name__ == "__main__":
    print("one:  ", one.run())
    print("many: ", many.run())
    print("flaky:", flaky.run(1))
    try:
        hopeless.run()
    except TaskRunError as error:
        print("final:", error.message)
