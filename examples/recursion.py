"""Recursion: a task that spawns itself, twice, and adds up. A waiting run holds no slot, so one slot is enough.

python examples/recursion.py
"""

import asyncio

from fanwood import Fanwood

fanwood = Fanwood(slots=1)


@fanwood.task
async def count_leaves(depth: int) -> int:
    if depth == 0:
        return 1
    left, right = await asyncio.gather(count_leaves.aio_run(depth - 1), count_leaves.aio_run(depth - 1))
    return left + right


@fanwood.task
def factorial(n: int) -> int:
    """The same in a sync task: each level waits in a thread of its own."""
    return 1 if n == 0 else n * factorial.run(n - 1)


if __name__ == "__main__":
    print("leaves:", count_leaves.run(6))
    print("10! =", factorial.run(10))
