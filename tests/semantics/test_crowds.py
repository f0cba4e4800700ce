"""Durable runs with very many waits, or very much that is recorded, and who else is on their loop."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Sequence
from itertools import count
from queue import Queue
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from fanwood import Context, EvictionPolicy, Fanwood, RunState
from fanwood.codec import Codec
from fanwood.engine.waits import Collector
from fanwood.sdk.recording import recalling
from fanwood.sdk.running import beginning, waiting
from fanwood.sdk.running.unloading import Unloading
from tests.semantics.test_durable import until

WAITS = 300
IN_A_TURN = 10
RECORDED = 6 * IN_A_TURN


@pytest.mark.parametrize("ttl", [0, 60])
@pytest.mark.parametrize("kind", ["promises", "sleeps"])
def test_what_a_wait_costs_does_not_grow_with_the_others(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch, kind: str, ttl: int
) -> None:
    looked, most = [0], [0]
    are_sleeps, is_quiet = Unloading._are_sleeps, Unloading.is_quiet

    def count_sleeps(self: Unloading, collectors: Sequence[Collector], ttl: float) -> bool:
        looked[0] += len(collectors)
        most[0] = max(most[0], len(self._waits))
        return are_sleeps(self, collectors, ttl)

    def count_quiet(self: Unloading) -> bool:
        looked[0] += len(self._waits)
        most[0] = max(most[0], len(self._waits))
        return is_quiet(self)

    monkeypatch.setattr(Unloading, "_are_sleeps", count_sleeps)
    monkeypatch.setattr(Unloading, "is_quiet", count_quiet)

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=ttl))
    async def crowd(input: dict, ctx: Context) -> None:
        if kind == "sleeps":
            await asyncio.gather(*[ctx.aio_sleep_for(3600 + number) for number in range(WAITS)])
        promises = [await ctx.aio_promise(int, f"p{number}") for number in range(WAITS)]
        await asyncio.gather(*[promise.aio_result() for promise in promises])

    ref = crowd.run_no_wait({})
    stays = kind == "promises" and ttl > 0
    while most[0] < WAITS:
        assert not app.runs.get(ref.id).status.is_terminal
        time.sleep(0.002)
    if not stays:
        until(app, ref.id, RunState.WAITING)
    assert looked[0] < 20 * WAITS  # of each with all others it would be 45,000
    app.runs.cancel(ref.id)


@pytest.mark.parametrize("kind", ["promises", "sleeps", "events", "messages"])
def test_very_many_that_begin_together_let_others_on_their_loop_have_their_turns(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Also when they are asked for again; and each has what it had."""
    monkeypatch.setattr(waiting, "IN_A_TURN", IN_A_TURN)
    monkeypatch.setattr(waiting, "WAITS_IN_A_TURN", IN_A_TURN)
    most: list[int] = []
    given: list[list[Any]] = []
    begins = beginning.Beginning._next

    def count(self: beginning.Beginning) -> None:
        begun.append(self._begun)
        begins(self)

    monkeypatch.setattr(beginning.Beginning, "_next", count)
    begun: list[int] = []
    gathered: Queue[None] = Queue()

    @app.durable_task
    async def crowd(input: dict, ctx: Context) -> None:
        begun.clear()
        waits = [_wait(ctx, kind, number) for number in range(RECORDED)]
        given.append(await asyncio.gather(*waits))
        most.append(max(begun))
        gathered.put(None)
        await ctx.aio_sleep_for("1h")

    ref = crowd.run_no_wait({})
    for number in range(RECORDED):
        if kind == "promises":
            app.promises.resolve(TOKENS.get(timeout=60), number)
        elif kind == "events":
            app.events.push(f"e{number}", number)
        elif kind == "messages":
            app.runs.send(ref.id, "m", number)
    gathered.get(timeout=60)
    until(app, ref.id, RunState.WAITING)
    (sleep,) = [
        each.id
        for each in app.runs.children(ref.id, limit=2 * RECORDED)
        if each.task_name == "~sleep" and not each.status.is_terminal
    ]
    assert app.runs.wake(sleep)
    ref.result(timeout=60)
    assert most == [IN_A_TURN, IN_A_TURN]
    assert given[0] == given[1]
    assert kind == "sleeps" or len(set(given[0])) == RECORDED


TOKENS: Queue[str] = Queue()


async def _wait(ctx: Context, kind: str, number: int) -> Any:
    """All of one content, but for events: each gets its own by the order in which they are asked for."""
    if kind == "promises":
        promise = await ctx.aio_promise(int, "p")
        if not promise._ended:
            TOKENS.put(promise.token)
        return await promise
    if kind == "sleeps":
        return await ctx.aio_sleep_for(0.001)
    if kind == "events":
        return await ctx.aio_wait_for_event(f"e{number}", lookback_window="1h")
    return (await ctx.aio_receive("m")).payload


