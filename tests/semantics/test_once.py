"""What a durable run does to others happens once in its life, and what it says is said once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest

from fanwood import Context, EvictionPolicy, Fanwood, PushEvent, RunState
from fanwood.errors import RunEndedError
from fanwood.sdk.recording import once
from tests.semantics.test_durable import until
from tests.serving import serving

AT_ONCE = EvictionPolicy(ttl=0)
COLOURS = ["async", "sync"]
MANY = [PushEvent("bulk", {"n": 1}), PushEvent("bulk", {"n": 1}), PushEvent("bulk", {"n": 1}, id="own")]


def others(app: Fanwood, done: list[int]) -> Any:
    """A child, a root, and one that answers messages."""

    @app.task(name="child")
    async def child(n: int) -> int:
        return n

    @app.task(name="echo")
    def echo(n: int) -> int:
        done.append(n)
        return n

    @app.task(name="reader")
    async def reader(input: dict, ctx: Context) -> list[Any]:
        got: list[Any] = []
        async for message in ctx.messages("n"):
            got.append(message.payload)
            if message.payload is None:
                return got
            await message.aio_reply(7)
        raise AssertionError

    return child, echo, reader


def agent(app: Fanwood, colour: str, child: Any, echo: Any, lives: list[bool]) -> Any:
    """It does twice all that can be done to others, and is unloaded in between."""

    def act(n: int) -> None:
        for _ in range(2):
            app.events.push("in a step", n)

    if colour == "async":

        @app.durable_task(name="agent", eviction_policy=AT_ONCE)
        async def agent(input: dict, ctx: Context) -> list[Any]:
            found: list[Any] = []
            for n in range(2):
                lives.append(ctx.is_replaying)
                ref = await echo.aio_run_no_wait(1, detached=True)
                event = await app.events.aio_push("pushed", {"n": 1})
                many = await app.events.aio_bulk_push(MANY)
                answer, own = await ctx.aio_promise(int, "answer"), await ctx.aio_promise(int, "own")
                await app.runs.aio_send(input["to"], "n", "ask", reply_to=answer)
                await app.promises.aio_resolve(own.token, 3)
                await app.runs.aio_cancel(input["lost"])
                await ctx.aio_step(act, n, key=f"act {n}")
                await child.aio_run(n)
                if n == 0:
                    await ctx.aio_sleep_for("1h")
                ids = (ref.id, event.id, many[0].id, many[1].id)
                found.append([*ids, await answer, await own, await echo.aio_run(2, detached=True)])
            return found

        return agent

    @app.durable_task(name="agent", eviction_policy=AT_ONCE)
    def sync_agent(input: dict, ctx: Context) -> list[Any]:
        found: list[Any] = []
        for n in range(2):
            lives.append(ctx.is_replaying)
            ref = echo.run_no_wait(1, detached=True)
            event = app.events.push("pushed", {"n": 1})
            many = app.events.bulk_push(MANY)
            answer, own = ctx.promise(int, "answer"), ctx.promise(int, "own")
            app.runs.send(input["to"], "n", "ask", reply_to=answer)
            app.promises.resolve(own.token, 3)
            app.runs.cancel(input["lost"])
            ctx.step(act, n, key=f"act {n}")
            child.run(n)
            if n == 0:
                ctx.sleep_for("1h")
            ids = (ref.id, event.id, many[0].id, many[1].id)
            found.append([*ids, answer.result(), own.result(), echo.run(2, detached=True)])
        return found

    return sync_agent


def wake(app: Fanwood, run_id: str) -> None:
    """When it sleeps, and is unloaded."""
    while not (sleeps := [each for each in app.runs.children(run_id) if each.task_name == "~sleep"]):
        time.sleep(0.002)
    until(app, run_id, RunState.WAITING)
    app.runs.wake(sleeps[0].id)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("recorded", [True, False])
def test_it_happens_once_in_the_life_of_a_run(
    make_app: Any, colour: str, recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not `recorded`: as if each of its processes had died between the deed and the record of it."""
    app, lives, done = make_app(slots=3), list[bool](), list[int]()
    if not recorded:
        monkeypatch.setattr(once, "note", lambda *_: None)
    child, echo, reader = others(app, done)
    reads, lost = reader.run_no_wait({}), reader.run_no_wait({})
    ref = agent(app, colour, child, echo, lives).run_no_wait({"to": reads.id, "lost": lost.id})
    wake(app, ref.id)
    first, second = ref.result(60)
    assert [app.runs.get_result(each[0], timeout=60) for each in (first, second)] == [1, 1]  # for which it did not wait
    assert len(set(first[:4] + second[:4])) == 8
    assert first[4:] == second[4:] == [7, 3, 2]
    assert len(lives) > 2  # it was unloaded
    assert Counter(done) == {1: 2, 2: 2}
    assert Counter(each.key for each in app.events.list()) == {"pushed": 2, "bulk": 5, "in a step": 4}
    assert lost.status() is RunState.CANCELLED
    app.runs.send(reads.id, "n", None)
    assert reads.result(60) == ["ask", "ask", None]


