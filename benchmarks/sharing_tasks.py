"""The tasks that spend, share, and have second runs."""

import asyncio
import time

from pydantic import BaseModel

from fanwood import Context, Fanwood, after

HANGS = 60.0  # seconds, if nobody helps
LATE = 0.05  # seconds after which there is a second run


class Spends(BaseModel):
    n: int
    first: int = 0
    shared: bool = False


hung = set[int]()  # in this process: of which numbers the first run hangs


def declare_spending(app: Fanwood) -> None:
    """Tasks that spend of a budget."""

    @app.task(input_validator=Spends)
    async def spender(input: Spends, ctx: Context) -> list[float]:
        """How long each of so many spends took, one after another."""
        taken: list[float] = []
        for _ in range(input.n):
            start = time.perf_counter()
            await ctx.aio_spend(usd=0.01)
            taken.append(time.perf_counter() - start)
        return taken

    @app.task(input_validator=Spends)
    async def spenders(input: Spends, ctx: Context) -> float:
        """As many at once."""
        start = time.perf_counter()
        await asyncio.gather(*(ctx.aio_spend(usd=0.01) for _ in range(input.n)))
        return time.perf_counter() - start

    @app.task(input_validator=Spends)
    async def reserver(input: Spends, ctx: Context) -> list[float]:
        """How long each of so many reservations took, of which a half is spent: three commits each."""
        taken: list[float] = []
        for _ in range(input.n):
            start = time.perf_counter()
            async with ctx.reserve(usd=0.02) as held:
                await held.aio_spend(usd=0.01)
            taken.append(time.perf_counter() - start)
        return taken


def declare_sharing(app: Fanwood) -> None:
    """Tasks that ask for one run together, or for a second run of one."""

    @app.task(input_validator=Spends)
    async def asked(input: Spends, ctx: Context) -> int:
        return input.first

    @app.task(input_validator=Spends)
    async def caller(input: Spends, ctx: Context) -> int:
        """Asks for what all ask for, or for a child of its own."""
        if input.shared:
            return await asked.aio_run(Spends(n=0), share="tree")
        return await asked.aio_run(input)

    @app.task(input_validator=Spends)
    async def callers(input: Spends, ctx: Context) -> float:
        start = time.perf_counter()
        items = [Spends(n=0, first=n, shared=input.shared) for n in range(input.n)]
        await caller.aio_run_many(caller.create_bulk_run_item(item) for item in items)
        return time.perf_counter() - start

    @app.task(input_validator=Spends)
    async def hangs(input: Spends, ctx: Context) -> int:
        """Its first run does."""
        if input.first not in hung:
            hung.add(input.first)
            await asyncio.sleep(HANGS)
        return input.first

    @app.task(input_validator=Spends)
    async def hedger(input: Spends, ctx: Context) -> list[float]:
        """By how much each of so many second runs is late with the end of both."""
        taken: list[float] = []
        for number in range(input.first, input.first + input.n):
            start = time.perf_counter()
            await hangs.aio_run(Spends(n=0, first=number), hedge=after(LATE))
            taken.append(time.perf_counter() - start - LATE)
        return taken
