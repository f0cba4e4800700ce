"""Who spawns and waits in one call owns what he spawned: a wait that is cancelled cancels the children; but not one
that ends with its attempt, which waits again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fanwood import Context, EmptyModel, EvictionPolicy, Fanwood, RunState, TaskRunCancelled, TaskRunError, TaskRunRef
from fanwood.sdk.children.given_up import SOME
from fanwood.sdk.tasks.rehearsing import rehearse
from tests.semantics.test_durable import until
from tests.semantics.test_sameness import _runs as runs_of
from tests.serving import serving

COUNTS = {"many": 3, "many queued": 12}


def children(app: Fanwood) -> tuple[Any, threading.Event]:
    """A child that ends when it is let, and the letting."""
    gate = threading.Event()

    @app.task
    async def child(input: int) -> int:
        while not gate.is_set():
            await asyncio.sleep(0.002)
        return input

    return child, gate


async def fails() -> None:
    await asyncio.sleep(0.02)
    raise ValueError


async def wait_for_a_moment(child: Any, how: str) -> None:
    many = [child.create_bulk_run_item(n) for n in range(COUNTS.get(how, 0))]
    if how == "group":
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(child.aio_run(0))
                group.create_task(fails())
    elif how == "race":
        waits = [asyncio.ensure_future(child.aio_run(0)), asyncio.ensure_future(asyncio.sleep(0.02))]
        _, lost = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in lost:
            wait.cancel()
    else:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.03):
                await (child.aio_run_many(many) if many else child.aio_run(0))


def refs_below(app: Fanwood, run_id: str) -> list[TaskRunRef[Any]]:
    return [app.runs.get_run_ref(child.id) for child in app.runs.children(run_id)]


@pytest.mark.parametrize(
    ("how", "then"),
    [
        ("timeout", "ends"),
        ("many queued", "ends"),
        ("timeout", "goes on"),
        ("group", "goes on"),
        ("race", "goes on"),
        ("many", "goes on"),
    ],
)
def test_a_wait_that_is_cancelled_cancels_what_it_spawned(make_app: Any, how: str, then: str) -> None:
    app = make_app(slots=4)
    child, gate = children(app)
    over = asyncio.Event()

    @app.task
    async def parent() -> str:
        await wait_for_a_moment(child, how)
        if then == "goes on":
            await over.wait()
        return "went on"

    ref = parent.run_no_wait()
    if then == "ends":
        assert ref.result(timeout=60) == "went on"
    found = waited_for(app, ref.id, COUNTS.get(how, 1))
    for one in found:
        with pytest.raises(TaskRunCancelled, match="who waited for it was cancelled"):
            one.result(timeout=60)
    gate.set()
    if then == "goes on":
        assert not ref.status().is_terminal
        ref.cancel()


async def came_out(child: Any, how: str) -> str:
    """What code is told that gives up."""
    try:
        if how == "wait_for":
            await asyncio.wait_for(child.aio_run(0), 0.03)
        elif how == "task group":
            async with asyncio.TaskGroup() as group:
                group.create_task(child.aio_run(0))
                group.create_task(fails())
        elif how == "race":
            waits = [asyncio.ensure_future(child.aio_run(0)), asyncio.ensure_future(asyncio.sleep(0.03))]
            done, lost = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in lost:
                wait.cancel()
            return str([wait in done for wait in waits])
        else:
            many = [child.create_bulk_run_item(n) for n in range(3)]
            async with asyncio.timeout(0.03):
                await (child.aio_run_many(many, return_exceptions=True) if how == "many" else child.aio_run(0))
    except (Exception, ExceptionGroup) as error:
        return repr([type(each) for each in getattr(error, "exceptions", [error])])
    return "it waited"


@pytest.mark.parametrize("how", ["timeout", "wait_for", "many", "race", "task group"])
def test_durable_code_that_is_run_again_is_told_what_it_was_told_when_it_gave_up(
    make_app: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not that its children were cancelled."""
    monkeypatch.setattr("fanwood.sdk.tasks.rehearsing.PATIENCE", 60.0)
    app, told = make_app(local_worker=False), list[str]()
    child, _ = children(app)

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def parent(input: dict, ctx: Context) -> int:
        told.append(await came_out(child, how))
        await ctx.aio_wait_for_event("on", lookback_window="1h")
        return ctx.invocation_count

    ref = parent.run_no_wait({})
    with serving(app.worker("only")):
        until(app, ref.id, RunState.WAITING)
        (run,) = runs_of(app, parent)
        assert how == "many" or rehearse(app, parent.spec, run).text is None
        app.events.push("on")
        assert ref.result(60) == 2
    assert len(set(told)) == 1
    assert told[0] != "it waited"
    assert "TaskRunCancelled" not in told[0]


