"""Conditional branches: which children there are depends on what earlier ones returned.

python examples/branches.py
"""

import asyncio
from dataclasses import dataclass

from fanwood import Fanwood

fanwood = Fanwood()


@dataclass
class Order:
    id: int
    total: int


@fanwood.task
async def rate_risk(order: Order) -> str:
    return "high" if order.total > 1000 else "low"


@fanwood.task
async def review(order: Order) -> str:
    return f"order {order.id}: sent to a person"


@fanwood.task
async def charge(order: Order) -> str:
    return f"charged {order.total}"


@fanwood.task
async def pack(order: Order) -> str:
    return "packed"


@fanwood.task
async def handle(order: Order) -> str:
    if await rate_risk.aio_run(order) == "high":
        return await review.aio_run(order)
    charged, packed = await asyncio.gather(charge.aio_run(order), pack.aio_run(order))
    return f"order {order.id}: {charged}, {packed}"


if __name__ == "__main__":
    for outcome in handle.run_many(
        [handle.create_bulk_run_item(Order(1, 250)), handle.create_bulk_run_item(Order(2, 5000))]
    ):
        print(outcome)
