"""Sleeps: exact, over crashes and retries, and ended by whatever ends their run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest

from fanwood import Context, Fanwood, RunState
from fanwood.errors import TaskRunCancelled, TaskRunError, TaskRunTimedOut, UsageError
from tests.conftest import MakeApp
from tests.faults.processes import until
from tests.semantics.in_time import in_time

LONG = 3600
COLOURS = ["async", "sync"]


def sleeper(app: Fanwood, colour: str, seconds: float, begun: Callable[[int], Any], **options: Any) -> Any:
    """A task that sleeps, and then says in which attempt it woke."""
    if colour == "async":

        @app.task(name="sleeper", **options)
        async def aio_sleeper(input: dict, ctx: Context) -> int:
            begun(ctx.attempt_number)
            await ctx.aio_sleep_for(seconds)
            return ctx.attempt_number

        return aio_sleeper

    @app.task(name="sleeper", **options)
    def sleeper(input: dict, ctx: Context) -> int:
        begun(ctx.attempt_number)
        ctx.sleep_for(seconds)
        return ctx.attempt_number

    return sleeper


def the_sleep(app: Fanwood, run_id: str) -> Any:
    """The one sleep of a run, once it is there."""
    found: list[Any] = []

    def there() -> bool:
        found[:] = [child for child in app.runs.children(run_id) if child.task_name == "~sleep"]
        return bool(found)

    until(there, "the run sleeps")
    return found[0]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("seconds", [0.02, 1.05])
def test_a_sleep_takes_as_long_as_it_says(app: Fanwood, colour: str, seconds: float) -> None:
    """By the store's clock, of which a worker knows what time it is there by some milliseconds."""
    begun: list[float] = []
    task = sleeper(app, colour, seconds, lambda _: begun.append(time.monotonic()))
    ref = task.run_no_wait({})
    assert ref.result(60) == 1
    assert time.monotonic() - begun[0] >= seconds - 0.1 * (seconds > 1)
    run, sleep = app.runs.get(ref.id), app.runs.get(the_sleep(app, ref.id).id)
    assert (sleep.status, sleep.output) == (RunState.COMPLETED, None)
    assert run.started_at is not None
    assert run.finished_at is not None
    took = (run.finished_at - run.started_at).total_seconds()
    assert run.busy_seconds <= took - seconds + 0.2 or seconds < 1  # it held no slot


@pytest.mark.parametrize("colour", COLOURS)
def test_a_sleep_goes_on_after_its_worker_has_stopped(make_app: MakeApp, colour: str) -> None:
    """The next attempt sleeps what is left, and not all of it again: here nothing, as somebody woke it."""
    begun: list[int] = []
    app = make_app()
    ref = sleeper(app, colour, LONG, begun.append).run_no_wait({})
    sleep = the_sleep(app, ref.id)
    app.close()
    other = make_app()
    task = sleeper(other, colour, LONG, begun.append)
    assert other.runs.wake(sleep.id)
    assert task.get_run_ref(ref.id).result(60) == 2
    assert begun == [1, 2]
    assert [child.id for child in other.runs.children(ref.id)] == [sleep.id]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_sleep_that_is_under_way_is_waited_for_by_the_next_attempt(make_app: MakeApp, colour: str) -> None:
    begun = threading.Semaphore(0)
    app = make_app()
    ref = sleeper(app, colour, LONG, lambda _: begun.release()).run_no_wait({})
    sleep = the_sleep(app, ref.id)
    app.close()
    other = make_app()
    task, got = sleeper(other, colour, LONG, lambda _: begun.release()), list[int]()
    waits = threading.Thread(target=lambda: got.append(task.get_run_ref(ref.id).result(60)))
    waits.start()  # (who waits has it executed)
    for _ in range(2):
        assert begun.acquire(timeout=60)
    assert other.runs.get_status(sleep.id) is RunState.WAITING
    assert other.runs.wake(sleep.id)
    waits.join(60)
    assert got == [2]
    assert not other.runs.wake(sleep.id)


@pytest.mark.parametrize("colour", COLOURS)
def test_whoever_cancels_the_run_ends_its_sleep(app: Fanwood, colour: str) -> None:
    task = sleeper(app, colour, LONG, lambda _: None)
    ref = task.run_no_wait({})
    sleep = the_sleep(app, ref.id)
    app.runs.cancel(ref.id)
    with pytest.raises(TaskRunCancelled):
        ref.result(60)
    until(lambda: app.runs.get_status(sleep.id) is RunState.CANCELLED, "the sleep ends")


