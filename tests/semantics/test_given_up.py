"""Whatever is awaited may be given up at any moment: by a time-out of the code's own, a lost race, a cancelled task.
Nothing is left behind: no child that nobody owns, no part of a budget that nobody holds, nobody who seems to wait; and
who asks for the same afterwards has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fanwood import Budget, Context, EmptyModel, Fanwood, RunState, after, as_completed
from fanwood.sdk.children.members import Members
from tests.chaos.scale import scaled
from tests.faults.processes import until

TIMES = scaled(200, 30)
STEP = 0.0002
"""Seconds by which each time-out is longer than the one before: so that somewhere every await is met."""

Deed = Callable[[Fanwood, Context, Any], Awaitable[Any]]


async def spends(_app: Fanwood, ctx: Context, _leaf: Any) -> None:
    await ctx.aio_spend(usd=0.001)


async def reserves(_app: Fanwood, ctx: Context, _leaf: Any) -> None:
    async with ctx.reserve(usd=0.5) as held:
        await held.aio_spend(usd=0.001)


async def shares(_app: Fanwood, _ctx: Context, leaf: Any) -> None:
    assert await leaf.aio_run(1, share="tree") == 1


async def hedges(_app: Fanwood, _ctx: Context, leaf: Any) -> None:
    assert await leaf.aio_run(2, hedge=after(0.001)) == 2


async def groups(_app: Fanwood, ctx: Context, leaf: Any) -> None:
    async with ctx.group("named", quorum=1) as group:
        group.spawn(leaf, 1)
        group.spawn(leaf, 2)
    assert group.winner is not None


async def maps(_app: Fanwood, _ctx: Context, leaf: Any) -> None:
    assert [n async for n in leaf.aio_map(range(5), window=2)] == [0, 1, 2, 3, 4]


async def bulks(_app: Fanwood, _ctx: Context, leaf: Any) -> None:
    items = [leaf.create_bulk_run_item(n, budget=Budget(units={"usd": 0.01})) for n in range(3)]
    assert await leaf.aio_run_many(items) == [0, 1, 2]


async def completes(_app: Fanwood, _ctx: Context, leaf: Any) -> None:
    refs = await leaf.aio_run_many_no_wait([leaf.create_bulk_run_item(n, key=f"c{n}") for n in range(3)])
    assert sorted([await ref async for ref in as_completed(refs)]) == [0, 1, 2]


async def steps(_app: Fanwood, ctx: Context, _leaf: Any) -> None:
    assert await ctx.aio_step(str, 1, key="step") == "1"
    await ctx.aio_now("now")


async def says(app: Fanwood, ctx: Context, _leaf: Any) -> None:
    await ctx.aio_put_stream("chunk")
    await ctx.aio_publish("key", 1)
    await app.events.aio_push("given up", {})
    await app.runs.aio_send(ctx.task_run_id, "letter", 1)
    assert (await app.runs.aio_get(ctx.task_run_id)).status is RunState.RUNNING


async def receives(app: Fanwood, ctx: Context, _leaf: Any) -> None:
    await app.runs.aio_send(ctx.task_run_id, "own", 1)
    assert (await ctx.aio_receive("own")).payload == 1


async def hears(app: Fanwood, ctx: Context, _leaf: Any) -> None:
    await app.events.aio_push("own", {})
    await ctx.aio_wait_for_event("own", lookback_window="1h")


async def promises(app: Fanwood, ctx: Context, _leaf: Any) -> None:
    promise = await ctx.aio_promise(int, "number")
    await app.promises.aio_resolve(promise.token, 7)
    assert await promise == 7


DEEDS: list[Deed] = [
    spends, reserves, shares, hedges, groups, maps, bulks, completes, steps, says, receives, hears, promises,
]  # fmt: skip


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_at_any_moment(app: Fanwood, deed: Deed) -> None:
    @app.task
    async def leaf(n: int, ctx: Context) -> int:
        await asyncio.sleep(0)
        return n

    @app.task
    async def innocent(input: EmptyModel, ctx: Context) -> str:
        await ctx.aio_spend(usd=0.001)
        return "done"

    seen, go = list[str](), asyncio.Event()

    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> str:
        given_up = 0
        for number in range(TIMES):
            try:
                async with asyncio.timeout(number * STEP):
                    await deed(app, ctx, leaf)
            except TimeoutError:
                given_up += 1
        await deed(app, ctx, leaf)
        assert await innocent.aio_run() == "done"
        seen.append(ctx.task_run_id)
        loop.append(asyncio.get_running_loop())
        await go.wait()
        return f"{bool(given_up)}"

    loop = list[asyncio.AbstractEventLoop]()
    ref = parent.run_no_wait(budget=Budget(units={"usd": 1000}))  # (what is given up is free a moment later)
    until(lambda: bool(seen) or ref.status().is_terminal, "it has done so", 60)
    if not seen:
        ref.result()
    waits = app.engine()._delivery._waits._waiting

    def calm() -> bool:
        living = [run for run in app.runs.children(ref.id) if not run.status.is_terminal]
        living = [run for run in living if run.task_name in {"leaf", "innocent"}]
        held = [limit.held for limit in app.runs.get(ref.id).budget]
        return not living and held == [0] and not waits

    try:
        until(calm, "nothing is left of it")
    finally:
        loop[0].call_soon_threadsafe(go.set)
    assert ref.result(60) == "True"
    assert app.runs.tree(ref.id).run.status is RunState.COMPLETED


def test_a_group_whose_beginning_was_given_up_is_begun_anew(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, begin = [True], Members.begin

    async def begins(members: Members) -> None:
        await (asyncio.Event().wait() if stuck else begin(members))

    monkeypatch.setattr(Members, "begin", begins)

    @app.task
    async def leaf(n: int) -> int:
        return n

    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> list[int]:
        group = ctx.group("named")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await group.__aenter__()
        stuck.clear()
        async with group:
            first = group.spawn(leaf, 1)
        async with ctx.group("another") as other:
            second = other.spawn(leaf, 2)
        return [await first.aio_result(), await second.aio_result()]

    assert parent.run() == [1, 2]