@pytest.mark.parametrize("kind", ["children", "messages", "promises"])
@pytest.mark.parametrize("late", [False, True])
def test_equal_ones_that_are_gathered_are_given_again_what_each_was_given(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch, kind: str, late: bool
) -> None:
    """Each time in the order in which the code asks, whoever has to wait for what is read, or for his turn; and what is
    read is read once."""
    monkeypatch.setattr(waiting, "IN_A_TURN", IN_A_TURN)
    monkeypatch.setattr(waiting, "WAITS_IN_A_TURN", 2 * IN_A_TURN)
    recall, recalls, given, ended = recalling._recall, [0], list[list[Any]](), count()

    async def counted(attempt: Any) -> Any:
        recalls[0] += 1
        return await recall(attempt)

    monkeypatch.setattr(recalling, "_recall", counted)

    @app.task
    async def child(input: dict, ctx: Context) -> int:
        return next(ended)

    @app.durable_task(strict=True)
    async def crowd(input: dict, ctx: Context) -> None:
        async def one(number: int) -> Any:
            for _ in range(number % 7 if late else 0):
                await asyncio.sleep(0)
            return await (child.aio_run({}) if kind == "children" else _wait(ctx, kind, number))

        given.append(await asyncio.gather(*(one(number) for number in range(RECORDED))))
        gathered.put(None)
        await ctx.aio_sleep_for("1h")

    gathered: Queue[None] = Queue()
    ref = crowd.run_no_wait({})
    for number in range(RECORDED):
        if kind == "promises":
            app.promises.resolve(TOKENS.get(timeout=60), number)
        elif kind == "messages":
            app.runs.send(ref.id, "m", number)
    gathered.get(timeout=60)
    until(app, ref.id, RunState.WAITING)
    living = [each for each in app.runs.children(ref.id, limit=2 * RECORDED) if not each.status.is_terminal]
    assert app.runs.wake(living[0].id)
    ref.result(timeout=60)
    assert given[0] == given[1]
    assert len(set(given[0])) == RECORDED
    assert recalls[0] <= 1


@pytest.mark.parametrize("kind", ["moments", "steps", "messages", "children"])
def test_a_replay_of_very_much_lets_others_on_its_loop_have_their_turns(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(waiting, "IN_A_TURN", IN_A_TURN)
    turns: list[int] = []

    @app.task
    async def child(input: dict, ctx: Context) -> int:
        return 1

    @app.durable_task
    async def reader(input: dict, ctx: Context) -> int:
        count = 0

        async def others() -> None:
            nonlocal count
            while True:
                count += 1
                await asyncio.sleep(0)

        beside = asyncio.get_running_loop().create_task(others(), context=contextvars.Context())
        try:
            for number in range(RECORDED):
                await _one(ctx, kind, child, number)
                count = count if number else 0  # for the first one the store was asked
        finally:
            beside.cancel()
            turns.append(count)
        await ctx.aio_sleep_for("1h")
        return len(turns)

    ref = reader.run_no_wait({})
    if kind == "messages":
        for number in range(RECORDED):
            app.runs.send(ref.id, "m", number)
    until(app, ref.id, RunState.WAITING)
    (sleep,) = [each.id for each in app.runs.children(ref.id) if each.task_name == "~sleep"]
    assert app.runs.wake(sleep)
    assert ref.result(timeout=60) == 2
    assert turns[-1] >= RECORDED // IN_A_TURN - 1


async def _one(ctx: Context, kind: str, child: Any, number: int) -> None:
    if kind == "moments":
        await ctx.aio_now()
    elif kind == "steps":
        await ctx.aio_step(int, number)
    elif kind == "messages":
        await ctx.aio_receive("m")
    else:
        await child.aio_run({"n": number})


class Answer(BaseModel):
    text: str


def test_the_schema_of_promises_of_one_type_is_made_once(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a model takes a millisecond of the loop."""
    made: list[object] = []
    schema = Codec.schema
    monkeypatch.setattr(Codec, "schema", lambda self: made.append(self) or schema(self))
    texts: list[str] = []

    @app.task
    async def asker(input: dict, ctx: Context) -> None:
        promises = [await ctx.aio_promise(Answer, f"p{number}") for number in range(20)]
        texts.extend(promise._shown for promise in promises)

    asker.run({}, timeout=60)
    assert len(made) < 20
    assert [msgspec.json.decode(text) for text in texts] == [
        {"name": f"p{number}", "schema": Answer.model_json_schema()} for number in range(20)
    ]
