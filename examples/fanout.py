"""The smallest program: a parent that spawns a child per number and adds up their squares.

python examples/fanout.py
"""

import sys

from pydantic import BaseModel

from fanwood import Context, Fanwood

fanwood = Fanwood()


class ChildInput(BaseModel):
    n: int


class ParentInput(BaseModel):
    n: int


@fanwood.task(input_validator=ChildInput)
async def child(input: ChildInput, ctx: Context) -> int:
    return input.n**2


@fanwood.task(input_validator=ParentInput)
async def parent(input: ParentInput, ctx: Context) -> int:
    return sum(await child.aio_run_many([child.create_bulk_run_item(ChildInput(n=i)) for i in range(input.n)]))


if __name__ == "__main__":
    print(parent.run(ParentInput(n=int(sys.argv[1]) if len(sys.argv) > 1 else 100)))
