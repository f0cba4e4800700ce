"""The tasks whose runs are measured."""

import asyncio
import os
import random
import time
from collections import Counter
from typing import Any

from pydantic import BaseModel

from benchmarks.durable_tasks import declare_recording, declare_waiting
from benchmarks.job import Job
from benchmarks.machine import peak_memory
from benchmarks.sharing_tasks import declare_sharing, declare_spending
from fanwood import BulkRunItem, Context, Fanwood, NonRetryableException, as_completed

WARM_UP = 10  # children that run before the clock does: the worker is up, late imports are done


class Number(BaseModel):
    n: int


executed = 0  # children, in this process


def declare(job: Job, *, local_worker: bool = True) -> Fanwood:
    """An application with all of the benchmark's tasks; they are found by name."""
    where = job.database.settings()
    app = Fanwood(where.database_url, postgres_schema=where.postgres_schema, local_worker=local_worker, slots=job.slots)
    declare_children(app)
    declare_parents(app)
    declare_parents_elsewhere(app)
    declare_streams(app)
    declare_trees(app)
    declare_waiting(app)
    declare_recording(app)
    declare_spending(app)
    declare_sharing(app)
    return app


# --- children --------------------------------------------------------------------------------------------------------


def declare_children(app: Fanwood) -> None:
    @app.task(input_validator=Number)
    async def child(input: Number, ctx: Context) -> int:
        global executed  # noqa: PLW0603  (what is counted is this process)
        executed += 1
        return input.n + 1

    @app.task(input_validator=Number)
    def sync_child(input: Number, ctx: Context) -> int:
        return input.n + 1

    @app.task(input_validator=Number)
    async def where(input: Number, ctx: Context) -> int:
        """The process that it ran in."""
        return os.getpid()

    @app.task(input_validator=Number)
    async def when(input: Number, ctx: Context) -> float:
        """When it ran, by the wall clock, which all processes of a machine share."""
        return time.time()


# --- parents ---------------------------------------------------------------------------------------------------------


class FanOut(BaseModel):
    n: int
    child: str = "child"
    lazy: bool = False  # inputs are made as they are asked for


async def run_all(app: Fanwood, input: FanOut) -> list[int]:
    child = app.find(input.child)
    items = (child.create_bulk_run_item(Number(n=n)) for n in range(input.n))
    return await child.aio_run_many(items if input.lazy else list(items))


def declare_parents(app: Fanwood) -> None:
    first_try: list[float] = []

    @app.task(input_validator=FanOut)
    async def fan_out(input: FanOut, ctx: Context) -> float:
        """Seconds from the making of the first item to the list of all results."""
        start = time.perf_counter()
        results = await run_all(app, input)
        seconds = time.perf_counter() - start
        assert results == list(range(1, input.n + 1))
        return seconds

    @app.task(input_validator=Number)
    async def sequence(input: Number, ctx: Context) -> list[float]:
        """Seconds of each of so many children, one awaited after another."""
        child, taken = app.find("child"), list[float]()
        for n in range(input.n):
            start = time.perf_counter()
            await child.aio_run(Number(n=n))
            taken.append(time.perf_counter() - start)
        return taken

    @app.task(input_validator=Number)
    async def trio(input: Number, ctx: Context) -> int:
        """A parent that waits for three children."""
        return sum(await run_all(app, FanOut(n=3)))

    @app.task(input_validator=FanOut, retries=1)
    async def retried(input: FanOut, ctx: Context) -> list[float]:
        """Fails once all children are done; its second try finds them. How long each try's fan-out took."""
        start = time.perf_counter()
        await run_all(app, input)
        seconds = time.perf_counter() - start
        if ctx.retry_count == 0:
            first_try.append(seconds)
            raise RuntimeError("once, on purpose")
        if executed != input.n + WARM_UP:
            raise NonRetryableException(f"{executed - WARM_UP} children ran, and should have been {input.n}")
        return [*first_try, seconds]


def declare_parents_elsewhere(app: Fanwood) -> None:
    """Those of children in other processes."""

    @app.task(input_validator=Number)
    async def spread(input: Number, ctx: Context) -> list[int]:
        """How many of its children each process executed, the busiest first."""
        processes = await run_all(app, FanOut(n=input.n, child="where"))
        assert len(processes) == input.n
        return sorted(Counter(processes).values(), reverse=True)

    @app.task(input_validator=Number)
    async def chain(input: Number, ctx: Context) -> list[float]:
        """Seconds from the end of each child, one awaited after another, until its parent went on."""
        when, taken = app.find("when"), list[float]()
        for n in range(input.n):
            await asyncio.sleep(pause())
            ended = await when.aio_run(Number(n=n))
            taken.append(time.time() - ended)
        return taken


