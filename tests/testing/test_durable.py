"""Durable tasks, and what comes from outside, as users' tests have them: a month is over at once, and a crash at each
point (a suspension among them) changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fanwood import (
    Context,
    EvictionPolicy,
    Fanwood,
    RunState,
    SleepCondition,
    TaskRunError,
    TaskRunTimedOut,
    UserEventCondition,
    WaitTimeoutError,
    or_,
)
from fanwood.testing import TestApp, drain, effects, explore, faults, travel
from fanwood.testing.exploring import _told

app = Fanwood("postgresql://nobody@db.invalid/durable")
AT_ONCE = EvictionPolicy(ttl=0)
tokens: list[str] = []


def charge(order: int) -> str:
    effects.record("charged", order)
    return f"receipt {order}"


@app.task
async def pack(order: int) -> str:
    return f"box {order}"


@app.durable_task(retries=1)
async def fulfil(order: int, ctx: Context) -> list[str]:
    receipt = await ctx.aio_step(charge, order)
    await ctx.aio_sleep_for("30d")
    return [receipt, await pack.aio_run(order)]


@app.durable_task
def fulfil_in_a_thread(order: int, ctx: Context) -> list[str]:
    receipt = ctx.step(charge, order)
    ctx.sleep_for("30d")
    return [receipt, pack.run(order)]


@app.task
async def remind(order: int, ctx: Context) -> int:
    await ctx.aio_sleep_for("30d")
    return order


@app.durable_task
async def approve(order: int, ctx: Context) -> bool:
    promise = await ctx.aio_promise(bool, "approval")
    tokens.append(promise.token)
    return await promise


@app.durable_task
async def paid(order: int, ctx: Context) -> dict[str, Any]:
    return await ctx.aio_wait_for_event("paid", match={"order": order}, timeout="60d")


@app.durable_task
async def paid_or_late(order: int, ctx: Context) -> str:
    late, event = SleepCondition("30d"), UserEventCondition("paid")
    return "late" if late in await ctx.aio_wait_for("payment", or_(late, event)) else "paid"


@app.durable_task(retries=1)
async def in_ten_days(order: int, ctx: Context) -> str:
    async with ctx.group(on_error="collect", deadline="10d") as group:
        group.spawn(paid, order)
        if ctx.retry_count == 0:
            await ctx.aio_sleep_for("8d")
            raise ValueError("once more")
    return type(group.outcomes[0]).__name__


@app.durable_task(execution_timeout="10d")
async def twice_six_days(order: int, ctx: Context) -> None:
    await ctx.aio_sleep_for("6d")
    await ctx.aio_sleep_for("6d")


@app.durable_task(eviction_policy=AT_ONCE)
async def collect(count: int, ctx: Context) -> list[int]:
    return [(await ctx.aio_receive("number")).payload for _ in range(count)]


@app.durable_task(eviction_policy=AT_ONCE)
async def pack_two(order: int, ctx: Context) -> str | None:
    async with ctx.group(quorum=1) as group:
        group.spawn(pack, order)
        group.spawn(paid, order)
    return group.winner.value if group.winner else None


@app.durable_task(eviction_policy=AT_ONCE)
async def impatient(order: int, ctx: Context) -> str:
    reminder = await remind.aio_run_no_wait(order)
    try:
        return str(await reminder.aio_result(timeout=0.5))
    except WaitTimeoutError:
        return "late"


@app.durable_task(eviction_policy=AT_ONCE)
def impatient_in_a_thread(order: int, ctx: Context) -> str:
    reminder = remind.run_no_wait(order)
    try:
        return str(reminder.result(timeout=0.5))
    except WaitTimeoutError:
        return "late"


moments: list[str] = []


@app.durable_task
async def ends_after(days: int, ctx: Context) -> int:
    await ctx.aio_sleep_for(f"{abs(days)}d")
    if days < 0:
        raise ValueError("no")
    return days


async def all_of(*days: int, return_exceptions: bool = False) -> None:
    items = [ends_after.create_bulk_run_item(n, idempotency_key=f"root {n}", detached=True) for n in days]
    await ends_after.aio_run_many(items, return_exceptions=return_exceptions)


async def strict() -> None:
    try:
        await all_of(-1, 20)
    except TaskRunError:
        moments.append("strict")


async def patient() -> None:
    await all_of(-1, 30, return_exceptions=True)
    moments.append("patient")


@app.durable_task(eviction_policy=AT_ONCE)
async def two_minds(first: str, ctx: Context) -> None:
    branches = [strict(), patient()]
    await asyncio.gather(*(branches if first == "strict" else reversed(branches)))


@pytest.mark.parametrize("task", [fulfil, fulfil_in_a_thread])
def test_a_month_passes_at_once(fanwood_app: TestApp, task: Any):
    begin = fanwood_app.now()
    assert task.run(7) == ["receipt 7", "box 7"]
    assert (fanwood_app.now() - begin).days == 30
    assert effects.recorded("charged") == [(7,)]


@pytest.mark.parametrize(("task", "meanwhile"), [(fulfil, RunState.WAITING), (remind, RunState.RUNNING)])
def test_travel_goes_as_far_as_it_says(fanwood_app: TestApp, task: Any, meanwhile: RunState):
    order = task.run_no_wait(1)
    drain()
    travel(days=29)
    assert order.status() is meanwhile
    travel(days=1)
    assert order.status() is RunState.COMPLETED


def test_limits_of_time_count_from_the_beginning(fanwood_app: TestApp):
    """Of a try over suspensions, of a group over tries."""
    begin = fanwood_app.now()
    assert in_ten_days.run(1) == "TimedOut"
    assert (fanwood_app.now() - begin).days == 10
    begin = fanwood_app.now()
    with pytest.raises(TaskRunTimedOut):
        twice_six_days.run(1)
    assert (fanwood_app.now() - begin).days == 10


@pytest.mark.parametrize("task", [approve, paid])
def test_what_waits_is_unloaded_in_its_time(fanwood_app: TestApp, task: Any):
    order = task.run_no_wait(1)
    drain()
    assert order.status() is RunState.RUNNING
    travel(seconds=61)
    assert order.status() is RunState.WAITING


@pytest.mark.parametrize("task", [impatient, impatient_in_a_thread])
def test_who_waits_for_less_than_a_second_is_not_unloaded_and_gives_up_in_time(fanwood_app: TestApp, task: Any):
    begin = fanwood_app.now()
    assert task.run(1) == "late"
    assert (fanwood_app.now() - begin).days == 0


@pytest.mark.parametrize("first", ["strict", "patient"])
def test_of_two_waits_for_one_run_the_one_is_heard_that_needs_its_end(fanwood_app: TestApp, first: str):
    """The one gives up if it fails; to the other it is one of several, and it is suspended for both."""
    moments.clear()
    order = two_minds.run_no_wait(first)
    drain()
    assert order.status() is RunState.WAITING
    travel(days=2)
    assert moments == ["strict"]
    travel(days=30)
    assert order.status() is RunState.COMPLETED
    assert moments[-1] == "patient" or first == "patient"


def test_promises_events_and_messages_come_when_a_test_says_so(fanwood_app: TestApp):
    tokens.clear()
    approval, payment, numbers = approve.run_no_wait(1), paid.run_no_wait(1), collect.run_no_wait(2)
    either = paid_or_late.run_no_wait(1)
    travel(days=3)
    app.promises.resolve(tokens[0], True)
    app.events.push("paid", {"order": 2})
    app.runs.send(numbers.id, "number", 7)
    travel(days=3)
    app.runs.send(numbers.id, "number", 8)
    app.events.push("paid", {"order": 1})
    drain()
    assert [run.status() for run in (approval, payment, numbers, either)] == [RunState.COMPLETED] * 4
    assert (approval.result(), payment.result(), numbers.result()) == (True, {"order": 1}, [7, 8])
    assert either.result() == "paid"
    assert paid_or_late.run(2) == "late"


async def test_in_an_async_test(fanwood_app: TestApp):
    payment = await paid.aio_run_no_wait(1)
    await asyncio.sleep(86_400)
    await app.events.aio_push("paid", {"order": 1})
    assert await payment.aio_result() == {"order": 1}
    assert await fulfil.aio_run(1) == ["receipt 1", "box 1"]


def test_stubs_and_faults(fanwood_app: TestApp):
    async def answer(order: int, ctx: Context) -> list[str]:
        await ctx.aio_sleep_for("3d")
        return [f"answer {ctx.invocation_count}"]

    with fanwood_app.stub(fulfil, answer):
        assert fulfil.run(1) == ["answer 2"]  # it is unloaded, as what it stands for
    with faults.lose_worker(commit=2):
        assert fulfil.run(1) == ["receipt 1", "box 1"]
    order = fulfil.run_no_wait(1)
    drain()
    with faults.no_worker():
        travel(days=31)
        assert order.status() is RunState.QUEUED
    assert order.result() == ["receipt 1", "box 1"]


def test_a_crash_at_each_point(monkeypatch: pytest.MonkeyPatch):
    """Also while a step executes on a thread, which nobody hears of any more."""
    told: set[str] = set()
    monkeypatch.setattr("fanwood.testing.exploring._told", lambda what, done: told.add(_told(what, done)) or "")
    explored = explore(fulfil, 7)
    assert explored.answer == ["receipt 7", "box 7"]
    assert explored.crashes == explored.points > 10
    assert "the commit of a suspension" in told


def test_a_crash_at_some_points_of_a_group_and_of_what_waits_for_messages():
    async def flow() -> list[int]:
        numbers = await collect.aio_run_no_wait(2)
        await app.runs.aio_send(numbers.id, "number", 1)
        await asyncio.sleep(86_400)
        await app.runs.aio_send(numbers.id, "number", 2)
        return await numbers.aio_result()

    assert explore(flow, at_most=5).answer == [1, 2]
    assert explore(pack_two, 7, at_most=5).answer == "box 7"
