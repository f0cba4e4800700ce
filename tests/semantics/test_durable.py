"""Durable tasks: their code is unloaded while it waits, and run from the top when it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from typing import Any

import pytest

from fanwood import (
    Completed,
    Context,
    EngineClosedError,
    EvictionPolicy,
    Fanwood,
    RunState,
    TaskRunError,
    TaskRunTimedOut,
    UserEventCondition,
    as_completed,
    or_,
)
from fanwood.engine.closing import Closing
from fanwood.engine.engine import Engine
from fanwood.engine.inbox import SuspendRequest
from fanwood.engine.waits import Collector
from fanwood.ids import id_bytes
from fanwood.model.states import TERMINAL
from fanwood.sdk.running.current import current_attempt
from tests.conftest import MakeApp
from tests.semantics.in_time import in_time
from tests.semantics.lapsing import lapsing
from tests.serving import serving

AT_ONCE = EvictionPolicy(ttl=0)


def until(app: Fanwood, run_id: str, state: RunState) -> None:
    """It is in that state."""
    while (run := app.runs.get(run_id)).status is not state:
        assert not run.status.is_terminal, run.error
        time.sleep(0.002)


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_sleeper_is_unloaded_and_goes_on_from_the_top(app: Fanwood, colour: str) -> None:
    seen: list[tuple[int, int]] = []
    left: list[tuple[bool, bool]] = []
    done: list[str] = []

    def work(name: str) -> str:
        done.append(name)
        return name

    if colour == "async":

        @app.durable_task(eviction_policy=AT_ONCE)
        async def agent(input: dict, ctx: Context) -> list[str]:
            seen.append((ctx.invocation_count, ctx.attempt_number))
            first = await ctx.aio_step(work, "first", key="1")
            try:
                await ctx.aio_sleep_for("1h")
            finally:
                left.append((ctx.is_suspending, ctx.is_cancelled))
            return [first, await ctx.aio_step(work, "second", key="2")]

    else:

        @app.durable_task(eviction_policy=AT_ONCE)
        def agent(input: dict, ctx: Context) -> list[str]:
            seen.append((ctx.invocation_count, ctx.attempt_number))
            first = ctx.step(work, "first", key="1")
            try:
                ctx.sleep_for("1h")
            finally:
                left.append((ctx.is_suspending, ctx.is_cancelled))
            return [first, ctx.step(work, "second", key="2")]

    ref = agent.run_no_wait({})
    until(app, ref.id, RunState.WAITING)
    (sleep,) = [child.id for child in app.runs.children(ref.id) if child.task_name == "~sleep"]
    assert app.runs.wake(sleep)
    assert ref.result(timeout=60) == ["first", "second"]
    assert seen == [(1, 1), (2, 1)]
    while len(left) < 2:  # a thread may still be leaving its first life while the second one runs
        time.sleep(0.002)
    assert sorted(left) == [(False, False), (True, False)]
    assert done == ["first", "second"]
    assert [child.status for child in app.runs.children(ref.id)] == [RunState.COMPLETED] * 3


@pytest.mark.parametrize("how", ["one", "bulk", "gather", "group", "wait"])
def test_a_parent_is_unloaded_while_its_children_go_on(make_app: Any, how: str) -> None:
    app = make_app(slots=4)
    gate, begun = threading.Event(), []

    @app.task
    async def child(n: int) -> int:
        begun.append(n)
        while not gate.is_set():
            await asyncio.sleep(0.002)
        return n

    @app.durable_task(eviction_policy=AT_ONCE)
    async def parent(input: dict, ctx: Context) -> list[int]:
        if how == "one":
            return [await child.aio_run(0), ctx.invocation_count]
        if how == "bulk":
            return [*await child.aio_run_many([child.create_bulk_run_item(n) for n in range(3)]), ctx.invocation_count]
        if how == "gather":
            return [*await asyncio.gather(*(child.aio_run(n) for n in range(3))), ctx.invocation_count]
        if how == "wait":
            tasks = [asyncio.ensure_future(child.aio_run(n)) for n in range(3)]
            await asyncio.wait(tasks)
        else:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(child.aio_run(n)) for n in range(3)]
        return [*(task.result() for task in tasks), ctx.invocation_count]

    ref = parent.run_no_wait({})
    until(app, ref.id, RunState.WAITING)
    gate.set()
    *results, invocations = ref.result(timeout=60)
    assert results == list(range(1 if how == "one" else 3))
    assert invocations >= 2
    assert sorted(begun) == results


def test_one_whose_code_does_something_else_stays(app: Fanwood) -> None:
    gate = threading.Event()

    @app.task
    async def child() -> int:
        while not gate.is_set():
            await asyncio.sleep(0.002)
        return 1

    @app.durable_task(eviction_policy=AT_ONCE)
    async def parent(input: dict, ctx: Context) -> list[int]:
        async def elsewhere() -> int:
            while not gate.is_set():
                await asyncio.sleep(0.005)
            return 2

        return [*await asyncio.gather(child.aio_run(), elsewhere()), ctx.invocation_count]

    ref = parent.run_no_wait({})
    while not app.runs.children(ref.id):
        time.sleep(0.002)
    time.sleep(0.05)
    assert ref.status() is RunState.RUNNING
    gate.set()
    assert ref.result(timeout=60) == [1, 2, 1]


def test_a_worker_that_stops_suspends_what_waits(make_app: Any) -> None:
    app = make_app(local_worker=False, grace=0)
    gate = threading.Event()
    began: list[int] = []

    @app.task
    async def child() -> int:
        while not gate.is_set():
            await asyncio.sleep(0.002)
        return 1

    @app.durable_task
    async def parent(input: dict, ctx: Context) -> list[int]:
        began.append(ctx.attempt_number)
        return [await child.aio_run(), ctx.attempt_number, ctx.invocation_count]

    with serving(app.worker()):
        ref = parent.run_no_wait({})
        while not app.engine()._delivery._waits:  # for the child, which is in the store before somebody waits for it
            time.sleep(0.002)
    assert ref.status() is RunState.WAITING
    gate.set()
    with serving(app.worker()):
        assert ref.result(timeout=60) == [1, 1, 2]


@in_time
def test_a_time_out_counts_over_suspensions(make_app: MakeApp, limit: float, begun: threading.Event) -> None:
    app, began = make_app(), list[int]()

    @app.durable_task(eviction_policy=AT_ONCE, execution_timeout=limit)
    async def parent(input: dict, ctx: Context) -> None:
        began.append(ctx.invocation_count)
        begun.set()
        await ctx.aio_sleep_for("1h")

    with pytest.raises(TaskRunTimedOut) as caught:
        parent.run({}, timeout=60)
    assert caught.value.limit == "execution_timeout"
    assert began == [1]  # and was not begun once more


def test_a_workflow_is_durable(make_app: Any) -> None:
    app = make_app(slots=2)
    flow = app.workflow(name="flow")

    @flow.durable_task(eviction_policy=AT_ONCE)
    async def first(input: dict, ctx: Context) -> int:
        await ctx.aio_sleep_for("1h")
        return ctx.invocation_count

    @flow.task(parents=[first])
    def second(input: dict, ctx: Context) -> int:
        return ctx.task_output(first) + 1

    ref = flow.run_no_wait({})
    while not (steps := app.runs.children(ref.id)):
        time.sleep(0.002)
    until(app, steps[0].id, RunState.WAITING)
    (sleep,) = app.runs.children(steps[0].id)
    assert app.runs.wake(sleep.id)
    assert ref.result(timeout=60) == {"first": 2, "second": 3}


@pytest.mark.parametrize("how", ["stream", "group", "race", "collect", "completed", "any", "limited"])
def test_whoever_waits_for_several_is_unloaded_and_misses_none(make_app: Any, how: str) -> None:
    app = make_app(slots=4)
    gates = {n: threading.Event() for n in range(3)}
    begun: list[int] = []

    @app.task
    async def child(n: int) -> int:
        begun.append(n)
        while not gates[n].is_set():
            await asyncio.sleep(0.002)
        return n

    @app.durable_task(eviction_policy=AT_ONCE)
    async def parent(input: dict, ctx: Context) -> list[int]:
        if how == "stream":
            return [n async for n in child.aio_map(range(3))]
        if how == "completed":
            refs = [await child.aio_run_no_wait(n) for n in range(3)]
            return sorted([await ref async for ref in as_completed(refs)])
        if how == "any":
            waited = await ctx.aio_wait_for("both", or_(UserEventCondition("a"), UserEventCondition("b")))
            return [0] if waited else []
        options: dict[str, Any] = {
            "race": {"quorum": 1}, "collect": {"on_error": "collect"}, "limited": {"limit": 1, "deadline": "1h"},
        }.get(how, {})  # fmt: skip
        async with ctx.group(**options) as group:
            for n in range(3):
                group.spawn(child, n)
        return [outcome.value for outcome in group.outcomes if isinstance(outcome, Completed)]

    ref = parent.run_no_wait({})
    if how == "any":
        until(app, ref.id, RunState.WAITING)
        app.events.push("b", {})
        assert ref.result(timeout=60) == [0]
        return
    for n in {"race": [2], "limited": [0, 1, 2]}.get(how, [2, 0, 1]):
        while (run := app.runs.get(ref.id)).status is not RunState.WAITING and not run.status.is_terminal:
            time.sleep(0.002)
        gates[n].set()
    assert ref.result(timeout=60) == ([2] if how == "race" else [0, 1, 2])
    assert len(begun) == len(set(begun))
    assert app.runs.get(ref.id).attempt > 1


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_nothing_begins_if_the_lease_lapses_while_it_is_looked_what_there_is(
    make_app: Any, colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    began: list[bool] = []

    def begins(ctx: Context) -> int:
        began.append(app.engine().lease.is_held)
        if len(began) == 1:
            raise ValueError("once more")
        return ctx.invocation_count

    if colour == "async":

        @app.durable_task(name="parent", retries=1)
        async def parent(input: dict, ctx: Context) -> int:
            return begins(ctx)
    else:

        @app.durable_task(name="parent", retries=1)
        def parent(input: dict, ctx: Context) -> int:
            return begins(ctx)

    engine = app.engine()
    recalled, stood = type(engine.store).recalled, list[int]()
    lapses = lapsing(monkeypatch)

    async def late(store: Any, *about: Any) -> Any:
        found = await recalled(store, *about)
        if not stood:
            stood.append(1)
            lapses()
        return found

    monkeypatch.setattr(type(engine.store), "recalled", late)
    assert parent.run({}, timeout=60) > 2  # it was handed back, and taken again
    assert began == [True, True]


def test_a_timer_of_its_code_keeps_it_in_memory_on_a_loop_of_uvloop(app: Fanwood) -> None:
    """Whose timers can't be looked at: those that its code sets are noted."""
    uvloop = pytest.importorskip("uvloop")

    @app.task
    async def child(_: int) -> None:
        await asyncio.sleep(600)

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def parent(_: int, ctx: Context) -> int:
        await asyncio.gather(*(asyncio.sleep(n * 0.0001) for n in range(300)))  # those are over; the first at once
        await ctx.aio_sleep_for("1h")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.0001):
                await ctx.aio_wait_for_event("never")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await child.aio_run(1)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.aio_run(2), 0.2)
        return ctx.invocation_count

    async def woken() -> int:
        ref = await parent.aio_run_no_wait(0)
        await asyncio.to_thread(until, app, ref.id, RunState.WAITING)
        (sleep,) = await app.runs.aio_children(ref.id)
        await app.runs.aio_wake(sleep.id)
        return await ref.aio_result(60)

    assert uvloop.run(woken()) == 2


