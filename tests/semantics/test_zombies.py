"""Attempts that are over though their code goes on, and what is left behind by those who have gone."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest

from fanwood import (
    AttemptFencedError,
    Context,
    Fanwood,
    RunState,
    TaskRunError,
    WaitTimeoutError,
    with_context,
)
from tests.faults.processes import until
from tests.raw import watched
from tests.serving import serving

PATIENCE = 180.0


def moves_its_limit(ctx: Context) -> None:
    ctx.refresh_timeout(3600)


ACTS = {"cancels": Context.cancel, "moves its limit": moves_its_limit}


@pytest.mark.parametrize("act", ACTS)
def test_an_attempt_that_is_over_changes_nothing_of_the_next(app: Fanwood, act: str) -> None:
    go_on, acted = threading.Event(), threading.Event()
    met: list[BaseException] = []
    limits: list[Any] = []

    @app.task(retries=1, execution_timeout=3600)
    def task(input: dict, ctx: Context) -> str:
        if ctx.attempt_number > 1:
            limits.append(ctx.deadline)
            go_on.set()
            acted.wait(PATIENCE)
            limits.append(ctx.deadline)
            return "of the second"
        ready.set()
        go_on.wait(PATIENCE)
        try:
            ACTS[act](ctx)
        except BaseException as error:
            met.append(error)
            raise
        finally:
            acted.set()
        return "of the first"

    ready = threading.Event()
    ref = task.run_no_wait({})
    assert ready.wait(PATIENCE)
    app.runs.cancel(ref.id)
    app.runs.replay(ref.id)
    assert ref.result(timeout=PATIENCE) == "of the second"
    assert "is over" in str(met[0])
    assert limits[0] == limits[1]


def test_a_child_of_a_parent_that_goes_on_elsewhere_wakes_it_there(make_app: Any) -> None:
    """The first attempt's code does not stop, on the worker that executes the child: it must not be taken for the
    parent."""
    first, second = make_app(slots=3, local_worker=False), make_app(slots=3, local_worker=False)
    begun, over, child_begun, child_may_end = (threading.Event() for _ in range(4))
    refs: list[Any] = []

    def declare(app: Fanwood) -> tuple[Any, Any]:
        @app.task
        def child(input: dict) -> int:
            child_begun.set()
            child_may_end.wait(PATIENCE)
            return 5

        @app.task
        def parent(input: dict, ctx: Context) -> int:
            if ctx.attempt_number > 1:
                return child.run({}, on_parent_end="continue")
            refs.append(child.run_no_wait({}, on_parent_end="continue"))
            begun.set()
            over.wait(PATIENCE)
            return 0

        return parent, child

    parent, child = declare(first)
    parent_of_second, _ = declare(second)
    try:
        with serving(first.worker(workflows=[parent, child])):
            ref = parent.run_no_wait({})
            assert begun.wait(PATIENCE)
            assert child_begun.wait(PATIENCE)  # else it goes back, and nobody else serves it
            first.engine().pause()  # the next attempt is the other's
            first.runs.cancel(ref.id)
            with serving(second.worker(workflows=[parent_of_second])):
                second.runs.replay(ref.id)
                until(lambda: second.engine()._delivery._waits, "it waits there")
                child_may_end.set()
                assert ref.result(timeout=PATIENCE) == 5
            over.set()
    finally:
        over.set()
        child_may_end.set()


# --- leftovers -----------------------------------------------------------------------------------------------------


def nobody_waits(app: Fanwood, url: str) -> bool:
    delivery = app.engine()._delivery
    return not delivery._waits and not delivery._watched and not asyncio.run(watched(url))


def test_waits_that_were_given_up_leave_nothing(make_app: Any, url: str) -> None:
    app = make_app(local_worker=False)

    @app.task
    async def never(input: int) -> None: ...

    refs = never.run_many_no_wait([never.create_bulk_run_item(n) for n in range(3)])

    async def cancelled() -> None:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(refs[0].aio_result(), 0.001)

    for ref in refs * 20:
        with pytest.raises(WaitTimeoutError):
            ref.result(timeout=0.001)
    asyncio.run(cancelled())
    with pytest.raises(WaitTimeoutError):
        never.run(9, timeout=0.001)
    with pytest.raises(WaitTimeoutError):
        never.run_many([never.create_bulk_run_item(n) for n in range(3)], timeout=0.001)
    until(lambda: nobody_waits(app, url), "nothing is left")
    assert app.runs.get(refs[0].id).status is RunState.QUEUED


def test_a_wait_that_goes_on_is_not_given_up_with_another(make_app: Any, url: str) -> None:
    app = make_app(local_worker=False)

    @app.task
    async def later(input: int) -> int:
        return input

    ref, results = later.run_no_wait(7), []
    waiting = threading.Thread(target=lambda: results.append(ref.result(timeout=PATIENCE)))
    waiting.start()
    until(lambda: app.engine()._delivery._waits, "somebody waits")
    for _ in range(10):
        with pytest.raises(WaitTimeoutError):
            ref.result(timeout=0.001)
    with serving(app.worker()):
        waiting.join(PATIENCE)
    assert results == [7]
    until(lambda: nobody_waits(app, url), "nothing is left")


def test_what_a_failed_bulk_still_waited_for_is_given_up(app: Fanwood, url: str) -> None:
    may_end = threading.Event()

    @app.task
    def child(input: int) -> int:
        if input == 0:
            raise ValueError("the first")
        may_end.wait(PATIENCE)
        return input

    @app.task
    def parent(input: dict) -> str:
        with pytest.raises(TaskRunError):
            child.run_many([child.create_bulk_run_item(n) for n in range(3)])
        until(lambda: len(app.engine()._delivery._waits) == 1, "of the children nobody waits for any")
        may_end.set()
        return "done"

    try:
        assert parent.run({}, timeout=PATIENCE) == "done"
        until(lambda: nobody_waits(app, url), "nothing is left")
    finally:
        may_end.set()


def test_loops_that_were_closed_are_not_kept(app: Fanwood) -> None:
    @app.task
    async def quick(input: dict) -> int:
        return 1

    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        await quick.aio_run({})
        return weakref.ref(asyncio.get_running_loop())

    loops = [asyncio.run(main()) for _ in range(5)]
    gc.collect()
    assert sum(loop() is not None for loop in loops) <= 1  # the last one, until there is another
    app.close()
    gc.collect()
    assert [loop for loop in loops if loop() is not None] == []


def test_what_was_closed_leaves_no_threads_and_is_gone(make_app: Any, url: str) -> None:
    before = set(threading.enumerate())

    def use() -> list[weakref.ref[Any]]:
        app = Fanwood(url, local_worker=True)

        @app.task
        def in_thread(input: dict) -> int:
            return 1

        @app.task
        async def on_loop(input: dict) -> int:
            return 1

        assert [in_thread.run({}), on_loop.run({})] == [1, 1]
        gone = [weakref.ref(app), weakref.ref(app.engine()), weakref.ref(app.engine().dispatcher)]
        app.close()
        return gone

    gone = use()
    until(lambda: set(threading.enumerate()) <= before, "its threads have ended")
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]


def in_a_group(ctx: Context) -> None:
    with ctx.group() as group:
        group.spawn(leaf_of(ctx), {})


def in_a_reserve(ctx: Context) -> None:
    with ctx.reserve(usd=1):
        pass


def leaf_of(ctx: Context) -> Any:
    return ctx.lifespan


LEFT_OUT = {
    "log": lambda ctx: ctx.log("late"),
    "progress": lambda ctx: ctx.progress(1, 2),
    "release_slot": Context.release_slot,
}
"""Documented: these are left out."""
REFUSED = {
    "put_stream": lambda ctx: ctx.put_stream("late"),
    "cancel": Context.cancel,
    "refresh_timeout": moves_its_limit,
    "step": lambda ctx: ctx.step(len, "abc"),
    "sleep_for": lambda ctx: ctx.sleep_for(0.001),
    "now": lambda ctx: ctx.now("n"),
    "random": lambda ctx: ctx.random("n"),
    "uuid": lambda ctx: ctx.uuid("n"),
    "wait_for_event": lambda ctx: ctx.wait_for_event("go", timeout=0.01),
    "receive": lambda ctx: ctx.receive("m", timeout=0.01),
    "promise": lambda ctx: ctx.promise(int, "p"),
    "publish": lambda ctx: ctx.publish("k", 1),
    "spend": lambda ctx: ctx.spend(usd=1),
    "reserve": in_a_reserve,
    "start_over": lambda ctx: ctx.start_over({}),
    "group": in_a_group,
    "run": lambda ctx: leaf_of(ctx).run({}),
    "run_no_wait": lambda ctx: leaf_of(ctx).run_no_wait({}),
    "run_many": lambda ctx: leaf_of(ctx).run_many([leaf_of(ctx).create_bulk_run_item({})]),
    "shared": lambda ctx: leaf_of(ctx).run({}, share="tree"),
    "aio_put_stream": lambda ctx: asyncio.run(ctx.aio_put_stream("late")),
    "aio_sleep_for": lambda ctx: asyncio.run(ctx.aio_sleep_for(0.001)),
    "aio_run": lambda ctx: asyncio.run(leaf_of(ctx).aio_run({})),
}


@pytest.mark.parametrize("kind", ["on a thread", "on a loop", "durable"])
@pytest.mark.parametrize("again", [False, True])
def test_a_thread_that_an_attempt_left_behind_is_told_and_writes_nothing(
    app: Fanwood, url: str, kind: str, again: bool
) -> None:
    """Its run has ended, or is in its next attempt."""
    left: list[tuple[Context, Any]] = []
    begun, go_on = threading.Event(), threading.Event()

    @app.task
    def leaf(input: dict) -> int:
        return 1

    def body(ctx: Context) -> int:
        if ctx.retry_count:
            begun.set()
            go_on.wait(PATIENCE)
            return 1
        ctx._attempt.lifespan = leaf
        left.append((ctx, with_context(lambda act, ctx: act(ctx))))
        if again:
            raise ValueError("once more")
        return 1

    @app.task(name="on a thread", retries=1, execution_timeout=3600)
    def on_a_thread(input: dict, ctx: Context) -> int:
        return body(ctx)

    @app.task(name="on a loop", retries=1, execution_timeout=3600)
    async def on_a_loop(input: dict, ctx: Context) -> int:
        return await asyncio.to_thread(body, ctx)

    @app.durable_task(name="durable", retries=1, execution_timeout=3600)
    async def durable(input: dict, ctx: Context) -> int:
        return await asyncio.to_thread(body, ctx)

    task = {"on a thread": on_a_thread, "on a loop": on_a_loop, "durable": durable}[kind]
    ref = task.run_no_wait({})
    if again:
        assert begun.wait(PATIENCE)
    else:
        ref.result(timeout=PATIENCE)
    ctx, within = left[0]
    until(lambda: ctx._attempt.code_ended, "its code has ended")
    for name, act in REFUSED.items():
        told: list[BaseException] = []

        def late(act: Any = act, told: list[BaseException] = told) -> None:
            try:
                within(act, ctx)
            except BaseException as error:
                told.append(error)

        thread = threading.Thread(target=late)
        thread.start()
        thread.join(PATIENCE)
        assert told, name
        assert isinstance(told[0], AttemptFencedError), (name, told)
        assert f"attempt 1 of run {ref.id} is over" in str(told[0]), name
    for act in LEFT_OUT.values():
        act(ctx)
    other = leaf.run_no_wait({}, detached=True)
    if kind != "durable":  # which would record it
        assert within(lambda _: other.result(timeout=PATIENCE), ctx) == 1  # to wait is anybody's
    go_on.set()
    assert ref.result(timeout=PATIENCE) == 1
    assert not app.runs.children(ref.id)
    assert not app.runs.logs(ref.id)
    assert app.runs.get(ref.id).status is RunState.COMPLETED