@pytest.mark.parametrize("colour", COLOURS)
def test_who_cancels_the_sleep_tells_the_run(app: Fanwood, colour: str) -> None:
    """It raises, as a child does that is waited for; a try more sleeps again."""
    task = sleeper(app, colour, LONG, lambda _: None, retries=1)
    ref = task.run_no_wait({})
    sleep = the_sleep(app, ref.id)
    app.runs.cancel(sleep.id)
    until(lambda: app.runs.get(ref.id).attempt == 2, "it is tried again")
    until(lambda: app.runs.get_status(sleep.id) is RunState.WAITING, "it sleeps again")
    app.runs.cancel(sleep.id)
    with pytest.raises(TaskRunError) as told:
        ref.result(60)
    assert told.value.exc_type == "TaskRunCancelled"


def test_who_comes_again_is_told_that_its_sleep_was_cancelled(make_app: MakeApp) -> None:
    """And does not pass for one who has slept."""
    app = make_app()
    ref = sleeper(app, "async", LONG, lambda _: None).run_no_wait({})
    sleep = the_sleep(app, ref.id)
    app.close()
    other = make_app()
    task = sleeper(other, "async", LONG, lambda _: None)
    other.runs.cancel(sleep.id)
    with pytest.raises(TaskRunError) as told:
        task.get_run_ref(ref.id).result(60)
    assert told.value.exc_type == "TaskRunCancelled"


@pytest.mark.parametrize("colour", COLOURS)
@in_time
def test_a_deadline_ends_a_sleep(make_app: MakeApp, limit: float, begun: threading.Event, colour: str) -> None:
    app = make_app()
    ref = sleeper(app, colour, LONG, lambda _: None, execution_timeout=limit).run_no_wait({})
    with pytest.raises(TaskRunTimedOut):
        ref.result(60)
    assert app.runs.children(ref.id)
    begun.set()
    sleep = the_sleep(app, ref.id)
    until(lambda: app.runs.get_status(sleep.id).is_terminal, "the sleep ends")
    assert app.runs.get_status(sleep.id) in (RunState.CANCELLED, RunState.FAILED)


class NoZone(tzinfo):
    """One that says nothing."""

    def utcoffset(self, dt: datetime | None, /) -> None:
        pass


def test_sleeping_until_a_moment(app: Fanwood) -> None:
    @app.task
    async def task(input: dict, ctx: Context) -> list[float]:
        soon = await ctx.aio_now("before") + timedelta(seconds=0.2)
        await ctx.aio_sleep_until(soon)
        late = (await ctx.aio_now("after") - soon).total_seconds()
        begin = time.monotonic()
        await ctx.aio_sleep_until(soon)  # has passed
        with pytest.raises(UsageError, match="time zone"):
            await ctx.aio_sleep_until(datetime(2030, 1, 1))
        with pytest.raises(UsageError, match="time zone"):
            await ctx.aio_sleep_until(datetime(2030, 1, 1, tzinfo=NoZone()))
        return [late, time.monotonic() - begin]

    late, nothing = task.run({})
    assert late >= -0.1
    assert nothing < 30


def test_equal_sleeps_are_told_apart_by_their_number(app: Fanwood) -> None:
    @app.task(retries=1)
    async def task(input: dict, ctx: Context) -> int:
        for _ in range(3):
            await ctx.aio_sleep_for(0.001)
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return len(await ctx.aio_children())

    ref = task.run_no_wait({})
    assert ref.result(60) == 0  # no run has been spawned
    assert [child.task_name for child in app.runs.children(ref.id)] == ["~sleep"] * 3


def test_a_wait_that_is_given_up_leaves_the_run_in_peace(app: Fanwood) -> None:
    @app.task
    async def task(input: dict, ctx: Context) -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await ctx.aio_sleep_for(LONG)
        return "went on"

    ref = task.run_no_wait({})
    assert ref.result(60) == "went on"
    sleep = the_sleep(app, ref.id)
    until(lambda: app.runs.get_status(sleep.id) is RunState.CANCELLED, "the sleep ends with its run")


def test_only_sleeps_are_woken(app: Fanwood) -> None:
    @app.task
    async def task(input: dict) -> None: ...

    ref = task.run_no_wait({})
    ref.result(60)
    with pytest.raises(UsageError, match="is no sleep"):
        app.runs.wake(ref.id)


def test_who_has_passed_a_short_sleep_may_end_before_it_is_recorded(app: Fanwood) -> None:
    """It goes before the end, in the same commit: nothing is refused, and it is there."""

    @app.task
    async def task(n: int, ctx: Context) -> int:
        await ctx.aio_sleep_for(0.001)
        return n

    assert task.run_many([task.create_bulk_run_item(n) for n in range(20)]) == list(range(20))
    sleeps = [run for run in app.runs.list(all_runs=True, limit=100) if run.task_name == "~sleep"]
    assert [run.status for run in sleeps] == [RunState.COMPLETED] * 20
