"""What durable code has given up, it gives up at once when it is run again: by the same time-out of its own, which is
not waited for a second time, and whatever has come since."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fanwood import Context, EvictionPolicy, Fanwood, RunState
from fanwood.sdk.tasks.rehearsing import rehearse
from tests.semantics.test_durable import until
from tests.semantics.test_owning import children
from tests.semantics.test_sameness import _runs as runs_of
from tests.serving import serving

Waiting = Callable[[], Awaitable[Any]]
SOON, NEVER = 0.03, 3600.0
KINDS = ["child", "many", "reference", "event", "message", "promise", "sleep", "short sleep"]
LIMITS = ["timeout", "wait_for", "wait", "race", "gather", "group", "rescheduled", "the outer one", "the inner one"]


class Kinds:
    """What can be waited for, and how it comes."""

    def __init__(self, app: Fanwood, child: Any, gate: Any) -> None:
        self._app, self._child, self._gate = app, child, gate
        self._tokens = list[str]()

    async def wait(self, kind: str, ctx: Context) -> Waiting:
        """That of one kind."""
        child = self._child
        match kind:
            case "child":
                return lambda: child.aio_run(0)
            case "many":
                return lambda: child.aio_run_many([child.create_bulk_run_item(n) for n in range(3)])
            case "reference":
                return (await child.aio_run_no_wait(0)).aio_result
            case "event":
                return lambda: ctx.aio_wait_for_event("late")
            case "message":
                return lambda: ctx.aio_receive("late")
            case "promise":
                promise = await ctx.aio_promise(int, "late")
                self._tokens.append(promise.token)
                return promise.aio_result
            case "sleep":
                return lambda: ctx.aio_sleep_for("30m")
            case _:
                return lambda: ctx.aio_sleep_for(0.9)

    def come(self, kind: str, run: str) -> None:
        """After it was given up."""
        if kind == "reference":
            self._gate.set()
            (child,) = (each for each in self._app.runs.children(run) if each.task_name == "child")
            self._app.runs.get_run_ref(child.id).result(60)
        elif kind == "event":
            self._app.events.push("late")
        elif kind == "message":
            self._app.runs.send(run, "late", 1)
        elif kind == "promise":
            self._app.promises.resolve(self._tokens[0], 1)


async def within(limit: float, wait: Waiting, how: str) -> str:
    """How it is told to the code that waits."""
    try:
        match how:
            case "wait_for":
                await asyncio.wait_for(wait(), limit)
            case "wait":
                task = asyncio.ensure_future(wait())
                done, _ = await asyncio.wait([task], timeout=limit)
                task.cancel()
                return f"{len(done)} done"
            case "race":
                tasks = [asyncio.ensure_future(wait()), asyncio.ensure_future(asyncio.sleep(limit))]
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                tasks[0].cancel()
                return str([task in done for task in tasks])
            case "gather":
                async with asyncio.timeout(limit):
                    await asyncio.gather(wait(), asyncio.Event().wait())
            case "group":
                async with asyncio.timeout(limit), asyncio.TaskGroup() as group:
                    group.create_task(asyncio.Event().wait())
                    group.create_task(asyncio.wait_for(wait(), None))
            case "rescheduled":
                async with asyncio.timeout(None) as until:
                    until.reschedule(asyncio.get_running_loop().time() + limit)
                    await wait()
            case "the outer one":
                async with asyncio.timeout(limit):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(min(limit + 60, NEVER - 1)):
                            await wait()
                    return "the inner one was over"
            case "the inner one":
                async with asyncio.timeout(NEVER - 1):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(limit):
                            await wait()
                    return "the inner one was over"
            case _:
                async with asyncio.timeout(limit):
                    await wait()
    except TimeoutError as error:
        return type(error).__name__
    return "it waited"


@pytest.mark.parametrize(
    ("kind", "how"), [(kind, "timeout") for kind in KINDS] + [("event", how) for how in LIMITS[1:]] +
    [("child", how) for how in LIMITS[1:]],
)  # fmt: skip
def test_it_is_given_up_at_once_and_by_the_same(
    make_app: Any, kind: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanwood.sdk.tasks.rehearsing.PATIENCE", 60.0)
    app, told = make_app(local_worker=False), list[str]()
    kinds = Kinds(app, *children(app))

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def parent(input: dict, ctx: Context) -> int:
        wait = await kinds.wait(kind, ctx)
        told.append(await within(NEVER if told else SOON, wait, how))
        await ctx.aio_wait_for_event("on", lookback_window="1h")
        return ctx.invocation_count

    ref = parent.run_no_wait({})
    with serving(app.worker("only")):
        until(app, ref.id, RunState.WAITING)
        kinds.come(kind, ref.id)
        (run,) = runs_of(app, parent)
        assert kind == "many" or how in {"wait", "race"} or rehearse(app, parent.spec, run).text is None
        app.events.push("on")
        assert ref.result(60) >= 2
    assert "it waited" not in told
    assert len(set(told)) == 1


def test_who_lost_against_another_one_loses_again_though_it_has_come_since(make_app: Any) -> None:
    app, told = make_app(local_worker=False), list[list[bool]]()

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def parent(input: dict, ctx: Context) -> int:
        waits = [asyncio.ensure_future(ctx.aio_wait_for_event(key)) for key in ("lost", "won", "behind")]
        waits.append(asyncio.ensure_future(behind(waits.pop())))
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not ctx.is_suspending:  # as they are cancelled, this one hears of it
            told.append([wait in done for wait in waits])
        await ctx.aio_wait_for_event("on", lookback_window="1h")
        return ctx.invocation_count

    async def behind(wait: asyncio.Future[Any]) -> Any:
        return await wait

    ref = parent.run_no_wait({})
    with serving(app.worker("only")):
        until(app, ref.id, RunState.WAITING)
        app.events.push("won")
        while not told:
            time.sleep(0.002)
        until(app, ref.id, RunState.WAITING)
        app.events.push("lost")
        app.events.push("on")
        assert ref.result(60) >= 2
    assert told[0] == [False, True, False]
    assert len({str(each) for each in told}) == 1


def test_a_wait_that_is_taken_up_is_given_up_as_often_as_before(make_app: Any) -> None:
    app, told = make_app(local_worker=False), list[list[str]]()

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def parent(input: dict, ctx: Context) -> int:
        told.append([])
        for _ in range(3):
            told[-1].append(
                await within(SOON if len(told) == 1 else NEVER, lambda: ctx.aio_receive("number"), "timeout")
            )
        await ctx.aio_wait_for_event("on", lookback_window="1h")
        told[-1].append((await ctx.aio_receive("number")).payload)
        return ctx.invocation_count

    ref = parent.run_no_wait({})
    with serving(app.worker("only")):
        until(app, ref.id, RunState.WAITING)
        app.runs.send(ref.id, "number", 7)
        app.events.push("on")
        assert ref.result(60) >= 2
    assert told[0] == ["TimeoutError"] * 3
    assert told[-1] == ["TimeoutError"] * 3 + [7]


def test_a_new_try_waits_anew(make_app: Any) -> None:
    app, told = make_app(local_worker=False), list[str]()

    @app.durable_task(retries=1)
    async def parent(input: dict, ctx: Context) -> int:
        told.append(await within(SOON if not told else 60, lambda: ctx.aio_wait_for_event("late"), "timeout"))
        if len(told) == 1:
            await app.events.aio_push("late")
            raise ValueError("not yet")
        return ctx.attempt_number

    with serving(app.worker("only")):
        assert parent.run({}) == 2
    assert told == ["TimeoutError", "it waited"]


def test_other_code_that_gives_nothing_up_is_told_what_has_come(make_app: Any) -> None:
    app, told = make_app(local_worker=False), list[str]()

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def parent(input: dict, ctx: Context) -> None:
        waits: Waiting = lambda: ctx.aio_wait_for_event("late")  # noqa: E731
        told.append(await within(SOON, waits, "timeout") if not told else str(await waits()))
        await ctx.aio_wait_for_event("on", lookback_window="1h")

    ref = parent.run_no_wait({})
    with serving(app.worker("only")):
        until(app, ref.id, RunState.WAITING)
        app.events.push("late", {"it": "came"})
        app.events.push("on")
        ref.result(60)
    assert told[1:] == ["{'it': 'came'}"]
