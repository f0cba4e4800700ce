"""A thousand children of two tasks, from a generator: results come back in the order of the items.

python examples/bulk.py
"""

from collections.abc import Iterator
from typing import Any

from fanwood import BulkRunItem, Fanwood

fanwood = Fanwood()


@fanwood.task
async def square(n: int) -> int:
    return n**2


@fanwood.task
def describe(n: int) -> str:  # a sync task: it runs in a thread
    return f"{n} is odd"


def items(count: int) -> Iterator[BulkRunItem]:
    """Made one by one, as fast as the store takes them."""
    for n in range(count):
        task = describe if n % 2 else square
        yield task.create_bulk_run_item(n)


@fanwood.task
async def parent(count: int) -> list[Any]:
    return await square.aio_run_many(items(count))


if __name__ == "__main__":
    results = parent.run(1000)
    print(len(results), "results")
    print(results[:4], "...", results[-2:])
