"""The tasks of the processes that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fanwood import Budget, BudgetExceeded, Context, EvictionPolicy, Fanwood, TaskRunCancelled, after

if TYPE_CHECKING:
    from tests.crashes.ground import Ground

PATIENCE = 60.0
LONG = 3600
SOON = {"retries": 2, "backoff_factor": 1, "backoff_max_seconds": 0.03}

began = threading.Event()
"""Something executes that does not end by itself."""
ended_soon = threading.Event()


def declare(ground: Ground, app: Fanwood) -> Fanwood:
    @app.middleware
    def noted(ctx: Context) -> Iterator[None]:
        ground.note("begin", ctx.task_run_id, ctx._attempt.run.attempt, os.getpid())
        yield

    @app.task
    async def leaf(input: dict, ctx: Context) -> list[int]:
        ctx.log(f"leaf {input['n']}")
        return [input["n"] ** 2, ctx.attempt_number]

    @app.task
    def sync_leaf(input: dict, ctx: Context) -> list[int]:
        return [input["n"] ** 2, ctx.attempt_number]

    @app.task
    async def bulk(input: dict) -> int:
        items = [leaf.create_bulk_run_item({"n": n}, key=f"{n}" if n % 2 else None) for n in range(input["n"])]
        return sum([value for value, _ in await leaf.aio_run_many(items)])

    @app.task
    async def chain(input: dict) -> int:
        one_by_one = [(await leaf.aio_run({"n": n}))[0] for n in range(input["n"])]
        refs = [await sync_leaf.aio_run_no_wait({"n": n}) for n in range(input["n"])]
        return sum(one_by_one) + sum([value for value, _ in await asyncio.gather(*(ref.aio_result() for ref in refs))])

    @app.task
    def sync_chain(input: dict) -> int:
        return sum(sync_leaf.run({"n": n})[0] for n in range(input["n"]))

    @app.task(retries=1)
    async def flaky(input: dict, ctx: Context) -> int:
        if ctx.retry_count < input["failures"]:
            raise ValueError("once more")
        return input["n"]

    @app.task
    async def mended(input: dict, ctx: Context) -> int:
        if ctx.attempt_number == 1:
            raise ValueError("until somebody has it run again")
        return input["n"]

    @app.task(**SOON)
    async def patient(input: dict, ctx: Context) -> int:
        if ctx.retry_count < input["failures"]:
            raise ValueError("a little later")
        return (await leaf.aio_run(input))[0]

    @app.task
    async def several(input: dict) -> list[Any]:
        task = app.find(input["of"])
        items = [task.create_bulk_run_item({"n": n, "failures": n % 3}) for n in range(3)]
        found = await task.aio_run_many(items, return_exceptions=True)
        return [answer if isinstance(answer, int) else "failed" for answer in found]

    @app.task
    async def tree(input: dict) -> int:
        if not input["depth"]:
            return 1
        below = [tree.create_bulk_run_item({"depth": input["depth"] - 1, "n": n}) for n in range(2)]
        return 1 + sum(await tree.aio_run_many(below))

    declare_endless(app, leaf)
    declare_dreamer(ground, app)
    declare_durable(ground, app)
    declare_flow(app, leaf)
    declare_limited(app)
    declare_shared(app, leaf)
    return app


def declare_dreamer(ground: Ground, app: Fanwood) -> None:
    @app.task
    async def dreamer(input: dict, ctx: Context) -> list[str]:
        async def step(name: str) -> str:
            ground.note("did", ctx.task_run_id, name)
            return name

        first = await ctx.aio_step(step, "first", key="first")
        ground.note("recorded", ctx.task_run_id, "first")
        await ctx.aio_sleep_for(LONG)
        await ctx.aio_sleep_for(0.01)
        second = await ctx.aio_step(step, "second", key="second")
        ground.note("recorded", ctx.task_run_id, "second")
        return [first, second]


def declare_durable(ground: Ground, app: Fanwood) -> None:
    at_once = EvictionPolicy(ttl=0)

    @app.task
    async def unhurried(n: int) -> int:
        await asyncio.sleep(0.03)
        return n

    @app.durable_task(eviction_policy=at_once)
    async def suspends(input: dict, ctx: Context) -> list[int]:
        one = await unhurried.aio_run(1)
        async with ctx.group() as group:
            for n in range(2, 4):
                group.spawn(unhurried, n)
        several = [n async for n in unhurried.aio_map([4, 5], window=1)]
        return [one, *(outcome.result() for outcome in group.outcomes), *several]

    @app.durable_task(eviction_policy=at_once)
    async def waits_for_event(input: dict, ctx: Context) -> int:
        return (await ctx.aio_wait_for_event("paid", lookback_window="1h"))["n"]

    @app.durable_task(eviction_policy=at_once)
    async def waits_for_some(input: dict, ctx: Context) -> int:
        return (await ctx.aio_wait_for_event("paid", expression="input.n > 5", lookback_window="1h"))["n"]

    @app.durable_task(eviction_policy=at_once)
    async def waits_for_promise(input: dict, ctx: Context) -> int:
        promise = await ctx.aio_promise(int, "answer")
        ground.note("token", ctx.task_run_id, promise.token)
        return await promise

    @app.durable_task(eviction_policy=at_once)
    async def receives(input: dict, ctx: Context) -> list[int]:
        found: list[int] = []
        while len(set(found)) < 2:
            found.append((await ctx.aio_receive("number")).payload)
        return sorted(set(found))


def declare_endless(app: Fanwood, leaf: Any) -> None:
    @app.task
    async def endless(input: dict) -> None:
        began.set()
        await asyncio.Event().wait()

    @app.task
    async def impatient(input: dict) -> str:
        with contextlib.suppress(TimeoutError, TaskRunCancelled):
            async with asyncio.timeout(0.02):
                await endless.aio_run(input)
        return "went on"

    @app.task
    async def nest(input: dict) -> None:
        items = [endless.create_bulk_run_item({"n": n}) for n in range(8)]
        await endless.aio_run_many([*items, leaf.create_bulk_run_item({"n": 3}, on_parent_end="continue")])

    @app.task
    async def fails(input: dict, ctx: Context) -> None:
        await nest.aio_run_no_wait(input)
        await leaf.aio_run({"n": 1})
        await asyncio.to_thread(began.wait, PATIENCE)
        if input.get("itself"):
            await ctx.aio_cancel()
        raise ValueError("what is below is closed")

    @app.task(execution_timeout=0.05, retries=1)
    async def slow(input: dict) -> None:
        await nest.aio_run(input)

    @app.task
    async def occupies(input: dict) -> None:
        await asyncio.sleep(0.2)

    @app.task(schedule_timeout=0.05)
    async def late(input: dict) -> int:
        return 1

    @app.task
    async def brief(input: dict, ctx: Context) -> int:
        began.set()
        await asyncio.to_thread(ended_soon.wait, 0.05)
        return (await leaf.aio_run({"n": input["n"]}))[0]


def declare_limited(app: Fanwood) -> None:
    @app.task
    async def spender(input: dict, ctx: Context) -> int:
        await ctx.aio_spend(usd=1)
        async with ctx.reserve(usd=2) as held:
            await held.aio_spend(usd=1)
        with contextlib.suppress(BudgetExceeded):
            await ctx.aio_spend(usd=1000)
        await ctx.aio_publish("how far", input["n"])
        return input["n"]

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def thrifty(input: dict, ctx: Context) -> list[int]:
        await ctx.aio_spend(usd=2)
        return [await spender.aio_run({"n": n}, budget=Budget(units={"usd": 40})) for n in range(2)]


def declare_shared(app: Fanwood, leaf: Any) -> None:
    hangs: list[int] = []  # in this process

    @app.task
    async def asks(input: dict) -> int:
        return (await leaf.aio_run({"n": 5}, share="tree"))[0]

    @app.task
    async def sharing(input: dict) -> int:
        return sum(await asks.aio_run_many(asks.create_bulk_run_item({"n": n}) for n in range(3)))

    @app.task
    async def hangs_at_first(input: dict) -> int:
        hangs.append(1)
        await asyncio.sleep(LONG if len(hangs) == 1 else 0)
        return 7

    @app.task
    async def hedging(input: dict) -> int:
        return await hangs_at_first.aio_run(input, hedge=after(0.03))

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def rounds(input: dict, ctx: Context) -> int:
        await leaf.aio_run({"n": 1})
        await ctx.aio_sleep_for(0.01)
        if input["n"] < 3:
            await app.find("endless").aio_run_no_wait({})
            ctx.start_over({"n": input["n"] + 1})
        return input["n"]


def declare_flow(app: Fanwood, leaf: Any) -> None:
    flow = app.workflow(name="flow")

    @flow.task()
    async def first(input: dict, ctx: Context) -> int:
        return (await leaf.aio_run({"n": 2}))[0]

    @flow.task(parents=[first], retries=1)
    def second(input: dict, ctx: Context) -> int:
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return ctx.task_output(first) + 1

    @flow.task(parents=[first])
    async def third(input: dict, ctx: Context) -> int:
        return ctx.task_output(first) + 2

    @flow.task(parents=[second, third])
    async def fourth(input: dict, ctx: Context) -> int:
        return ctx.task_output(second) * ctx.task_output(third)
