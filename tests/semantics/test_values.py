"""What no one would type, in every argument of what came after the first options: a sentence of ours, or it is taken;
never another error, never a wait without an end, and the engine goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fanwood import (
    Budget,
    Context,
    EmptyModel,
    Fanwood,
    FanwoodError,
    SleepCondition,
    UserEventCondition,
    after,
    or_,
    with_context,
)
from fanwood.errors import FailedTaskRunExceptionGroup
from tests.semantics.test_options import SPECIAL

INSIDE: dict[str, Callable[[Fanwood, Context, Any, Any], Any]] = {
    "spend": lambda _, ctx, task, value: ctx.aio_spend(usd=value),
    "spend of a unit": lambda _, ctx, task, value: ctx.aio_spend(**{value if isinstance(value, str) else "u": 1}),
    "reserve": lambda _, ctx, task, value: reserved(ctx, value),
    "budget": lambda _, ctx, task, value: task.aio_run(1, budget=value),
    "budget of runs": lambda _, ctx, task, value: task.aio_run(1, budget=Budget(runs=value)),
    "budget of seconds": lambda _, ctx, task, value: task.aio_run(1, budget=Budget(seconds=value)),
    "budget of units": lambda _, ctx, task, value: task.aio_run(1, budget=Budget(units={"usd": value})),
    "share": lambda _, ctx, task, value: task.aio_run(1, share=value),
    "hedge": lambda _, ctx, task, value: task.aio_run(1, hedge=value),
    "after": lambda _, ctx, task, value: task.aio_run(1, hedge=after(value)),
    "group": lambda _, ctx, task, value: grouped(ctx, task, name=value),
    "quorum": lambda _, ctx, task, value: grouped(ctx, task, quorum=value),
    "limit": lambda _, ctx, task, value: grouped(ctx, task, limit=value),
    "tolerate": lambda _, ctx, task, value: grouped(ctx, task, tolerate=value),
    "deadline": lambda _, ctx, task, value: grouped(ctx, task, deadline=value),
    "on_error": lambda _, ctx, task, value: grouped(ctx, task, on_error=value),
    "window": lambda _, ctx, task, value: anext(task.aio_map([1], window=value)),
    "promise": lambda _, ctx, task, value: ctx.aio_promise(int, value),
    "promise's timeout": lambda _, ctx, task, value: ctx.aio_promise(int, "n", timeout=value),
    "event": lambda _, ctx, task, value: ctx.aio_wait_for_event(value, lookback_window="1h"),
    "match": lambda _, ctx, task, value: ctx.aio_wait_for_event("e", match=value),
    "scope": lambda _, ctx, task, value: ctx.aio_wait_for_event("e", scope=value),
    "lookback": lambda _, ctx, task, value: ctx.aio_wait_for_event("e", lookback_window=value),
    "wait_for": lambda _, ctx, task, value: ctx.aio_wait_for(value, SleepCondition(0)),
    "condition": lambda _, ctx, task, value: ctx.aio_wait_for("w", value),
    "or_": lambda _, ctx, task, value: ctx.aio_wait_for("w", or_(SleepCondition(0), UserEventCondition(value))),
    "receive": lambda _, ctx, task, value: ctx.aio_receive(value),
    "receive's timeout": lambda _, ctx, task, value: ctx.aio_receive("m", timeout=value),
    "publish": lambda _, ctx, task, value: ctx.aio_publish(value, value),
    "put_stream": lambda _, ctx, task, value: ctx.aio_put_stream(value),
    "now": lambda _, ctx, task, value: ctx.aio_now(value),
    "send": lambda app, ctx, task, value: app.runs.aio_send(ctx.task_run_id, value, value),
    "send to": lambda app, ctx, task, value: app.runs.aio_send(value, "m"),
    "push": lambda app, ctx, task, value: app.events.aio_push(value, value),
    "push of many": lambda app, ctx, task, value: app.events.aio_bulk_push(value),
    "push with an id": lambda app, ctx, task, value: app.events.aio_push("e", id=value),
    "resolve": lambda app, ctx, task, value: app.promises.aio_resolve(value, value),
    "fork": lambda app, ctx, task, value: app.runs.aio_fork(value),
    "fork's input": lambda app, ctx, task, value: app.runs.aio_fork(ctx.task_run_id, input=value),
    "fork at": lambda app, ctx, task, value: app.runs.aio_fork(ctx.task_run_id, at=value),
    "pause": lambda app, ctx, task, value: app.runs.aio_pause(value),
    "pause by": lambda app, ctx, task, value: app.runs.aio_pause("0" * 32, by=value),
    "reprioritize": lambda app, ctx, task, value: app.runs.aio_reprioritize(ctx.task_run_id, value),
    "retry_failures": lambda app, ctx, task, value: app.runs.aio_retry_failures(value),
    "patch": lambda app, ctx, task, value: app.runs.aio_patch("0" * 32, output=value),
    "patch of": lambda app, ctx, task, value: app.runs.aio_patch(value, output=1),
    "bulk": lambda app, ctx, task, value: app.runs.aio_bulk_preview(value, task_name="nobody"),
    "bulk of": lambda app, ctx, task, value: app.runs.aio_bulk_preview("cancel", tree=value),
    "bulk of these": lambda app, ctx, task, value: app.runs.aio_bulk_preview("cancel", ids=value),
    "value": lambda app, ctx, task, value: app.runs.aio_get_value(ctx.task_run_id, value),
    "why": lambda app, ctx, task, value: app.runs.aio_why(value),
    "forks": lambda app, ctx, task, value: app.runs.aio_forks(value),
    "wake": lambda app, ctx, task, value: app.runs.aio_wake(value),
    "events": lambda app, ctx, task, value: app.events.aio_list(value),
    "events since": lambda app, ctx, task, value: app.events.aio_list(since=value),
    "events after": lambda app, ctx, task, value: app.events.aio_list(after=value),
    "event with an id": lambda app, ctx, task, value: app.events.aio_get(value),
}


async def reserved(ctx: Context, value: Any) -> None:
    async with ctx.reserve(usd=value):
        pass


async def grouped(ctx: Context, task: Any, **options: Any) -> None:
    async with ctx.group(**options) as group:
        group.spawn(task, 1)


AT_ONCE = 8


@pytest.mark.parametrize("colour", ["outside", "inside"])
def test_by_eight_threads_at_once(app: Fanwood, colour: str) -> None:
    """Of a program, and of one task whose threads ask all the same."""

    @app.task
    async def leaf(n: int) -> int:
        return n

    @app.task
    def asks(input: EmptyModel, ctx: Context) -> list[Any]:
        begin = threading.Barrier(AT_ONCE)

        @with_context
        def one(number: int) -> list[Any]:
            begin.wait(60)
            said = [leaf.run(1, share="tree"), leaf.run(2, hedge=after(60)), leaf.run(3, child_key="same")]
            ctx.spend(usd=0.5)
            with ctx.reserve(usd=1) as held:
                held.spend(usd=0.5)
            said += [sum(leaf.map(range(3))), ctx.step(int, 7, key=str(number)), ctx.now("now") is not None]
            with ctx.group(str(number), quorum=1) as group:
                group.spawn(leaf, number)
            ctx.put_stream("x")
            ctx.publish("key", number)
            app.runs.send(ctx.task_run_id, "letter", 1)
            said.append(ctx.receive("letter").payload)
            promise = ctx.promise(int, "number")
            app.promises.resolve(promise.token, 9)
            return [*said, group.outcomes[0].result() == number, promise.result()]

        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(one, range(AT_ONCE)))

    if colour == "inside":
        ref = asks.run_no_wait(budget=Budget(units={"usd": 20}))
        assert ref.result(150) == [[1, 2, 3, 3, 7, True, 1, True, 9]] * AT_ONCE
        (limit,) = app.runs.get(ref.id).budget
        assert (limit.used, limit.held) == (8, 0)
        assert len(list(ref.stream())) == AT_ONCE
        return

    @app.task
    async def waits(input: EmptyModel, ctx: Context) -> int:
        return (await ctx.aio_receive("go")).payload

    living, ended = waits.run_no_wait(), leaf.run_no_wait(1)
    ended.result(60)
    begin = threading.Barrier(AT_ONCE)

    def outside(number: int) -> list[Any]:
        begin.wait(60)
        said: list[Any] = [app.runs.pause(living.id), app.runs.reprioritize(living.id, 5), app.runs.resume(living.id)]
        app.events.push("e", {}, id="one")
        return [*said, app.runs.fork(ended.id).result(60), str(app.runs.why(living.id)) != ""]

    with ThreadPoolExecutor(AT_ONCE) as threads:
        said = list(threads.map(outside, range(AT_ONCE)))
    assert {tuple(one[3:]) for one in said} == {(1, True)}
    assert {one[1] for one in said} <= {1, 5}
    assert len(app.events.list("e")) == 1
    assert len(app.runs.forks(ended.id)) == AT_ONCE
    app.runs.resume(living.id)
    app.runs.send(living.id, "go", 4)
    assert living.result(60) == 4


@pytest.mark.parametrize("what", INSIDE)
def test_of_what_is_asked_for(app: Fanwood, what: str) -> None:
    @app.task
    async def leaf(n: int) -> int:
        return n

    found = list[str]()

    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> int:
        for number, value in enumerate(SPECIAL):
            try:
                async with asyncio.timeout(0.02):
                    await INSIDE[what](app, ctx, leaf, value)
            except (TimeoutError, FanwoodError, FailedTaskRunExceptionGroup):
                continue
            except Exception as error:
                found.append(f"{number} {type(value)}: {error!r}"[:300])
        return await leaf.aio_run(7)

    assert parent.run(timeout=150) == 7
    assert found == []
    assert app.engine().alive


def test_runs_are_found_by_any_metadata(app: Fanwood) -> None:
    """Also by what looks like a number that is too large, as a random id may."""

    @app.task
    async def task() -> int:
        return 1

    texts = ["4d76c818-92fe-414c-b431-e3703203f81f", "1e9999", "12e34567-e9999", "E+9999", "e1234, 5e6789"]
    for text in texts:
        task.run(additional_metadata={"id": text, "beside": [1, 2.5e10, {"e2024": text}]})
    assert [len(app.runs.list(metadata={"id": text})) for text in texts] == [1] * len(texts)
    assert len(app.runs.list(metadata={"beside": [1, 2.5e10, {"e2024": texts[0]}]})) == 1
