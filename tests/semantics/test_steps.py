"""Recorded steps: done once in the life of a run; what failed is done again by a new trial, not by a resumed one."""

from __future__ import annotations

import asyncio
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest

from fanwood import Context, Fanwood, NonRetryableException, RunState
from fanwood.errors import BlockingCallError, StoreValueError, TaskRunError, UsageError
from fanwood.model.commands import Batch
from tests.conftest import MakeApp
from tests.faults.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS: list[Any] = []
"""What was called with what, in the present test."""
COLOURS = ["async", "sync"]


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    CALLS.clear()


def charge(order: int) -> dict[str, int]:
    CALLS.append(order)
    return {"charged": order}


async def aio_charge(order: int) -> tuple[int, ...]:
    CALLS.append(order)
    return (order, order)


def refuse(order: int) -> None:
    CALLS.append(order)
    if len(CALLS) < 3:
        raise ValueError(f"no money for {order}")


async def hang(order: int) -> None:
    CALLS.append(order)
    await asyncio.sleep(3600)


def never(order: int) -> None:
    CALLS.append(order)
    raise NonRetryableException("never")


@pytest.mark.parametrize("colour", COLOURS)
def test_a_step_is_done_once(app: Fanwood, colour: str) -> None:
    """What it returned is given back to later attempts; from the first time on in the form that was recorded."""
    if colour == "async":

        @app.task(retries=2)
        async def task(input: dict, ctx: Context) -> list[Any]:
            got = [await ctx.aio_step(charge, 1), await ctx.aio_step(charge, 2), await ctx.aio_step(aio_charge, 3)]
            if ctx.retry_count < 2:
                raise ValueError("once more")
            return got
    else:

        @app.task(retries=2)
        def task(input: dict, ctx: Context) -> list[Any]:
            got = [ctx.step(charge, 1), ctx.step(charge, 2), ctx.step(charge, 3)]
            if ctx.retry_count < 2:
                raise ValueError("once more")
            return got

    ref = task.run_no_wait({})
    got = ref.result(60)
    assert got[:2] == [{"charged": 1}, {"charged": 2}]
    assert CALLS == [1, 2, 3]
    steps = app.runs.children(ref.id)
    assert [step.task_name for step in steps] == ["~step"] * 3
    assert app.runs.get(steps[0].id).input == {"step": f"{__name__}.charge", "args": [1]}


@pytest.mark.parametrize("colour", COLOURS)
def test_a_new_trial_does_a_failed_step_again(app: Fanwood, colour: str) -> None:
    if colour == "async":

        @app.task(retries=2)
        async def task(input: dict, ctx: Context) -> None:
            return await ctx.aio_step(refuse, 7)
    else:

        @app.task(retries=2)
        def task(input: dict, ctx: Context) -> None:
            return ctx.step(refuse, 7)

    ref = task.run_no_wait({})
    assert ref.result(60) is None
    assert CALLS == [7, 7, 7]
    (step,) = app.runs.children(ref.id)
    assert step.status is RunState.COMPLETED