def waited_for(app: Fanwood, run_id: str, count: int) -> list[TaskRunRef[Any]]:
    """The children, once so many are there."""
    while len(found := refs_below(app, run_id)) < count:
        threading.Event().wait(0.005)
    assert len(found) == count
    return found


@pytest.mark.parametrize("how", ["a reference", "shielded", "not waited for", "a root"])
def test_what_is_kept(app: Fanwood, how: str) -> None:
    child, gate = children(app)
    kept: list[str] = []

    @app.task
    async def parent() -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:
                owns_nothing = how not in ("shielded", "a root")
                given = await child.aio_run(7, wait_for_result=False) if owns_nothing else None
                limit.reschedule(asyncio.get_running_loop().time() + 0.03)
                if how == "shielded":
                    await asyncio.shield(child.aio_run(7))
                elif how == "a root":
                    await child.aio_run(7, detached=True)
                else:
                    await (given if given is not None and how == "a reference" else asyncio.Event().wait())
        return "went on"

    ref = parent.run_no_wait()
    assert ref.result(timeout=60) == "went on"
    kept = [run.id for run in app.runs.list(task_name="child", all_runs=True)]
    gate.set()
    assert [app.runs.get_result(run, timeout=60) for run in kept] == [7]


def test_what_another_one_waits_for_goes_on(app: Fanwood) -> None:
    """Two waits for one child, by its key: it ends with the last of them."""
    child, gate = children(app)

    @app.task
    async def parent() -> int:
        lost, kept = (asyncio.ensure_future(child.aio_run(7, child_key="one")) for _ in range(2))
        await asyncio.sleep(0.02)
        lost.cancel()
        await asyncio.sleep(0.02)
        gate.set()
        return await kept

    assert parent.run(timeout=60) == 7


def test_a_wait_that_times_out_with_its_attempt_cancels_nothing(app: Fanwood) -> None:
    child, gate = children(app)
    tries: list[int] = []

    @app.task(execution_timeout=2.5, retries=5)
    async def parent(input: EmptyModel, ctx: Context) -> int:
        tries.append(1)
        if len(tries) == 2:
            ctx.refresh_timeout(600)
            gate.set()
        async with asyncio.timeout(100):
            return (await child.aio_run_many([child.create_bulk_run_item(7, on_parent_end="continue")]))[0]

    ref = parent.run_no_wait()
    assert ref.result(timeout=60) == 7
    assert [run.status.name for run in app.runs.children(ref.id)] == ["COMPLETED"]


@pytest.mark.parametrize("how", ["its worker stops", "its loop ends"])
def test_a_wait_that_is_handed_back_cancels_nothing(make_app: Any, how: str) -> None:
    app = make_app(local_worker=how == "its loop ends", grace=0)
    child, gate = children(app)
    begun = threading.Event()

    @app.task
    async def parent() -> list[int]:
        begun.set()
        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            waits = [group.create_task(child.aio_run(n)) for n in range(2)]
        return [wait.result() for wait in waits]

    async def main() -> str:
        ref = await parent.aio_run_no_wait()
        await asyncio.to_thread(begun.wait, 60)
        while len(await app.runs.aio_children(ref.id)) < 2:
            await asyncio.sleep(0.002)
        return ref.id

    if how == "its loop ends":
        run_id = asyncio.run(main())
        gate.set()
        assert app.runs.get_result(run_id, timeout=60) == [0, 1]
        return
    with serving(app.worker()):
        run_id = asyncio.run(main())
    gate.set()
    with serving(app.worker()):
        assert app.runs.get_result(run_id, timeout=60) == [0, 1]


