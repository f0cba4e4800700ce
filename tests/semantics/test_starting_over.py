"""Runs that start over: under the same id, as new, and without what they had asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fanwood import (
    Context,
    EmptyModel,
    EvictionPolicy,
    Fanwood,
    InputValidationError,
    RunStartsOver,
    TaskRunError,
    UsageError,
)
from tests.semantics.test_once import wake

AT_ONCE = EvictionPolicy(ttl=0)
COLOURS = ["async", "sync"]


def actor(app: Fanwood, colour: str, child: Any, seen: list[tuple[Any, ...]], *, version: str | None = None) -> Any:
    """It does the same in each of its lives, is unloaded in the middle, and has a message for each."""

    def note(n: int, ctx: Context) -> None:
        if not ctx.is_replaying:
            seen.append((n, ctx.attempt_number, ctx.invocation_count, ctx.retry_count, ctx.version, ctx.uuid("order")))

    if colour == "async":

        @app.durable_task(name="actor", eviction_policy=AT_ONCE, version=version)
        async def actor(n: int, ctx: Context) -> list[Any]:
            note(n, ctx)
            ctx.log(f"life {n}")
            got = [await child.aio_run(1), await ctx.aio_step(str, n, key="say")]
            await app.events.aio_push("lived", {})
            message = await ctx.aio_receive("next")
            if message.payload is None:
                return [*got, len(await ctx.aio_children())]
            return ctx.start_over(message.payload)

        return actor

    @app.durable_task(name="actor", eviction_policy=AT_ONCE, version=version)
    def sync_actor(n: int, ctx: Context) -> list[Any]:
        note(n, ctx)
        ctx.log(f"life {n}")
        got = [child.run(1), ctx.step(str, n, key="say")]
        app.events.push("lived", {})
        message = ctx.receive("next")
        if message.payload is None:
            return [*got, len(ctx.children())]
        try:
            ctx.start_over(message.payload)
        except Exception:  # what passes over failures lets it pass
            return []

    return sync_actor


@pytest.mark.parametrize("colour", COLOURS)
def test_each_life_is_as_the_first(app: Fanwood, colour: str) -> None:
    seen, done = list[tuple[Any, ...]](), list[int]()

    @app.task(name="child")
    async def child(n: int) -> int:
        done.append(n)
        return n

    ref = actor(app, colour, child, seen, version="7").run_no_wait(0)
    for n in (1, 2, None):
        app.runs.send(ref.id, "next", n)
    assert ref.result(60) == [1, "2", 1]
    assert [each[:5] for each in seen] == [(n, 1, 1, 0, "7") for n in range(3)]
    assert len({each[5] for each in seen}) == len(done) == len(app.events.list("lived")) == 3
    run = app.runs.get(ref.id)
    assert (run.started_over, run.input, run.retry_count) == (2, 2, 0)
    lines = [line.message for line in app.runs.logs(ref.id)]
    assert lines == ["life 0", "it starts over (1)", "life 1", "it starts over (2)", "life 2"]


def test_what_it_was_tried_before_does_not_count(app: Fanwood) -> None:
    lives: list[tuple[int, int]] = []

    @app.task(retries=1)
    async def fails(n: int, ctx: Context) -> int:
        lives.append((n, ctx.attempt_number))
        if ctx.attempt_number == 1:
            raise ValueError(n)
        assert len(await ctx.aio_attempts()) == 1
        if n == 2:
            return n
        return ctx.start_over(n + 1)

    assert fails.run(0) == 2
    assert lives == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]


def test_what_is_under_way_ends_with_a_life(app: Fanwood) -> None:
    ids: dict[str, str] = {}

    @app.durable_task
    async def waits(input: EmptyModel, ctx: Context) -> None:
        await ctx.aio_sleep_for("1h")

    @app.task
    async def parent(n: int, ctx: Context) -> str:
        if n == 1:
            return "over"
        ids["ends"] = (await waits.aio_run_no_wait()).id
        ids["goes on"] = (await waits.aio_run_no_wait(on_parent_end="continue")).id
        return ctx.start_over(1)

    assert parent.run(0) == "over"
    with pytest.raises(TaskRunError, match="started over"):
        app.runs.get_run_ref(ids["ends"]).result(60)
    assert not app.runs.get(ids["goes on"]).status.is_terminal
    app.runs.cancel(ids["goes on"])


def test_what_comes_after_it_changes_nothing(app: Fanwood) -> None:
    """The code had said so; what it returns or raises is dropped."""

    @app.task
    async def swallows(n: int, ctx: Context) -> int:
        if n < 2:
            try:
                ctx.start_over(n + 1)
            except RunStartsOver:
                if n == 1:
                    raise ValueError from None
        return n

    @app.task
    async def in_a_branch(n: int, ctx: Context) -> int:
        async def branch() -> None:
            if n < 1:
                ctx.start_over(n + 1)

        await asyncio.gather(branch(), asyncio.sleep(0))
        return n

    assert (swallows.run(0), in_a_branch.run(0)) == (2, 1)


def test_what_it_is_given_must_fit(app: Fanwood) -> None:
    @app.task
    def task(n: int, ctx: Context) -> int:
        if n:
            return n
        with pytest.raises(InputValidationError):
            ctx.start_over("text")
        with pytest.raises(InputValidationError):
            ctx.start_over()
        return 5

    workflow = app.workflow(name="flow")

    @workflow.task()
    def step(input: dict, ctx: Context) -> int:
        with pytest.raises(UsageError, match="step of a workflow"):
            ctx.start_over({})
        return 1

    assert (task.run(0), workflow.run({})) == (5, {"step": 1})


def test_a_new_life_reads_nothing_of_those_before(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it is resumed: its history is what it has asked for itself."""
    pages: list[int] = []
    store = app.engine().store
    for name in ("recalled", "recorded", "recorded_few"):
        read = getattr(store, name)

        async def counted(*about: Any, read: Any = read) -> Any:
            page = await read(*about)
            pages.extend([len(few or ()) for few in page] if isinstance(about[0], list) else [len(page)])
            return page

        monkeypatch.setattr(store, name, counted)

    @app.task
    async def child(n: int) -> int:
        return n

    @app.durable_task(eviction_policy=AT_ONCE, strict=True)
    async def parent(n: int, ctx: Context) -> int:
        if n == 0:
            await child.aio_run_many([child.create_bulk_run_item(i) for i in range(50)])
            for i in range(20):
                await ctx.aio_step(str, i)
            ctx.start_over(1)
        if ctx.attempt_number == ctx.invocation_count == 1:
            pages.clear()
        await ctx.aio_step(str, 1)
        if ctx.invocation_count == 1:
            await asyncio.sleep(0.01)  # (ids are told apart by the millisecond)
        await ctx.aio_sleep_for("1h")
        return ctx.invocation_count

    ref = parent.run_no_wait(0)
    wake(app, ref.id)
    assert ref.result(60) == 2
    assert sum(pages) < 20, pages  # of 72