# --- streams and groups ----------------------------------------------------------------------------------------------


class Row(BaseModel):
    """The input of runs that `trees` makes by hand."""

    part: int
    row: int


async def fold(app: Fanwood, n: int) -> float:
    start, total = time.perf_counter(), 0
    async for output in app.find("child").aio_map(Number(n=k) for k in range(n)):
        total += output
    assert total == n * (n + 1) // 2
    return time.perf_counter() - start


def declare_streams(app: Fanwood) -> None:
    child = app.find("child")

    def refs(n: int) -> list[Any]:
        return [child.create_bulk_run_item(Number(n=k)) for k in range(n)]

    @app.task(input_validator=Row)
    async def row(input: Row, ctx: Context) -> int:
        return input.row

    @app.task(input_validator=Number)
    async def ten(input: Number, ctx: Context) -> int:
        """A small tree; the number keeps one from another."""
        return sum(await run_all(app, FanOut(n=10)))

    @app.task(input_validator=FanOut)
    async def stream(input: FanOut, ctx: Context) -> float:
        """Seconds in which so many children were run and folded into a sum."""
        return await fold(app, input.n)

    @app.task(input_validator=FanOut)
    async def folded(input: FanOut, ctx: Context) -> list[float]:
        """As `stream`; and the most memory that this process has had until then."""
        return [await fold(app, input.n), peak_memory()]

    @app.task(input_validator=FanOut)
    async def interrupted(input: FanOut, ctx: Context) -> list[float]:
        """Its first attempt stays when half of its children have ended. The next one says after how many seconds a new
        one ran, and how much memory its process had at most."""
        start, number, half = time.time(), 0, input.n // 2
        window = max(1, min(2_000, input.n // 10))  # not all of a small one
        async for ran in app.find("when").aio_map((Number(n=n) for n in range(input.n)), window=window):
            number += 1
            if ctx.attempt_number == 1 and number == half:
                ctx.progress(half)
                await asyncio.Event().wait()
            if ctx.attempt_number > 1 and ran > start:
                assert number > half, f"child {number} ran again"
                return [ran - start, peak_memory()]
        raise AssertionError("no new child ran")

    @app.task(input_validator=FanOut)
    async def as_they_end(input: FanOut, ctx: Context) -> float:
        start, total = time.perf_counter(), 0
        async for ref in as_completed(await child.aio_run_many(refs(input.n), wait_for_result=False)):
            total += await ref
        assert total == input.n * (input.n + 1) // 2
        return time.perf_counter() - start

    @app.task(input_validator=FanOut)
    async def group(input: FanOut, ctx: Context) -> float:
        start = time.perf_counter()
        async with ctx.group() as members:
            for n in range(input.n):
                members.spawn(child, Number(n=n))
        assert len(members.outcomes) == input.n
        return time.perf_counter() - start

    @app.task(input_validator=Number)
    async def race(input: Number, ctx: Context) -> list[float]:
        """Seconds of each of so many races of ten."""
        taken = list[float]()
        for number in range(input.n):
            start = time.perf_counter()
            async with ctx.group(quorum=1) as members:
                for n in range(10):
                    members.spawn(child, Number(n=10 * number + n))
            assert members.winner is not None
            taken.append(time.perf_counter() - start)
        return taken


def pause() -> float:
    """Seconds in which a process falls idle; some more or less, so as to be out of step with whatever has a rhythm."""
    return random.uniform(0.005, 0.025)


# --- trees -----------------------------------------------------------------------------------------------------------


class Branch(BaseModel):
    depth: int
    mixed: bool = False  # sync and async generations take turns


def declare_trees(app: Fanwood) -> None:
    def below(input: Branch, own: str, other: str) -> tuple[Any, list[BulkRunItem]]:
        task = app.find(other if input.mixed else own)
        branch = Branch(depth=input.depth - 1, mixed=input.mixed)
        return task, [task.create_bulk_run_item(branch) for _ in range(2)]

    @app.task(input_validator=Branch)
    async def tree(input: Branch, ctx: Context) -> int:
        """A binary tree; how many runs it has."""
        if input.depth == 0:
            return 1
        task, branches = below(input, "tree", "sync_tree")
        return 1 + sum(await task.aio_run_many(branches))

    @app.task(input_validator=Branch)
    def sync_tree(input: Branch, ctx: Context) -> int:
        if input.depth == 0:
            return 1
        task, branches = below(input, "sync_tree", "tree")
        return 1 + sum(task.run_many(branches))