def test_what_is_cancelled_has_ended_before_it_is_asked_for_again(app: Fanwood) -> None:
    """Else what it waits for would be cancelled under it, with the attempt before."""

    @app.task
    async def member(n: int, ctx: Context) -> str:
        return await ctx.aio_wait_for_event("go")

    @app.task(retries=1)
    async def parent(_: dict, ctx: Context) -> list[str]:
        async with ctx.group() as group:
            group.spawn(member, 1)
            if ctx.retry_count == 0:
                await _waits(app, ctx)
                raise ValueError("once more")
            await _waits(app, ctx)
            await app.events.aio_push("go", "went")
        return [outcome.result() for outcome in group.outcomes]

    assert parent.run({}, timeout=60) == ["went"]


async def _waits(app: Fanwood, ctx: Context) -> None:
    """Until a child of it waits."""
    while True:
        for child in await app.runs.aio_children(ctx.task_run_id):
            if any(each.status is RunState.WAITING for each in await app.runs.aio_children(child.id)):
                return
        await asyncio.sleep(0.002)


def test_what_is_given_up_before_it_was_asked_for_anew_is_cancelled(app: Fanwood) -> None:
    """The second attempt asks for the child of the first, and gives up before the store has heard of it."""
    child, gate = children(app)
    asking, gave_up, cancelling = threading.Event(), threading.Event(), threading.Event()

    @app.task(retries=1)
    async def parent(_: dict, ctx: Context) -> str:
        if ctx.retry_count == 0:
            await child.aio_run_no_wait(0)
            raise ValueError
        waits = asyncio.ensure_future(child.aio_run(0))
        await asyncio.to_thread(asking.wait, 60)
        waits.cancel()
        await asyncio.wait([waits])
        gave_up.set()
        return "went on"

    store: Any = app.engine().store
    commit, cancel_children = store.commit, store.cancel_children

    async def late(worker: int, batch: Any) -> Any:
        if batch.attaches:
            asking.set()
            await asyncio.to_thread(gave_up.wait, 60)
            await asyncio.to_thread(cancelling.wait, 0.1)  # it comes too early, or not before this is done
        return await commit(worker, batch)

    async def cancels(*about: Any) -> Any:
        try:
            return await cancel_children(*about)
        finally:
            cancelling.set()

    store.commit, store.cancel_children = late, cancels
    ref = parent.run_no_wait({})
    assert ref.result(timeout=60) == "went on"
    (found,) = refs_below(app, ref.id)
    with pytest.raises(TaskRunCancelled, match="who waited for it was cancelled"):
        found.result(timeout=60)
    gate.set()


@pytest.mark.parametrize("how", ["one call", "two calls", "a page"])
def test_equal_ones_that_are_given_up_before_they_were_asked_for_anew(app: Fanwood, how: str) -> None:
    """Of the attempt before, the first had failed and the others live: they are cancelled, whatever became of it; and
    what failed and has no equal that lives is not begun again for nothing."""
    chosen, began = list[str](), list[int]()
    other = SOME + 1 if how == "a page" else 3

    @app.task
    async def equal(input: int, ctx: Context) -> None:
        if input:
            began.append(input)
            raise ValueError("another")
        while not chosen or ctx.task_run_id != chosen[0]:
            await asyncio.sleep(0.002)
        raise ValueError("the first")

    @app.task(retries=1)
    async def parent(_: dict, ctx: Context) -> str:
        items = [equal.create_bulk_run_item(n) for n in (*range(1, other - 2), 0, 0, 0)]
        if ctx.retry_count == 0:
            refs = await equal.aio_run_many_no_wait(items)
            chosen.append(refs[-3].id)
            for ref in refs[:-2]:
                with contextlib.suppress(TaskRunError):
                    await ref.aio_result()
            raise LookupError("once more")
        for some in (items[:-2], items[-2:]) if how == "two calls" else (items,):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await equal.aio_run_many(some)
        return "went on"

    ref = parent.run_no_wait({})
    assert ref.result(timeout=60) == "went on"
    runs = app.runs.list(all_runs=True, task_name="equal", limit=1000)
    living = [run for run in runs if app.runs.get(run.id).input == 0 and run.id != chosen[0]]
    assert len(living) >= 2
    for run in living:
        with pytest.raises(TaskRunCancelled, match="who waited for it was cancelled"):
            app.runs.get_run_ref(run.id).result(timeout=60)
    assert sorted(began) == list(range(1, other - 2))