def test_who_is_about_to_go_on_is_not_suspended(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """What decides has come, the store is asked only now, and his code has not heard of it: what else he waits for
    lives, and he would sleep until that ends."""
    requests, found, fails = list[SuspendRequest](), list[Any](), threading.Event()
    be_ready = Collector.be_ready

    def ask_first(self: Collector) -> None:
        if self.fail_fast and requests and not found:
            self.ready = True
            found.append(requests[-1].make())
            self.ready = False
        be_ready(self)

    @app.task
    async def child(n: int) -> int:
        while n or not fails.is_set():
            await asyncio.sleep(0.002)
        raise ValueError("no")

    @app.durable_task(eviction_policy=AT_ONCE)
    async def parent(input: dict, ctx: Context) -> str:
        with pytest.raises(TaskRunError):
            await child.aio_run_many([child.create_bulk_run_item(n) for n in range(2)])
        return "went on"

    monkeypatch.setattr(Engine, "suspend", lambda _, request: requests.append(request))
    monkeypatch.setattr(Collector, "be_ready", ask_first)
    ref = parent.run_no_wait({})
    while not requests:
        assert not (run := app.runs.get(ref.id)).status.is_terminal, run.error
        time.sleep(0.002)
    fails.set()
    assert ref.result(timeout=60) == "went on"
    assert found == [None]


@pytest.mark.parametrize("how", ["gather", "group", "wait"])
def test_a_run_of_which_a_branch_has_just_raised_is_not_unloaded(
    app: Fanwood, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was, where that was looked at before who waits for the branch had heard of it: it slept on."""
    asked: list[Any] = []

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=None))
    async def task(input: dict, ctx: Context) -> None:
        attempt = current_attempt.get()
        assert attempt is not None
        unloading: Any = attempt.unloading
        monkeypatch.setattr(app.engine(), "suspend", asked.append)

        def look(turns: int) -> None:
            """In each turn of the loop in which others hear of the branch's end."""
            unloading.ask()
            if turns:
                asyncio.get_running_loop().call_soon(look, turns - 1)

        async def branch() -> None:
            while unloading.idle_since is None:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            look(6)
            raise ValueError("that was it")

        branches = branch(), ctx.aio_sleep_for("1h")
        if how == "gather":
            await asyncio.gather(*branches)
        elif how == "group":
            async with asyncio.TaskGroup() as group:
                for one in branches:
                    group.create_task(one)
        else:
            done, _ = await asyncio.wait(map(asyncio.ensure_future, branches), return_when=asyncio.FIRST_COMPLETED)
            await done.pop()

    with pytest.raises(TaskRunError, match="unhandled errors" if how == "group" else "that was it"):
        task.run({}, timeout=60)
    assert asked == []


@pytest.mark.parametrize("how", ["timeout", "wait_for", "at once"])
def test_a_run_whose_timer_is_due_is_not_unloaded(app: Fanwood, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that is due waits for its turn among what the loop runs next, and is not among what is scheduled: code
    that was unloaded just then slept on, for an event that never came. (Loops of uvloop have timers go first.)"""
    asked: list[Any] = []

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=None))
    async def task(input: dict, ctx: Context) -> str:
        attempt, loop = current_attempt.get(), asyncio.get_running_loop()
        assert attempt is not None
        unloading: Any = attempt.unloading
        monkeypatch.setattr(app.engine(), "suspend", asked.append)
        due = loop.time() + (0 if how == "at once" else 0.01)

        def look() -> None:
            while loop.time() <= due + 0.005:  # it comes behind what is to run by then
                pass
            loop.call_soon(unloading._look)

        loop.call_soon(look if how != "at once" else unloading._look)
        with contextlib.suppress(TimeoutError):
            if how == "wait_for":
                await asyncio.wait_for(ctx.aio_wait_for_event("never"), due - loop.time())
            else:
                async with asyncio.timeout_at(due):
                    await ctx.aio_wait_for_event("never")
        for _ in range(10):
            await asyncio.sleep(0)
        return "went on"

    async def run() -> str:
        return await task.aio_run({}, timeout=60)

    assert asyncio.run(run()) == "went on"  # on a loop of asyncio's
    assert asked == []


@pytest.mark.parametrize("how", ["wait", "beside"])
def test_of_what_is_unloaded_no_task_is_said_to_have_failed(app: Fanwood, how: str) -> None:
    """Its branches are told that the attempt is over, and nobody is left who would ask them."""
    said = list[Any]()

    @app.durable_task(eviction_policy=AT_ONCE)
    async def task(input: dict, ctx: Context) -> int:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))

        async def branch() -> None:
            try:
                await ctx.aio_wait_for_event("on")
            except asyncio.CancelledError:
                await ctx.aio_step(str, 1)  # which is refused

        branches = [asyncio.ensure_future(branch()), asyncio.ensure_future(branch())]
        if how == "beside":
            await ctx.aio_wait_for_event("on")
        await asyncio.wait(branches)
        return ctx.invocation_count

    ref = task.run_no_wait({})
    until(app, ref.id, RunState.WAITING)
    app.events.push("on")
    assert ref.result(60) == 2
    gc.collect()
    assert said == []


def test_a_look_that_comes_as_the_program_ends_raises_nothing(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loop reported an `EngineClosedError`, of a run that had been handed back."""
    said = list[Any]()

    @app.durable_task(eviction_policy=AT_ONCE)
    async def task(input: dict, ctx: Context) -> None:
        attempt, loop = current_attempt.get(), asyncio.get_running_loop()
        assert attempt is not None
        unloading: Any = attempt.unloading
        loop.set_exception_handler(lambda _, context: said.append(context))
        branch = asyncio.ensure_future(ctx.aio_sleep_for("1h"))
        while unloading.idle_since is None:
            await asyncio.sleep(0)

        def closed() -> None:
            raise EngineClosedError("it was closed")

        with monkeypatch.context() as patch:
            patch.setattr(attempt.host, "engine", closed)
            loop.call_soon(unloading._look_soon, 0)
            loop.call_soon(lambda: unloading._look(again=True))
            for _ in range(5):
                await asyncio.sleep(0)
        branch.cancel()

    task.run({}, timeout=60)
    assert said == []


@pytest.mark.parametrize("kind", ["sleep", "event", "message", "promise", "shared"])
@pytest.mark.parametrize("policy", [AT_ONCE, EvictionPolicy(ttl=None)], ids=["unloaded", "in memory"])
def test_what_is_replayed_before_all_below_it_has_been_ended_waits_anew(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch, kind: str, policy: EvictionPolicy
) -> None:
    """A large tree is ended by and by, and what waits last. (A cancellation waits for small ones.)"""
    sweeps, tokens, lives = list[bool](), list[str](), list[int]()
    sweep = Closing._sweep

    async def held(closing: Closing) -> None:
        if sweeps:
            await sweep(closing)

    monkeypatch.setattr(Closing, "_sweep", held)

    @app.task
    def child(input: dict, ctx: Context) -> int:
        if ctx.invocation_count == 1:
            ctx.wait_for_event("never")
        return 7

    @app.durable_task(eviction_policy=policy)
    async def task(input: dict, ctx: Context) -> Any:
        promise = await ctx.aio_promise(int, "p") if kind == "promise" else None
        lives.append(ctx.invocation_count)
        if promise is not None:
            tokens.append(promise.token)
            return await promise.aio_result()
        if kind == "sleep":
            await ctx.aio_sleep_for("1h")
            return 7
        if kind == "shared":
            return await child.aio_run({}, share="tree")
        return await ctx.aio_wait_for_event("e") if kind == "event" else (await ctx.aio_receive("m")).payload

    def waits() -> bool:
        found = engine.call(lambda store: store.recorded(id_)).result(60)
        return any(each.state is RunState.WAITING for each in found)

    ref = task.run_no_wait({})
    id_, engine = id_bytes(ref.id), app.engine()
    while not waits():
        time.sleep(0.002)
    assert engine.call(lambda store: store.cancel(id_, "no more"), changes=True).result(60)
    assert engine.call(lambda store: store.replay(id_, TERMINAL), changes=True).result(60)
    while len(lives) < 2 or (kind != "shared" and not waits()):
        assert ref.status() not in {RunState.FAILED, RunState.CANCELLED}, app.runs.get(ref.id).error
        time.sleep(0.002)
    sweeps.append(True)
    while engine.call(lambda store: store.sweep(), changes=True).result(60).more:
        pass
    assert not ref.status().is_terminal or kind == "shared", app.runs.get(ref.id).error
    if kind == "sleep":
        assert [app.runs.wake(each.id) for each in app.runs.children(ref.id)] == [True]
    elif kind == "promise":
        app.promises.resolve(tokens[-1], 7)
    elif kind == "event":
        app.events.push("e", 7)
    elif kind == "message":
        app.runs.send(ref.id, "m", 7)
    assert ref.result(60) == 7
