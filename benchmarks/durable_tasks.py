"""The tasks that wait, or record what they have done."""

import asyncio
import time
from datetime import UTC, datetime

from pydantic import BaseModel

from benchmarks.machine import peak_memory
from fanwood import Context, EvictionPolicy, Fanwood

NAP = 0.01
AT_ONCE = 500
KEY = "paid"


class Count(BaseModel):
    n: int
    first: int = 0


async def answer(n: int) -> dict[str, str]:
    """What a model says."""
    return {"text": f"{n:0100}"}


def declare_waiting(app: Fanwood) -> None:
    """Tasks that wait."""

    @app.task(input_validator=Count)
    async def naps(input: Count, ctx: Context) -> list[float]:
        """By how much each of so many sleeps was late."""
        late: list[float] = []
        for _ in range(input.n):
            start = time.perf_counter()
            await ctx.aio_sleep_for(NAP)
            late.append(time.perf_counter() - start - NAP)
        return late

    @app.task(input_validator=Count)
    async def crowd(input: Count, ctx: Context) -> list[float]:
        """So many waits for one key; when each was over."""

        async def one(order: int) -> float:
            await ctx.aio_wait_for_event(KEY, match={"order": order})
            return time.time()

        return await asyncio.gather(*(one(order) for order in range(input.first, input.first + input.n)))

    @app.durable_task(input_validator=Count, eviction_policy=EvictionPolicy(ttl=0))
    async def sleeper(input: Count, ctx: Context) -> int:
        """Unloaded until that second."""
        await ctx.aio_sleep_until(datetime.fromtimestamp(input.n, UTC))
        return input.first


def declare_recording(app: Fanwood) -> None:
    """Tasks that record steps."""

    @app.task(input_validator=Count)
    async def steps(input: Count, ctx: Context) -> list[float]:
        """Seconds of each of so many, one after another."""
        taken: list[float] = []
        for n in range(input.n):
            start = time.perf_counter()
            await ctx.aio_step(answer, n)
            taken.append(time.perf_counter() - start)
        return taken

    @app.task(input_validator=Count)
    async def gathered(input: Count, ctx: Context) -> float:
        """Seconds of so many at once."""
        start = time.perf_counter()
        await asyncio.gather(*(ctx.aio_step(answer, n) for n in range(input.n)))
        return time.perf_counter() - start

    @app.durable_task(input_validator=Count)
    async def assistant(input: Count, ctx: Context) -> list[float]:
        """Its first attempt takes so many steps, and stays there; the next one says how long it took to get there, and
        how much memory its process had at most."""
        start = time.perf_counter()
        if ctx.attempt_number == 1:
            for first in range(0, input.n, AT_ONCE):
                await asyncio.gather(*(ctx.aio_step(answer, n) for n in range(first, min(input.n, first + AT_ONCE))))
            ctx.progress(input.n)
            await asyncio.Event().wait()
        for n in range(input.n):
            await ctx.aio_step(answer, n)
        return [time.perf_counter() - start, peak_memory()]