@pytest.mark.parametrize("how", ["one", "many", "keys", "map", "map of what comes", "group"])
def test_what_durable_code_gives_up_before_it_was_asked_for_anew_is_cancelled(make_app: Any, how: str) -> None:
    """What ends its block has come already when the code is run again: that is told sooner than the children are known.
    It has asked for them all the same: so an equal one that it asks for afterwards is another one each time."""
    app = make_app(local_worker=False)
    child, gate = children(app)

    async def come() -> AsyncIterator[int]:
        for _ in range(3):
            yield 0

    async def waits(ctx: Context) -> None:
        if how == "one":
            await child.aio_run(0)
        elif how.startswith("map"):
            async for _ in child.aio_map([0, 0, 0] if how == "map" else come()):
                pass
        elif how == "group":
            async with ctx.group("some") as group:
                for _ in range(3):
                    group.spawn(child, 0)
        else:
            items = [child.create_bulk_run_item(0, key=f"{n}" if how == "keys" else None) for n in range(3)]
            await child.aio_run_many(items)

    @app.durable_task(strict=True, eviction_policy=EvictionPolicy(ttl=0))
    async def parent(input: dict, ctx: Context) -> list[int]:
        async def raises() -> None:
            await ctx.aio_wait_for_event("raise", lookback_window="1h")
            raise ValueError

        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(waits(ctx))
                group.create_task(raises())
        other = await child.aio_run_no_wait(0)
        await ctx.aio_wait_for_event("on", lookback_window="1h")
        return [await other.aio_result(), ctx.invocation_count]

    ref, count = parent.run_no_wait({}), 1 if how == "one" else 3
    with serving(app.worker("only")):
        until(app, ref.id, RunState.WAITING)
        found = [one for one in app.runs.children(ref.id) if one.task_name == "child"]
        assert len(found) == count
        app.events.push("raise")
        for one in (app.runs.get_run_ref(each.id) for each in found):
            with pytest.raises(TaskRunCancelled, match="who waited for it was cancelled"):
                one.result(timeout=60)
        until(app, ref.id, RunState.WAITING)
        gate.set()
        app.events.push("on")
        assert ref.result(60)[0] == 0


@pytest.mark.timeout(120)
def test_what_durable_code_gives_up_may_have_no_end(app: Fanwood):
    """It is not gone through for ever when the code is run again and asks for it while the wait is over already."""
    child, gate = children(app)
    asked = 0

    def without_end() -> Iterator[Any]:
        nonlocal asked
        while True:
            asked += 1
            yield child.create_bulk_run_item(asked)
            assert asked < 100_000, "it goes on and on"

    @app.durable_task(strict=False, eviction_policy=EvictionPolicy(ttl=0))
    async def parent(input: dict, ctx: Context) -> int:
        if ctx.invocation_count == 1:
            await child.aio_run_many_no_wait([child.create_bulk_run_item(0)])
            await ctx.aio_wait_for_event("on", lookback_window="1h")
        waits = asyncio.ensure_future(child.aio_run_many(without_end()))
        await asyncio.sleep(0)
        waits.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waits
        return ctx.invocation_count

    ref = parent.run_no_wait({})
    until(app, ref.id, RunState.WAITING)
    app.events.push("on")
    assert ref.result(60) > 1
    assert asked < 100_000
    gate.set()
