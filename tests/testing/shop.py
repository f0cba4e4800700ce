"""A user's module: tasks on an object that leads to a database which a test must not touch."""

from __future__ import annotations

import asyncio
import time

from fanwood import Context, Fanwood
from fanwood.testing import effects

app = Fanwood("sqlite:////dev/null/production.db")
DAY = 86_400


@app.task(retries=3, backoff_factor=30 * DAY, backoff_max_seconds=30 * DAY)
async def charge(order: int, ctx: Context) -> int:
    if ctx.retry_count < 2:
        raise ConnectionError("try later")
    return order * 10


@app.task
async def remind(order: int) -> str:
    await asyncio.sleep(30 * DAY)
    return f"order {order}: please pay"


@app.task
def pack(order: int) -> str:
    time.sleep(DAY)
    effects.record("packed", order)
    return f"box {order}"


@app.task
def ship(order: int) -> str:
    return f"{pack.run(order)}, sent"


@app.task
async def double(n: int) -> int:
    effects.record("doubled", n)
    await asyncio.sleep(1)
    return n * 2


@app.task
async def total(n: int) -> int:
    return sum(await double.aio_run_many([double.create_bulk_run_item(i) for i in range(n)]))


@app.task
async def handle(order: int) -> list[str | int]:
    return [await charge.aio_run(order), await ship.aio_run(order)]