async def test_of_steps_at_once_only_the_one_that_can_not_be_stored_is_refused(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written together."""
    store = app.engine().store
    commit, sizes = store.commit, list[int]()

    async def refusing(worker: int, batch: Batch) -> Any:
        sizes.append(len(batch.records))
        while batch.records and len(CALLS) < 100:  # whoever is quicker: nothing is kept before all have been done
            await asyncio.sleep(0.002)
        if any("[7]" in record.input for record in batch.records):
            raise StoreValueError("it can't be held")
        return await commit(worker, batch)

    @app.task
    async def task(input: dict, ctx: Context) -> list[Any]:
        steps = (ctx.aio_step(aio_charge, n) for n in range(100))
        found = await asyncio.gather(*steps, return_exceptions=True)
        return [str(each) if isinstance(each, Exception) else each for each in found]

    monkeypatch.setattr(store, "commit", refusing)
    result = await task.aio_run({})
    assert [each for n, each in enumerate(result) if n != 7] == [[n, n] for n in range(100) if n != 7]
    assert "it can't be held" in str(result[7])
    assert max(sizes) > 1


def test_what_failed_is_told_in_one_way_now_and_later(make_app: MakeApp) -> None:
    """A resumed attempt, of the same trial, finds the failure."""

    def declare(app: Fanwood) -> Any:
        @app.task
        async def task(input: dict, ctx: Context) -> list[str]:
            try:
                await ctx.aio_step(refuse, 7)
            except TaskRunError as error:
                said = [type(error).__name__, error.task_name, error.exc_type, error.message]
            else:
                said = ["did it"]
            CALLS.append(said)
            await ctx.aio_sleep_for(3600)
            return said

        return task

    app = make_app()
    ref = declare(app).run_no_wait({})
    until(lambda: len(app.runs.children(ref.id)) == 2, "it sleeps")
    sleep = app.runs.children(ref.id)[1]
    app.close()
    other = make_app()
    task = declare(other)
    other.runs.wake(sleep.id)
    said = task.get_run_ref(ref.id).result(60)
    assert said == ["TaskRunError", f"{__name__}.refuse", "ValueError", "no money for 7"]
    assert [7, said, said] == CALLS


def test_the_exception_itself_is_the_cause(app: Fanwood) -> None:
    @app.task
    async def task(input: dict, ctx: Context) -> str:
        with pytest.raises(TaskRunError) as told:
            await ctx.aio_step(refuse, 1)
        return type(told.value.__cause__).__name__

    assert task.run({}) == "ValueError"


def test_retries_of_a_step_itself(app: Fanwood) -> None:
    @app.task
    async def task(input: dict, ctx: Context) -> None:
        await ctx.aio_step(refuse, 1, retries=2, backoff_factor=0.01)
        with pytest.raises(TaskRunError, match="never"):
            await ctx.aio_step(never, 2, retries=5)
        with pytest.raises(UsageError, match="tries"):
            await ctx.aio_step(never, 3, tries=5)  # type: ignore[call-overload]

    ref = task.run_no_wait({})
    ref.result(60)
    assert CALLS == [1, 1, 1, 2]
    assert len(app.runs.children(ref.id)) == 2


def test_equal_steps_one_after_another_and_at_once(app: Fanwood) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def wait(n: int) -> int:
        entered.set()
        assert go_on.wait(60)
        return n

    @app.task
    async def task(input: dict, ctx: Context) -> int:
        await ctx.aio_step(charge, 1)
        await ctx.aio_step(charge, 1)  # another one
        first = asyncio.create_task(ctx.aio_step(wait, 5, key="wait"))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        with pytest.raises(UsageError, match="under way already"):
            await ctx.aio_step(wait, 5, key="wait")
        go_on.set()
        return await first + await ctx.aio_step(wait, 6, key="wait")  # it is there

    assert task.run({}) == 10
    assert CALLS == [1, 1]


def test_what_needs_a_key(app: Fanwood) -> None:
    here = 1

    class Shop:
        def sell(self) -> int:
            return 1

    @app.task
    async def task(input: dict, ctx: Context) -> list[Any]:
        nameless: list[Any] = [lambda: here, lambda: 1, functools.partial(charge, 1), Shop().sell]
        for function in nameless:
            with pytest.raises(UsageError, match="needs a key"):
                await ctx.aio_step(function)
        with pytest.raises(UsageError, match="key="):
            await ctx.aio_step(charge, object())
        return [await ctx.aio_step(function, key=f"{n}") for n, function in enumerate(nameless)]

    assert task.run({}) == [1, 1, {"charged": 1}, 1]


def test_a_key_is_no_childs_key(app: Fanwood) -> None:
    @app.task
    async def child(n: int) -> int:
        return n

    @app.task(retries=1)
    async def task(input: dict, ctx: Context) -> list[Any]:
        got = [await ctx.aio_step(charge, 1, key="k"), await child.aio_run(2, child_key="k")]
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return got

    ref = task.run_no_wait({})
    assert ref.result(60) == [{"charged": 1}, 2]
    [step] = [one for one in app.runs.children(ref.id) if one.task_name == "~step"]
    assert app.runs.get(step.id).input == {"step": f"{__name__}.charge", "key": "k"}


def test_a_step_that_is_interrupted_is_not_recorded(app: Fanwood) -> None:

    @app.task
    async def task(input: dict, ctx: Context) -> str:
        async def expire(limit: asyncio.Timeout) -> None:
            while not CALLS:
                await asyncio.sleep(0.002)
            limit.reschedule(0)

        async def hangs() -> None:
            async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
                group.create_task(expire(limit))
                await ctx.aio_step(hang, 1)

        with pytest.raises(TimeoutError):
            await hangs()
        return "went on"

    ref = task.run_no_wait({})
    assert ref.result(60) == "went on"
    assert CALLS == [1]
    assert app.runs.children(ref.id) == []


def test_a_declared_step(app: Fanwood) -> None:
    @app.step
    def double(n: int) -> int:
        CALLS.append(n)
        return 2 * n

    @app.step(key=lambda order, **_: f"{order}", retries=2)
    async def ship(order: int, *, note: object) -> int:
        CALLS.append(order)
        if CALLS.count(order) == 1:
            raise ValueError("once more")
        return order

    @app.task(retries=1)
    def sync_task(input: dict, ctx: Context) -> list[int]:
        got = [double(1), double(n=2), ctx.step(double, 3)]
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return got

    @app.task
    async def task(input: dict, ctx: Context) -> int:
        with pytest.raises(BlockingCallError, match=r"ctx\.aio_step\(double"):
            double(5)
        return await ship(4, note=object()) + await ship(4, note=None) + await ctx.aio_step(double, 6)

    assert double(9) == 18  # outside of any run
    assert CALLS == [9]
    assert sync_task.run({}) == [2, 4, 6]
    assert CALLS == [9, 1, 2, 3]
    assert task.run({}) == 20
    assert CALLS == [9, 1, 2, 3, 4, 4, 6]


def test_blocking_steps_take_no_async_function(app: Fanwood) -> None:
    @app.task
    def task(input: dict, ctx: Context) -> None:
        with pytest.raises(UsageError, match="aio_step"):
            _ = ctx.step(aio_charge, 1)

    task.run({})


def test_times_and_numbers_are_the_same_in_every_attempt(app: Fanwood) -> None:
    seen: list[list[str]] = []

    @app.task(retries=1)
    async def task(input: dict, ctx: Context) -> list[str]:
        drawn = [await ctx.aio_now("a"), await ctx.aio_now("a"), await ctx.aio_now("b")]
        numbers = [ctx.random("a"), ctx.random("a"), ctx.random("b"), ctx.uuid("a"), ctx.uuid("a"), ctx.uuid("b")]
        assert drawn == sorted(drawn)
        assert len({*numbers}) == 6
        assert all(0 <= number < 1 for number in numbers[:3])
        seen.append([str(each) for each in (*drawn, *numbers)])
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return seen[-1]

    first, second = task.run_no_wait({}), task.run_no_wait({})
    assert first.result(60) in seen[:-1]
    assert second.result(60) != first.result(60)
    assert len(seen) == 4
    assert len({tuple(each) for each in seen}) == 2
    assert len(app.runs.children(first.id)) == 3


def test_without_names_they_go_by_their_order_in_the_runs_own_task(app: Fanwood) -> None:
    seen: list[list[Any]] = []

    @app.task(retries=1)
    async def task(input: dict, ctx: Context) -> None:
        numbers = [ctx.random(), ctx.random(), ctx.random("a"), ctx.uuid(), ctx.uuid()]
        assert len({*numbers}) == 5
        async with ctx.group():
            seen.append([await ctx.aio_now(), *numbers, await ctx.aio_now()])
        if ctx.retry_count == 0:
            raise ValueError("once more")

    @app.task(retries=1)
    def sync_task(input: dict, ctx: Context) -> None:
        with ctx.group():
            seen.append([ctx.now(), ctx.random(), ctx.uuid(), ctx.now()])
        if ctx.retry_count == 0:
            raise ValueError("once more")

    task.run({})
    sync_task.run({})
    assert (seen[0], seen[2]) == (seen[1], seen[3])
    assert seen[0][0] < seen[0][-1]


def test_elsewhere_they_need_a_name(app: Fanwood) -> None:
    """There their order is another in each attempt, and so is who would be given which."""

    async def group(ctx: Context) -> None:
        async with ctx.group():
            pass

    @app.task
    async def task(input: dict, ctx: Context) -> list[str]:
        async def branch(call: Callable[[], Any]) -> None:
            got = call()
            await got if hasattr(got, "__await__") else None

        calls = (ctx.random, ctx.uuid, ctx.aio_now, lambda: group(ctx))
        refused = await asyncio.gather(*(branch(call) for call in calls), return_exceptions=True)
        for call in (lambda: asyncio.to_thread(ctx.random), lambda: ctx.aio_step(branch, ctx.uuid, key="k")):
            try:
                await call()
            except (UsageError, TaskRunError) as error:
                refused.append(error)
        await asyncio.gather(asyncio.to_thread(ctx.random, "a"), branch(lambda: ctx.aio_now("a")))
        return [str(error) for error in refused]

    @app.task
    def sync_task(input: dict, ctx: Context) -> list[str]:
        with ThreadPoolExecutor(1) as pool:
            refused = pool.submit(copy_context().run, ctx.random).exception()
            assert pool.submit(copy_context().run, ctx.now, "a").result()
        return [str(refused)]

    said = [*task.run({}), *sync_task.run({})]
    whats = ["ctx.random", "ctx.uuid", "ctx.now", "ctx.group", "ctx.random", "ctx.uuid", "ctx.random"]
    assert [what in text and "needs a name here" in text for what, text in zip(whats, said, strict=True)] == [True] * 7
    assert "within a recorded step" in said[5]


def test_a_blocking_task_draws_a_time_as_well(app: Fanwood) -> None:
    @app.task
    def task(input: dict, ctx: Context) -> bool:
        return ctx.now("a") <= ctx.now("b")

    assert task.run({})


def test_many_at_once(app: Fanwood) -> None:
    """And all of them found again at once."""

    @app.task(retries=1)
    async def task(input: dict, ctx: Context) -> int:
        got = await asyncio.gather(*[ctx.aio_step(aio_charge, n) for n in range(1200)])
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return len(got)

    assert task.run({}) == 1200
    assert len(CALLS) == 1200


def test_a_mock_run_just_calls(app: Fanwood) -> None:
    @app.step
    def double(n: int) -> int:
        return 2 * n

    @app.task
    def task(input: dict, ctx: Context) -> list[Any]:
        ctx.sleep_for(3600)
        return [ctx.step(charge, 1), double(2), ctx.now("a") is not None, 0 <= ctx.random("a") < 1]

    assert task.mock_run({}) == [{"charged": 1}, 4, True, True]


def test_no_task_has_such_a_name(app: Fanwood) -> None:
    with pytest.raises(Exception, match="must not begin with '~'"):

        @app.task(name="~step")
        async def task(input: dict) -> None: ...
