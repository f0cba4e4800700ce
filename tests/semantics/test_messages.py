"""Messages: each once, in order, over replays and crashes; ended runs refuse them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from typing import Any

import pytest

from fanwood import Context, Fanwood, Message, RunState
from fanwood.errors import (
    PayloadError,
    RunEndedError,
    RunNotFoundError,
    StoreBusyError,
    TaskRunError,
    TaskRunTimedOut,
    UsageError,
)
from tests.conftest import MakeApp
from tests.faults.processes import until

COLOURS = ["async", "sync"]


def reader(app: Fanwood, colour: str, got: list[Any], **options: Any) -> Any:
    """A task that takes messages until one says that it is enough; and two of another name before."""
    if colour == "async":

        @app.task(name="reader", **options)
        async def aio_reader(input: dict, ctx: Context) -> list[Any]:
            first = [(await ctx.aio_receive("first")).payload for _ in range(2)]
            async for message in ctx.messages("cmd"):
                got.append(message.payload)
                if message.payload == "enough":
                    return first
            raise AssertionError

        return aio_reader

    @app.task(name="reader", **options)
    def reader(input: dict, ctx: Context) -> list[Any]:
        first = [ctx.receive("first").payload for _ in range(2)]
        for message in ctx.messages("cmd"):
            got.append(message.payload)
            if message.payload == "enough":
                return first
        raise AssertionError

    return reader


@pytest.mark.parametrize("colour", COLOURS)
def test_each_is_received_once_and_in_order(app: Fanwood, colour: str) -> None:
    got: list[Any] = []
    ref = reader(app, colour, got).run_no_wait({})
    for n in range(3):
        app.runs.send(ref.id, "cmd", {"n": n})  # before it asks
    app.runs.send(ref.id, "first", "a")
    app.runs.send(ref.id, "first", "b")
    until(lambda: len(got) == 3, "they have come")
    app.runs.send(ref.id, "cmd", "enough")
    assert ref.result(60) == ["a", "b"]
    assert got == [{"n": 0}, {"n": 1}, {"n": 2}, "enough"]
    with pytest.raises(RunEndedError, match="has ended"):
        app.runs.send(ref.id, "cmd", "late")


@pytest.mark.parametrize("colour", COLOURS)
def test_the_next_attempt_receives_the_same_again(make_app: MakeApp, colour: str) -> None:
    app, got = make_app(), list[Any]()
    ref = reader(app, colour, got).run_no_wait({})
    for name, payload in (("first", 1), ("first", 2), ("cmd", "x"), ("cmd", "y")):
        app.runs.send(ref.id, name, payload)
    until(lambda: len(got) == 2, "they have come")
    app.close()
    other, again = make_app(), list[Any]()
    other.runs.send(ref.id, "cmd", "z")  # while nobody executes it
    other.runs.send(ref.id, "cmd", "enough")
    assert reader(other, colour, again).get_run_ref(ref.id).result(60) == [1, 2]
    assert again == ["x", "y", "z", "enough"]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_reply_settles_a_promise_of_the_sender(app: Fanwood, colour: str) -> None:
    if colour == "async":

        @app.task(name="answers")
        async def aio_answers(input: dict, ctx: Context) -> bool:
            message = await ctx.aio_receive("ask")
            return await message.aio_reply(message.payload * 2)

        @app.task(name="asks")
        async def aio_asks(input: dict, ctx: Context) -> int:
            answer = await ctx.aio_promise(int, "answer")
            await app.runs.aio_send(input["to"], "ask", 21, reply_to=answer)
            return await answer

        answers, asks = aio_answers, aio_asks
    else:

        @app.task(name="answers")
        def sync_answers(input: dict, ctx: Context) -> bool:
            message = ctx.receive("ask")
            return message.reply(message.payload * 2)

        @app.task(name="asks")
        def sync_asks(input: dict, ctx: Context) -> int:
            answer = ctx.promise(int, "answer")
            app.runs.send(input["to"], "ask", 21, reply_to=answer)
            return answer.result()

        answers, asks = sync_answers, sync_asks
    ref = answers.run_no_wait({})
    assert asks.run({"to": ref.id}) == 42
    assert ref.result(60) is True


async def test_a_receive_that_times_out_takes_nothing(app: Fanwood) -> None:
    @app.task
    async def patient(input: dict, ctx: Context) -> Any:
        try:
            await ctx.aio_receive("cmd", timeout=0.02)
        except TimeoutError:
            return (await ctx.aio_receive("cmd")).payload

    ref = await patient.aio_run_no_wait({})
    states: list[RunState] = []
    while RunState.FAILED not in states:
        states = [child.status for child in await app.runs.aio_children(ref.id)]
    await app.runs.aio_send(ref.id, "cmd", 7)
    assert await ref.aio_result(60) == 7


def test_sent_from_eight_threads(app: Fanwood) -> None:
    @app.task
    def collect(input: dict, ctx: Context) -> list[list[int]]:
        return [ctx.receive("n").payload for _ in range(40)]

    ref = collect.run_no_wait({})

    def send(which: int) -> None:
        for n in range(5):
            app.runs.send(ref.id, "n", [which, n])

    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    got = ref.result(60)
    assert sorted(got) == [[which, n] for which in range(8) for n in range(5)]
    assert all([n for which, n in got if which == one] == list(range(5)) for one in range(8))


def test_what_can_not_be_sent_is_refused(app: Fanwood) -> None:
    got: list[Any] = []
    ref = reader(app, "async", got).run_no_wait({})
    until(lambda: bool(app.runs.children(ref.id)), "it waits")
    (wait,) = app.runs.children(ref.id)
    assert "waits for a message first since" in str(app.runs.why(wait.id))
    for run_id, name, payload, error in (
        (ref.id, "", 1, UsageError),
        (ref.id, "\ud800", 1, UsageError),
        (ref.id, "n" * 501, 1, UsageError),
        (ref.id, "n", math.nan, PayloadError),
        (ref.id, "n", "\ud800", PayloadError),
        (ref.id, "n", "x" * 5_000_000, PayloadError),
        ("nonsense", "n", 1, RunNotFoundError),
        ("0" * 32, "n", 1, RunNotFoundError),
        (wait.id, "n", 1, UsageError),
    ):
        with pytest.raises(error):
            app.runs.send(run_id, name, payload)
    app.runs.cancel(ref.id)
    with pytest.raises(RunEndedError):
        app.runs.send(ref.id, "cmd", 1)


async def test_without_reply_to_there_is_no_reply(app: Fanwood) -> None:
    seen: list[Message] = []

    @app.task
    async def answers(input: dict, ctx: Context) -> None:
        seen.append(await ctx.aio_receive("ask"))
        await seen[0].aio_reply(1)

    ref = await answers.aio_run_no_wait({})
    await app.runs.aio_send(ref.id, "ask", {"": [2**63, None]})
    with pytest.raises(TaskRunError, match="wants no reply"):
        await ref.aio_result(60)
    assert seen[0].payload == {"": [2**63, None]}


async def test_a_reply_that_blocks_says_what_to_write(app: Fanwood) -> None:
    @app.task
    async def answers(input: dict, ctx: Context) -> None:
        (await ctx.aio_receive("ask")).reply(1)

    ref = await answers.aio_run_no_wait({})
    await app.runs.aio_send(ref.id, "ask", 1)
    with pytest.raises(TaskRunError, match=r"await message\.aio_reply"):
        await ref.aio_result(60)


async def test_what_a_receive_that_was_given_up_would_have_got_the_next_one_gets(app: Fanwood) -> None:
    """And a loop that waits with time-outs leaves one wait, however often it goes round. With another time-out it is
    another wait's time."""
    gave_up = asyncio.Event()

    @app.task
    async def loops(input: dict, ctx: Context) -> list[Any]:
        got: list[Any] = []
        for _ in range(3):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    got.append(await ctx.aio_receive("n"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    got.append(await ctx.aio_wait_for_event("e"))
        with pytest.raises(TaskRunTimedOut):
            await ctx.aio_receive("n", timeout=0.01)
        first, second = (asyncio.ensure_future(ctx.aio_receive("n")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        gave_up.set()
        numbers = [(await second).payload, (await ctx.aio_receive("n", timeout=60)).payload]
        return [*got, sorted(numbers), await ctx.aio_wait_for_event("e", timeout=60)]

    ref = await loops.aio_run_no_wait({})
    await gave_up.wait()
    assert (await app.runs.aio_counts(ref.id)).by_task["~event"] == {RunState.WAITING: 1}
    for n in (1, 2):
        await app.runs.aio_send(ref.id, "n", n)
    await app.events.aio_push("e", 5)
    assert await ref.aio_result(60) == [[1, 2], 5]
    assert sum((await app.runs.aio_counts(ref.id)).by_task["~message"].values()) == 3


def test_what_is_sent_is_sent_whatever_becomes_of_its_delivery(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is committed, and what waits for it not looked at yet, when the store is in trouble."""

    @app.task
    async def reads(_: dict, ctx: Context) -> list[Any]:
        return [(await ctx.aio_receive("cmd")).payload for _ in range(2)]

    store: Any = app.engine().store
    send, deliver, troubles = store.send, store.deliver, 2

    async def sends(*about: Any) -> bool:
        with monkeypatch.context() as few:
            for module in ("memory", "sqlite", "postgres"):
                few.setattr(f"fanwood.store.{module}.outside.AT_ONCE", 0)
            return await send(*about)

    async def delivers(*about: Any) -> None:
        nonlocal troubles
        if troubles:
            troubles -= 1
            raise StoreBusyError("busy")
        await deliver(*about)

    ref = reads.run_no_wait({})
    until(lambda: any(one.status is RunState.WAITING for one in app.runs.children(ref.id)), "it waits")
    store.send, store.deliver = sends, delivers
    app.runs.send(ref.id, "cmd", "a")
    app.runs.send(ref.id, "cmd", "b")
    assert ref.result(60) == ["a", "b"]