def test_what_was_done_asks_nobody_again(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if what it was done to is gone by then. What is refused is no deed."""
    _, _, reader = others(app, [])
    reads, asked = reader.run_no_wait({}), list[str]()

    @app.durable_task(eviction_policy=AT_ONCE)
    async def agent(input: dict, ctx: Context) -> int:
        await app.runs.aio_send(reads.id, "n", None)
        await reads.aio_result()
        await ctx.aio_sleep_for("1h")
        with pytest.raises(RunEndedError):
            await app.runs.aio_send(reads.id, "n", 2)
        return ctx.invocation_count

    store = app.engine().store
    send = store.send

    async def counted(run_id: bytes, name: str, envelope: str, once: bytes | None = None) -> None:
        asked.append(name)
        await send(run_id, name, envelope, once)

    monkeypatch.setattr(store, "send", counted)
    ref = agent.run_no_wait({})
    wake(app, ref.id)
    assert ref.result(60) >= 2
    assert asked == ["n", "n"]


@pytest.mark.parametrize("colour", COLOURS)
def test_it_says_nothing_again(app: Fanwood, colour: str) -> None:
    lives: list[list[bool]] = []

    @app.task
    async def child(n: int) -> int:
        return n

    if colour == "async":

        @app.durable_task(eviction_policy=AT_ONCE)
        async def agent(input: dict, ctx: Context) -> int:
            lives.append([])
            for n in range(3):
                lives[-1].append(ctx.is_replaying)
                ctx.log(f"before {n}")
                await ctx.aio_put_stream(f"before {n}")
                ctx.progress(n)
                await ctx.aio_publish("n", n)
                ref = await child.aio_run_no_wait(n)
                ctx.log(f"begun {n}")
                await ref
                await ctx.aio_sleep_for("1h")
            ctx.log("the end")
            lives[-1].append(ctx.is_replaying)
            return ctx.invocation_count
    else:

        @app.durable_task(eviction_policy=AT_ONCE)
        def agent(input: dict, ctx: Context) -> int:
            lives.append([])
            for n in range(3):
                lives[-1].append(ctx.is_replaying)
                ctx.log(f"before {n}")
                ctx.put_stream(f"before {n}")
                ctx.progress(n)
                ctx.publish("n", n)
                ref = child.run_no_wait(n)
                ctx.log(f"begun {n}")
                ref.result()
                ctx.sleep_for("1h")
            ctx.log("the end")
            lives[-1].append(ctx.is_replaying)
            return ctx.invocation_count

    ref, woken, values = agent.run_no_wait({}), set[str](), list[int]()
    while not ref.status().is_terminal:
        for each in app.runs.children(ref.id):
            if each.task_name == "~sleep" and each.id not in woken and ref.status() is RunState.WAITING:
                values.append(app.runs.get_value(ref.id, "n"))
                woken.add(each.id)
                app.runs.wake(each.id)
    assert ref.result(60) >= 4
    said = [word for n in range(3) for word in (f"before {n}", f"begun {n}")]
    assert [line.message for line in app.runs.logs(ref.id)] == [*said, "the end"]
    assert list(ref.stream()) == said[::2]
    assert values == [0, 1, 2]
    assert not any(lives[0])
    assert lives[-1] == [True, True, True, False]


def test_it_says_what_is_new_whichever_comes_of_those_it_waited_for(make_app: Any) -> None:
    app = make_app(slots=4)
    gates, told, replays = [threading.Event(), threading.Event()], threading.Event(), list[bool]()

    @app.task
    async def child(n: int) -> int:
        while not gates[n].is_set():
            await asyncio.sleep(0.002)
        return n

    @app.durable_task(eviction_policy=AT_ONCE)
    async def parent(input: dict, ctx: Context) -> None:
        tasks = [asyncio.ensure_future(child.aio_run(n)) for n in range(2)]
        for task in reversed(tasks):
            ctx.log(f"{await task}")
            replays.append(ctx.is_replaying)
            told.set()

    ref = parent.run_no_wait({})
    until(app, ref.id, RunState.WAITING)
    gates[1].set()
    assert told.wait(60)
    assert replays == [False]
    gates[0].set()
    ref.result(60)
    assert {line.message for line in app.runs.logs(ref.id)} == {"1", "0"}


def test_branches_lose_no_line_and_a_new_try_says_it_all(make_app: Any) -> None:
    app = make_app(slots=3)

    @app.durable_task(eviction_policy=AT_ONCE, retries=1)
    async def agent(input: dict, ctx: Context) -> None:
        async def branch(name: str, n: int) -> None:
            for _ in range(n):
                await ctx.aio_sleep_for("1.05s")
                ctx.log(name)

        await asyncio.gather(branch("a", 1), branch("b", 2))
        if ctx.retry_count == 0:
            raise ValueError

    ref = agent.run_no_wait({})
    ref.result(60)
    lines = Counter(line.message for line in app.runs.logs(ref.id))
    assert set(lines) == {"a", "b"}
    assert lines["b"] >= 2


def test_what_was_recorded_last_before_a_crash_may_be_said_again(make_app: Any) -> None:
    """Nobody knows whether it was said. What is before that was."""
    app = make_app(local_worker=False, grace=0)
    begun = threading.Event()

    @app.durable_task
    async def agent(input: dict, ctx: Context) -> list[bool]:
        found = [ctx.is_replaying]
        for n in range(2):
            await ctx.aio_step(int, n, key=str(n))
            found.append(ctx.is_replaying)
        begun.set()
        if ctx.invocation_count == 1:
            await asyncio.Event().wait()
        return found

    ref = agent.run_no_wait({})
    with serving(app.worker("one")):
        assert begun.wait(60)
    with serving(app.worker("two")):
        assert ref.result(60) == [True, True, False]


@pytest.mark.parametrize("deed", ["reprioritize", "patch"])
def test_what_is_done_with_something_else_is_another_deed(app: Fanwood, deed: str) -> None:
    """Where the next attempt has made up its mind otherwise."""
    _, _, reader = others(app, [])
    ref = reader.run_no_wait({})

    @app.durable_task(retries=1)
    async def agent(input: dict, ctx: Context) -> None:
        number = 5 + ctx.retry_count
        if deed == "patch":
            await app.runs.aio_patch(ref.id, output=[number])
        else:
            await app.runs.aio_reprioritize(ref.id, number)
        if ctx.retry_count == 0:
            raise ValueError("once more")

    agent.run({}, timeout=60)
    run = app.runs.get(ref.id)
    assert run.priority == 6 if deed == "reprioritize" else run.output == [6]
