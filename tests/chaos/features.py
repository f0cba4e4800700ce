"""A small program for each feature that asks something of a store: what it does, and what must have come of it.

Code that runs asks once, and sees no trouble of the store. Who asks from outside is told, and asks again (`insist`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from fanwood import (
    Budget,
    BudgetExceeded,
    Context,
    EmptyModel,
    EvictionPolicy,
    FailedTaskRunExceptionGroup,
    Fanwood,
    RunState,
    SleepCondition,
    UsageError,
    UserEventCondition,
    after,
    as_completed,
    or_,
)
from fanwood.ids import id_bytes
from fanwood.model.commands import WorkerInfo
from fanwood.store.retention import delete_tree
from tests.faults.processes import until

T = TypeVar("T")

PATIENCE = 180.0
AT_ONCE = EvictionPolicy(ttl=0)
FEATURES: dict[str, Callable[[Stage], None]] = {}
TRIES = 50


class Stage:
    """One application, and those who ask something of it from outside."""

    def __init__(self, app: Fanwood, injected: str) -> None:
        self.app = app
        self.injected = injected

    def insist(self, ask: Callable[[], T]) -> T:
        """As people do: again, if there was trouble."""
        for _ in range(TRIES):
            try:
                return ask()
            except BaseException as error:
                if self.injected not in str(error):
                    raise
        raise AssertionError("there is no end of the trouble")

    def begun(self, task: Any, *input_: Any, **options: Any) -> Any:
        return self.insist(lambda: task.run_no_wait(*input_, **options))

    def state(self, run_id: str) -> RunState:
        return self.insist(lambda: self.app.runs.get(run_id)).status

    def until(self, ref: Any, holds: Callable[[], bool], what: str) -> None:
        """Unless the run fails."""

        def looks() -> bool:
            if self.state(ref.id) is RunState.FAILED:
                ref.result(PATIENCE)
            return self.insist(holds)

        until(looks, what, PATIENCE)

    def call(self, verb: Callable[[Any], Any]) -> Any:
        return self.insist(lambda: self.app.engine().call(verb).result(PATIENCE))


def feature(program: Callable[[Stage], None]) -> Callable[[Stage], None]:
    FEATURES[program.__name__] = program
    return program


@feature
def children(stage: Stage) -> None:
    """Bulks, retries, keys, logs, metadata, progress, chunks, what is published."""
    app = stage.app

    @app.task(retries=2)
    async def leaf(n: int, ctx: Context) -> int:
        ctx.log(f"leaf {n}")
        if n == 3 and ctx.retry_count == 0:
            raise ValueError("once more")
        return n

    @app.task
    def sync_leaf(n: int) -> int:
        return n

    @app.task
    async def parent(input: EmptyModel, ctx: Context) -> int:
        await ctx.aio_put_stream("a")
        ctx.progress(1, 2)
        await ctx.aio_publish("place", "here")
        items = [leaf.create_bulk_run_item(n, key=str(n)) for n in range(5)]
        many = await leaf.aio_run_many(items)
        mapped = [n async for n in leaf.aio_map(iter(range(10, 14)), window=2)]
        refs = [await sync_leaf.aio_run_no_wait(n) for n in range(3)]
        ended = [await ref async for ref in as_completed(refs)]
        free = await leaf.aio_run(7, detached=True)
        assert len(await ctx.aio_children()) == 12
        assert len(await ctx.aio_attempts()) >= 0
        return sum(many) + sum(mapped) + sum(ended) + free

    @app.task
    async def reader(input: EmptyModel, ctx: Context) -> list[str]:
        ref = await parent.aio_run_no_wait(detached=True, idempotency_key=f"of {ctx.task_run_id}")
        chunks = [str(chunk) async for chunk in ref.stream()]
        return [*chunks, str(await ref), str(await ref.aio_status())]

    ref = stage.begun(reader)
    assert ref.result(PATIENCE) == ["a", "66", str(RunState.COMPLETED)]
    (run,) = stage.insist(lambda: app.runs.list(task_name="parent"))
    assert stage.insist(lambda: app.runs.get_value(run.id, "place")) == "here"
    assert stage.insist(lambda: app.runs.counts(run.id)).completed == 12


@feature
def budgets(stage: Stage) -> None:
    app = stage.app

    @app.task
    async def spender(n: int, ctx: Context) -> int:
        await ctx.aio_spend(usd=0.1)
        return n

    @app.task
    def holder(n: int, ctx: Context) -> int:
        with ctx.reserve(usd=0.5) as held:
            held.spend(usd=0.2)
        return n

    @app.durable_task(eviction_policy=AT_ONCE)
    async def treasurer(input: EmptyModel, ctx: Context) -> str:
        await ctx.aio_spend(usd=0.1)
        await asyncio.gather(*[spender.aio_run(n, budget=Budget(units={"usd": 0.1})) for n in range(3)])
        await holder.aio_run(1)
        await ctx.aio_sleep_for(0.02)
        async with ctx.reserve(usd=0.3) as held:
            await held.aio_spend(usd=0.3)
        try:
            await ctx.aio_spend(usd=5)
        except BudgetExceeded as error:
            return error.limit
        return "too much"

    ref = stage.begun(treasurer, budget=Budget(runs=10, units={"usd": 1}))
    assert ref.result(PATIENCE) == "usd"
    run = stage.insist(lambda: app.runs.get(ref.id))
    (usd,) = [limit for limit in run.budget if limit.unit == "usd"]
    assert (usd.used, usd.held) == (Decimal("0.9"), 0)
    assert stage.insist(lambda: app.runs.why(ref.id)).text


@feature
def shares_and_hedges(stage: Stage) -> None:
    app, begun = stage.app, list[int]()

    @app.task
    async def lookup(n: int) -> int:
        return n

    @app.task
    async def hangs(n: int) -> int:
        begun.append(n)
        if len(begun) == 1:
            await asyncio.sleep(3600)
        return n

    @app.task
    async def caller(n: int) -> int:
        return await lookup.aio_run(n % 2, share="tree")

    @app.task
    async def sharer() -> int:
        both = await asyncio.gather(*[caller.aio_run(n) for n in range(6)])
        return sum(both) + await hangs.aio_run(10, hedge=after(0.02))

    assert stage.begun(sharer).result(PATIENCE) == 13


@feature
def groups(stage: Stage) -> None:
    app = stage.app

    @app.task
    async def quick(n: int) -> int:
        return n

    @app.task
    async def slow(n: int, ctx: Context) -> int:
        await ctx.aio_sleep_for(3600)
        return n

    @app.task
    async def racer(input: EmptyModel, ctx: Context) -> int:
        async with ctx.group("race", quorum=1) as race:
            for _ in range(4):  # of two, or three, the end may be refused
                race.spawn(quick, 1)
            race.spawn(slow, 2)
            race.spawn(slow, 3)
        assert race.winner is not None
        try:
            async with asyncio.timeout(0.02):
                await slow.aio_run(4)
        except TimeoutError:
            return race.winner.value
        return 0

    ref = stage.begun(racer)
    assert ref.result(PATIENCE) == 1
    stage.until(
        ref,
        lambda: all(run.status is RunState.CANCELLED for run in app.runs.list(task_name="slow", all_runs=True)),
        "the losers, and who is not waited for, are cancelled",
    )


@feature
def from_outside(stage: Stage) -> None:
    """Messages, promises, events."""
    app, tokens = stage.app, list[str]()

    @app.task
    async def waits(input: EmptyModel, ctx: Context) -> list[Any]:
        promise = await ctx.aio_promise(int, "number")
        tokens.append(promise.token)
        first = await ctx.aio_wait_for_event("first", match={"n": 1})
        got = await ctx.aio_wait_for("any", or_(SleepCondition(3600), UserEventCondition("second", "input.n == 3")))
        message = await ctx.aio_receive("letter")
        return [await promise, first["n"], len(got), message.payload, await message.aio_reply("read")]

    @app.task
    async def sends(to: str, ctx: Context) -> str:
        promise = ctx.promise(str, "reply")
        await app.runs.aio_send(to, "letter", "hello", reply_to=promise.token)
        return await promise

    ref = stage.begun(waits)
    stage.until(ref, lambda: bool(tokens), "it waits")
    stage.until(ref, lambda: len(app.runs.children(ref.id)) == 2, "for an event")
    stage.insist(lambda: app.events.push("first", {"n": 2}))
    stage.insist(lambda: app.events.push("first", {"n": 1}, id="the one"))
    stage.until(ref, lambda: len(app.runs.children(ref.id)) >= 4, "for another one")
    stage.insist(lambda: app.events.push("second", {"n": 3}))
    other = stage.begun(sends, ref.id)
    stage.insist(lambda: app.promises.resolve(tokens[0], 7))
    assert ref.result(PATIENCE) == [7, 1, 1, "hello", True]
    assert other.result(PATIENCE) == "read"
    assert len(stage.insist(app.events.list)) >= 3
    assert stage.insist(lambda: app.events.get("the one")).payload == {"n": 1}


@feature
def durable(stage: Stage) -> None:
    """Steps, sleeps, suspension, starting over."""
    app, done = stage.app, list[str]()

    def work(name: str) -> str:
        done.append(name)
        return name

    @app.task
    async def twig(n: int) -> int:
        await asyncio.sleep(0.01)
        return n

    @app.durable_task(eviction_policy=AT_ONCE, version="1")
    async def agent(life: int, ctx: Context) -> Any:
        await ctx.aio_step(work, f"step {life}", key="step")
        await ctx.aio_now("began")
        await ctx.aio_sleep_for(0.02)
        assert await ctx.aio_version_at("here") == "1"
        numbers = await twig.aio_run_many([twig.create_bulk_run_item(n) for n in range(3)])
        if life < 2:
            ctx.start_over(life + 1)
        return [life, *numbers, (await ctx.aio_receive("last", timeout="1h")).payload]

    ref = stage.begun(agent, 0)
    stage.insist(lambda: app.runs.send(ref.id, "last", "word"))
    assert ref.result(PATIENCE) == [2, 0, 1, 2, "word"]
    assert sorted(set(done)) == ["step 0", "step 1", "step 2"]


@feature
def workflows(stage: Stage) -> None:
    app = stage.app
    flow = app.workflow(name="flow", input_validator=dict)

    @flow.task(execution_timeout="1h")
    async def first(input: dict, ctx: Context) -> int:
        ctx.refresh_timeout("2h")
        return 1

    @flow.task(parents=[first], wait_for=[SleepCondition(0.01)])
    def second(input: dict, ctx: Context) -> int:
        return ctx.task_output(first) + 1

    failing = app.workflow(name="failing", input_validator=dict)

    @failing.task
    async def fails(input: dict, ctx: Context) -> int:
        raise ValueError("as it must")

    @failing.task
    async def beside(input: dict, ctx: Context) -> int:
        await ctx.aio_sleep_for(0.01)
        return 1

    assert stage.begun(flow, {}).result(PATIENCE) == {"first": 1, "second": 2}
    ref = stage.begun(failing, {})
    with contextlib.suppress(FailedTaskRunExceptionGroup):
        ref.result(PATIENCE)
    assert stage.state(ref.id) is RunState.FAILED


@feature
def surgery(stage: Stage) -> None:
    """Pauses, priorities, forks, retries of failures, results by hand, cancels, replays, sleeps that are ended."""
    app, healthy = stage.app, list[int]()

    @app.task
    async def limb(n: int, ctx: Context) -> int:
        if n == 1 and not healthy:
            raise ValueError("not healthy")
        return n

    @app.task
    async def sleeper(input: EmptyModel, ctx: Context) -> int:
        await ctx.aio_sleep_for(3600)
        return 7

    @app.task
    async def patient(input: EmptyModel, ctx: Context) -> list[Any]:
        items = [limb.create_bulk_run_item(n) for n in range(3)]
        ends = await limb.aio_run_many(items, return_exceptions=True)
        return [str(end) if isinstance(end, Exception) else end for end in ends]

    waiting = stage.begun(sleeper)
    stage.until(waiting, lambda: len(app.runs.children(waiting.id)) == 1, "it sleeps")
    stage.insist(lambda: app.runs.pause(waiting.id, by="ann"))
    assert stage.insist(lambda: app.runs.reprioritize(waiting.id, 5)) in {1, 5}
    stage.insist(lambda: app.runs.resume(waiting.id))
    (sleep,) = stage.insist(lambda: app.runs.children(waiting.id))
    stage.insist(lambda: app.runs.wake(sleep.id))
    assert waiting.result(PATIENCE) == 7
    other = stage.begun(sleeper)
    stage.insist(lambda: app.runs.patch(other.id, output=8))
    assert other.result(PATIENCE) == 8
    third = stage.begun(sleeper)
    stage.insist(lambda: app.runs.cancel(third.id))
    assert stage.state(third.id) is RunState.CANCELLED
    failed = stage.begun(patient)
    failed.result(PATIENCE)
    healthy.append(1)
    fork = stage.insist(lambda: app.runs.fork(failed.id))
    assert fork.result(PATIENCE) == [0, 1, 2]
    assert stage.insist(lambda: app.runs.forks(failed.id))
    with contextlib.suppress(UsageError):  # it was done, and answered with trouble: then it runs
        stage.insist(lambda: app.runs.retry_failures(failed.id))
    stage.until(
        failed, lambda: {c.status for c in app.runs.children(failed.id)} == {RunState.COMPLETED}, "what failed is done"
    )
    stage.insist(lambda: app.runs.replay(failed.id))
    assert stage.insist(lambda: failed.result(PATIENCE)) is not None
    action = stage.insist(lambda: app.runs.bulk("cancel", task_name="sleeper"))
    assert action.result(PATIENCE).done == 0
    assert stage.insist(lambda: app.runs.bulk_preview("cancel", task_name="patient")).count == 0


@feature
def upkeep(stage: Stage) -> None:
    """Workers that died, trees that are deleted, and what is asked for at the side of it."""
    app = stage.app

    @app.task
    async def bud(n: int) -> int:
        return n

    @app.task
    async def stem() -> int:
        return await bud.aio_run(1)

    @app.task
    async def late() -> int:
        return 1

    ref = stage.begun(stem)
    assert ref.result(PATIENCE) == 1
    info = WorkerInfo("dead", os.uname().nodename, 2**22 + 1, 1, ("nobody's",), 1)
    dead = stage.call(lambda store: store.register(info, []))
    stage.until(
        ref, lambda: all(w.id != dead for w in app.engine().call(lambda s: s.workers()).result()), "it was reaped"
    )
    now = app.engine().store.now()
    assert stage.call(lambda store: store.deadlines([])) == {}
    root_run = stage.call(lambda store: store.get(id_bytes(ref.id)))
    stage.call(lambda store: delete_tree(store, root_run))
    stage.call(lambda store: store.prune(now + 10**9, 1000))
    stage.call(lambda store: store.forget_events(now, 1000))
    stage.call(lambda store: store.tidy())
    assert late.name in {task.name for task in stage.call(lambda store: store.tasks())}
    assert stage.begun(late).result(PATIENCE) == 1  # declared, and published, after the engine had begun
