"""A wait that durable code gave up, as something else came first: code that is run again goes the way that it went,
though what it waited for has come since."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any

import pytest

from fanwood import (
    Context,
    EvictionPolicy,
    Fanwood,
    RunState,
    UserEventCondition,
)
from fanwood.sdk.tasks.rehearsing import rehearse
from tests.conftest import MakeApp
from tests.semantics.test_durable import until
from tests.semantics.test_sameness import _runs as runs_of
from tests.serving import serving

AT_ONCE = EvictionPolicy(ttl=0)
WAITS = ["event", "message", "promise", "sleep", "conditions", "reference"]
HOWS = ["race", "race of two", "task group", "cancelled"]


def wait_of(ctx: Context, kind: str, promise: Any) -> Awaitable[Any]:
    """For something that comes too late. `promise`: it, or the reference."""
    if kind == "event":
        return ctx.aio_wait_for_event("late")
    if kind == "message":
        return ctx.aio_receive("late")
    if kind in {"promise", "reference"}:
        return promise.aio_result()
    if kind == "sleep":
        return ctx.aio_sleep_for("1h")
    return ctx.aio_wait_for("late", UserEventCondition("late"))


def let_come(app: Fanwood, run_id: str, kind: str, token: str) -> None:
    """What the run waited for comes now."""
    if kind == "sleep":
        sleeps = [ref.id for ref in app.runs.children(run_id) if app.runs.get(ref.id).task_name == "~sleep"]
        for sleep in sleeps:
            app.runs.wake(sleep)
    elif kind == "message":
        app.runs.send(run_id, "late")
    elif kind == "promise":
        app.promises.resolve(token, 7)
    else:
        app.events.push("late")


async def came_out(wait: Awaitable[Any], won: Awaitable[Any], how: str) -> str:
    """Which came first: of a race, of branches one of which fails, of a task that is cancelled afterwards."""
    first, second = asyncio.ensure_future(wait), asyncio.ensure_future(won)
    if how == "cancelled":
        await second
        first.cancel()
        return (
            "won" if await asyncio.gather(first, return_exceptions=True) != ["late"] and first.cancelled() else "late"
        )
    if how == "task group":

        async def fails() -> None:
            await second
            raise ValueError

        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(_awaited(first))
                group.create_task(fails())
        return "won" if first.cancelled() else "late"
    done, lost = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
    for one in lost:
        one.cancel()
    await asyncio.gather(*lost, return_exceptions=True)
    return " and ".join(name for one, name in ((first, "late"), (second, "won")) if one in done)


async def _awaited(one: Awaitable[Any]) -> None:
    await one


@pytest.mark.parametrize("kind", WAITS)
@pytest.mark.parametrize("how", HOWS)
def test_code_that_is_run_again_gives_up_what_it_gave_up(
    make_app: MakeApp, kind: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanwood.sdk.tasks.rehearsing.PATIENCE", 60.0)
    app, lives, tokens = make_app(local_worker=False), list[list[str]](), list[str]()
    rounds = 2 if how == "race of two" else 1

    @app.task
    async def child(input: dict, ctx: Context) -> None:
        await ctx.aio_wait_for_event("late", lookback_window="1h")

    @app.durable_task(eviction_policy=AT_ONCE, strict=True)
    async def task(input: dict, ctx: Context) -> int:
        lives.append(told := [])
        promise: Any = None
        if kind == "promise":
            promise = await ctx.aio_promise(int, "late")
            tokens.append(promise.token)
        elif kind == "reference":
            promise = await child.aio_run_no_wait({})
        for n in range(rounds):
            out = await came_out(wait_of(ctx, kind, promise), ctx.aio_wait_for_event(f"won{n}"), how)
            told.append(out)
        await ctx.aio_wait_for_event("on", lookback_window="1h")
        if kind in {"event", "message", "promise", "reference"}:  # who asks for it now has what has come
            await wait_of(ctx, kind, promise)
        return ctx.invocation_count

    ref = task.run_no_wait({})
    with serving(app.worker("only")):
        for n in range(rounds):
            while not lives or len(lives[-1]) < n:
                assert not ref.status().is_terminal, app.runs.get(ref.id).error
            until(app, ref.id, RunState.WAITING)
            app.events.push(f"won{n}")
        while len(lives[-1]) < rounds:
            assert not ref.status().is_terminal, app.runs.get(ref.id).error
        until(app, ref.id, RunState.WAITING)
        let_come(app, ref.id, kind, "".join(tokens[:1]))
        (run,) = runs_of(app, task)
        rehearsed = rehearse(app, task.spec, run)
        assert (rehearsed.text, rehearsed.followed) == (None, True)
        app.events.push("on")
        assert ref.result(60) == 2 + rounds
        assert lives[-1] == ["won"] * rounds
        app.runs.fork(ref.id).result(60)
    assert lives[-1] == ["won"] * rounds or kind == "reference"  # (a fork's child is another run)


@pytest.mark.parametrize("kind", ["reference", "promise"])
def test_what_was_answered_and_then_given_up_is_answered_again(make_app: MakeApp, kind: str) -> None:
    """It can be waited for as often as one likes, and each time is one by itself."""
    app, lives, tokens = make_app(local_worker=False), list[list[str]](), list[str]()

    @app.task
    async def child(input: dict, ctx: Context) -> None:
        await ctx.aio_wait_for_event("late", lookback_window="1h")

    @app.durable_task(eviction_policy=AT_ONCE, strict=True)
    async def task(input: dict, ctx: Context) -> None:
        lives.append(told := [])
        promise: Any = await ctx.aio_promise(int, "late") if kind == "promise" else await child.aio_run_no_wait({})
        tokens.extend([promise.token] if kind == "promise" else [])
        told.append(await came_out(wait_of(ctx, kind, promise), ctx.aio_wait_for_event("never"), "race"))
        first = asyncio.ensure_future(wait_of(ctx, kind, promise))
        first.cancel()
        told.append(str((await asyncio.gather(first, return_exceptions=True))[0].__class__.__name__))
        await ctx.aio_wait_for_event("on", lookback_window="1h")

    ref = task.run_no_wait({})
    with serving(app.worker("only")):
        until(app, ref.id, RunState.WAITING)
        let_come(app, ref.id, kind, "".join(tokens[:1]))
        while len(lives[-1]) < 2:
            assert not ref.status().is_terminal, app.runs.get(ref.id).error
        until(app, ref.id, RunState.WAITING)
        app.events.push("on")
        ref.result(60)
    assert lives[-2:] == [["late", "CancelledError"]] * 2


@pytest.mark.parametrize("what", ["reference", "shared"])
def test_a_child_that_lost_against_what_takes_its_time_is_given_up_again(make_app: MakeApp, what: str) -> None:
    """And the code is not told that it was cancelled."""
    app, lives = make_app(local_worker=False), list[str]()

    @app.task
    async def child(input: dict, ctx: Context) -> None:
        await ctx.aio_wait_for_event(input["for"], lookback_window="1h")

    @app.durable_task(eviction_policy=AT_ONCE)
    async def task(input: dict, ctx: Context) -> None:
        lives.append("begun")
        winner = await child.aio_run_no_wait({"for": "won"})
        won = winner.aio_result() if what == "reference" else child.aio_run({"for": "won"}, share="tree")
        lives[-1] = await came_out(child.aio_run({"for": "never"}), won, "race")
        await ctx.aio_wait_for_event("on", lookback_window="1h")

    ref = task.run_no_wait({})
    with serving(app.worker("only")):
        until(app, ref.id, RunState.WAITING)
        app.events.push("won")
        while "won" not in lives:
            assert not ref.status().is_terminal, app.runs.get(ref.id).error
        until(app, ref.id, RunState.WAITING)
        app.events.push("on")
        ref.result(60)
    assert lives[-1] == "won"


def test_what_is_not_given_up_any_more_is_told(make_app: MakeApp) -> None:
    """Other code, say: it waits for what the code before it had given up."""
    app, lives = make_app(local_worker=False), list[int]()

    @app.durable_task(eviction_policy=AT_ONCE)
    async def task(input: dict, ctx: Context) -> str:
        lives.append(ctx.invocation_count)
        if len(lives) <= 2:
            await came_out(ctx.aio_wait_for_event("late"), ctx.aio_wait_for_event("won"), "race")
            await ctx.aio_wait_for_event("on")
            return "the old code"
        return await ctx.aio_wait_for_event("late")

    ref = task.run_no_wait({})
    with serving(app.worker("only")):
        until(app, ref.id, RunState.WAITING)
        app.events.push("won")
        while len(lives) < 2 or ref.status() is not RunState.WAITING:
            assert not ref.status().is_terminal, app.runs.get(ref.id).error
        app.events.push("late", "the new code")
        app.events.push("on")
        assert ref.result(60) == "the new code"


def test_a_new_try_that_goes_another_way_is_told(make_app: MakeApp) -> None:
    """What had won failed, and is run again: now the other one is first."""
    app, fails, tries = make_app(local_worker=False), [True], list[str]()

    @app.task
    async def child(input: dict, ctx: Context) -> None:
        if fails:
            fails.clear()
            raise ValueError("no")
        await ctx.aio_wait_for_event("never")

    @app.durable_task(eviction_policy=AT_ONCE, retries=1)
    async def task(input: dict, ctx: Context) -> str:
        waits = [asyncio.ensure_future(ctx.aio_wait_for_event("late")), asyncio.ensure_future(child.aio_run({}))]
        done, lost = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for one in lost:
            one.cancel()
        await asyncio.gather(*lost, return_exceptions=True)
        tries.append("late" if waits[0] in done else "won")
        if tries[-1] == "won":
            await app.events.aio_push("late")
        return await done.pop()

    ref = task.run_no_wait({})
    with serving(app.worker("only")):
        ref.result(60)
    assert tries == ["won", "late"]


def test_a_loop_with_a_timer_of_its_own_leaves_nothing_behind(app: Fanwood) -> None:
    @app.durable_task(eviction_policy=AT_ONCE)
    async def task(input: dict, ctx: Context) -> int:
        for _ in range(20):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.002):
                    await ctx.aio_receive("never")
        return len(await ctx.aio_children())

    assert task.run({}, timeout=60) <= 1
