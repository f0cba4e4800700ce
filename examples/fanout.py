"""The smallest program: a parent that spawns a child per number and adds up their squares.

python examples/fanout.py
"""

import sys

from fanwood import Fanwood

fanwood = Fanwood()


@fanwood.task
async def square(n: int) -> int:
    return n * n


@fanwood.task
async def sum_of_squares(n: int) -> int:
    return sum(await square.aio_run_many([square.create_bulk_run_item(i) for i in range(n)]))


if __name__ == "__main__":
    print(sum_of_squares.run(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
