"""References of a bulk, collected afterwards."""

import asyncio
from typing import Any

from pydantic import BaseModel

from fanwood.hatchet import Context, Hatchet

hatchet = Hatchet()


class ParentInput(BaseModel):
    n: int = 100


class ChildInput(BaseModel):
    a: str


parent = hatchet.workflow(name="BulkFanoutParent", input_validator=ParentInput)
child = hatchet.workflow(name="BulkFanoutChild", input_validator=ChildInput)


@parent.task(execution_timeout="5m")
async def spawn(input: ParentInput, ctx: Context) -> dict[str, list[dict[str, Any]]]:
    items = [
        child.create_bulk_run_item(input=ChildInput(a=str(i)), additional_metadata={"hello": "earth"}, key=f"c{i}")
        for i in range(input.n)
    ]
    refs = await child.aio_run_many_no_wait(items)
    return {"results": await asyncio.gather(*(ref.aio_result() for ref in refs))}


@child.task()
def process(input: ChildInput, ctx: Context) -> dict[str, str]:
    return {"status": "success " + input.a}


def main() -> int:
    return len(parent.run(ParentInput(n=12))["spawn"]["results"])
