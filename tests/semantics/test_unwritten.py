"""What a run records and does not wait for, and the store refuses: the run fails, and says by what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fanwood import Context, EvictionPolicy, TaskRunError
from fanwood.errors import StoreValueError
from tests.conftest import MakeApp


@pytest.fixture
def picky(make_app: MakeApp) -> Any:
    """An application whose store can't hold what is named "bad"."""
    app = make_app()
    store: Any = app.engine().store
    commit = store.commit

    async def picky(worker_id: int, batch: Any) -> Any:
        if any("bad" in record.input for record in batch.records):
            raise StoreValueError("that can't be held")
        return await commit(worker_id, batch)

    store.commit = picky
    return app


def test_what_is_not_waited_for_is_needed(picky: Any) -> None:
    @picky.task
    async def other(n: int) -> int:
        return n

    @picky.task(retries=2)
    async def ends(name: str, ctx: Context) -> int:
        await ctx.aio_now(name)
        return 1

    @picky.task
    async def goes_on(name: str, ctx: Context) -> int:
        await ctx.aio_now(name)
        return sum([await other.aio_run(n) for n in range(3)])

    @picky.task
    def sleeps(name: str, ctx: Context) -> None:
        ctx.now(name)
        ctx.sleep_for(0.001)

    for task in (ends, goes_on, sleeps):
        with pytest.raises(TaskRunError, match=r"bad.* can't be recorded: that can't be held"):
            task.run("bad", timeout=60)
    assert [ends.run("good", timeout=60), goes_on.run("good", timeout=60)] == [1, 3]


def test_who_suspends_meanwhile(picky: Any) -> None:
    @picky.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def waits(name: str, ctx: Context) -> None:
        await ctx.aio_now(name)
        await ctx.aio_sleep_for(3600)

    @picky.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def gives_up(name: str, ctx: Context) -> None:
        await ctx.aio_now(name)
        try:
            async with asyncio.timeout(0.001):
                await ctx.aio_wait_for_event("never")
        except TimeoutError:
            raise ValueError("its own") from None

    for task in (waits, gives_up):
        with pytest.raises(TaskRunError, match="can't be recorded"):
            task.run("bad", timeout=60)
    assert picky.engine().alive
