"""A worker that can't know whether it was taken for dead begins nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from fanwood import Context, Fanwood, RunState
from fanwood.ids import id_bytes
from fanwood.model.commands import Batch, Committed, Failure
from fanwood.model.records import Swept
from fanwood.sdk.running.attempt import Attempt
from fanwood.worker import preparing
from fanwood.worker.executor import Executor
from tests.semantics.lapsing import lapsing

PATIENCE = 60.0


def until(condition: Callable[[], object], what: str) -> None:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < PATIENCE, what
        time.sleep(0.01)


@pytest.fixture
def app(make_app: Any) -> Fanwood:
    """Its lease lapses when a test says so, and not since the machine stood still."""
    return make_app(lease=60.0, heartbeat=0.2, sweep=0.2)


def test_nothing_is_claimed_while_the_lease_may_have_lapsed(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    renews, may_renew = threading.Event(), threading.Event()

    @app.task
    async def task(n: int) -> int:
        begun.append(n)
        return n

    assert task.run(0) == 0
    engine = app.engine()
    renew = engine.store.renew

    async def late(worker_id: int) -> bool:
        renews.set()
        while not may_renew.is_set():
            await asyncio.sleep(0.01)
        return await renew(worker_id)

    monkeypatch.setattr(engine.store, "renew", late)
    assert renews.wait(PATIENCE)  # no other heartbeat is under way
    engine.lease.until = 0.0
    assert not engine.lease.is_held
    ref = task.run_no_wait(1)
    engine.look()
    engine.call(lambda store: store.get(id_bytes(ref.id))).result(PATIENCE)
    assert ref.status() is RunState.QUEUED
    assert begun == [0]
    may_renew.set()
    assert ref.result(timeout=PATIENCE) == 1
    assert begun == [0, 1]
    assert app.runs.get(ref.id).attempt == 1, "it went back, perhaps again and again"
    until(lambda: engine.lease.is_held, "it holds a lease again")


def enter_anew(app: Fanwood) -> None:
    """Others have taken this worker for dead; it is another one from now on."""
    engine = app.engine()
    lost = (engine.worker_id, Failure("cancelled", message="the worker lost its lease"))
    engine.call(lambda _: engine._membership._register(engine.dispatcher, lost)).result(PATIENCE)


def renew_late(app: Fanwood) -> None:
    """The lease lapses, and is there again; whoever closed something meanwhile has not waited for this worker."""
    engine = app.engine()
    membership = engine._membership

    async def lapse(_: object) -> None:
        until, membership.lease.until = membership.lease.until, 0.0
        membership._leased(until)

    engine.call(lapse).result(PATIENCE)


@pytest.mark.parametrize("how", ["claimed", "born claimed"])
def test_what_was_being_claimed_as_the_lease_lapsed_goes_back(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The lease is there again before the answer is: who closed the run meanwhile has not waited for it."""
    begun: list[int] = []

    @app.task
    async def task(n: int, ctx: Context) -> int:
        begun.append(ctx.attempt_number)
        return n

    @app.task
    async def parent(n: int) -> int:
        return await task.aio_run(n)

    assert parent.run(0) == 0
    begun.clear()
    engine = app.engine()
    commit, lapsed = engine.store.commit, list[Batch]()

    async def late(worker_id: int, batch: Batch) -> Committed:
        committed = await commit(worker_id, batch)
        ours = [run.task for run in committed.claimed] + [each.kind.task for each in batch.spawns if each.claimed]
        if not lapsed and "task" in ours:
            lapsed.append(batch)
            lease, lease_until = engine.lease, engine.lease.until
            lease.until = 0.0
            engine._membership._leased(lease_until)
        return committed

    monkeypatch.setattr(engine.store, "commit", late)
    root: Any = task if how == "claimed" else parent
    assert root.run(1) == 1
    assert lapsed
    assert begun == [2]


@pytest.mark.parametrize(
    "meanwhile", ["the lease lapsed", "the lease lapsed, and is there again", "the lease was lost"]
)
@pytest.mark.parametrize("colour", ["async", "sync"])
def test_what_was_about_to_begin_does_not_begin_after_the_process_stood_still(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch, colour: str, meanwhile: str
) -> None:
    """Between the last look at the lease and its code: it was handed to its loop, or to a thread, already."""
    begun: list[int] = []

    async def begins(input: int, ctx: Context) -> int:
        begun.append(ctx.attempt_number)
        return input

    def begins_on_a_thread(input: int, ctx: Context) -> int:
        begun.append(ctx.attempt_number)
        return input

    prepare, frozen = Executor._prepare, list[Attempt]()
    lapses = lapsing(monkeypatch)

    def late(executor: Executor, attempt: Attempt) -> Any:
        if not frozen:
            frozen.append(attempt)
            if meanwhile == "the lease lapsed":
                lapses()
            elif meanwhile == "the lease lapsed, and is there again":
                renew_late(app)
            else:
                enter_anew(app)
        return prepare(executor, attempt)

    monkeypatch.setattr(Executor, "_prepare", late)
    task = app.task(name="begins")(begins if colour == "async" else begins_on_a_thread)
    assert task.run(1, timeout=PATIENCE) == 1
    assert len(begun) == 1
    assert begun[0] > frozen[0].run.attempt == 1


def test_a_heartbeat_that_waits_holds_up_nothing_else(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it held up: what an engine does in the background it does side by side."""
    blocked: Future[None] = Future()
    engine = app.engine()

    async def stuck(*_: Any, **__: Any) -> Any:
        if not blocked.done():
            blocked.set_result(None)
        await asyncio.sleep(3600)

    monkeypatch.setattr(engine.store, "look_around", stuck)
    blocked.result(PATIENCE)

    @app.task(retries=1, backoff_factor=2, backoff_max_seconds=1)
    async def flaky(n: int) -> int:
        tried.append(n)
        if len(tried) == 1:
            raise ValueError("once more")
        return n

    tried: list[int] = []
    assert flaky.run_no_wait(7).result(timeout=PATIENCE) == 7
    until(lambda: engine.lease.is_held, "it holds a lease again")


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_what_was_about_to_begin_does_not_begin_after_a_call_has_cancelled_its_tree(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch, colour: str
) -> None:
    """It had a slot, and its loop or thread had not come to it. (Nor had a sweep: the tree might be large.)"""
    begun: list[int] = []
    reached, may_go_on = threading.Event(), threading.Event()

    def body(n: int) -> int:
        begun.append(n)
        return n

    async def async_body(n: int) -> int:
        return body(n)

    task: Any = app.task(name="task")(async_body if colour == "async" else body)

    @app.task
    async def root(n: int) -> int:
        return await task.aio_run(n)

    prepare = Executor._prepare

    def late(self: Executor, attempt: Attempt) -> Any:
        if attempt.spec.name == "task" and not reached.is_set():
            reached.set()
            assert may_go_on.wait(PATIENCE)
        return prepare(self, attempt)

    async def nothing(*_: Any) -> Swept:
        return Swept(0, more=False)

    monkeypatch.setattr(Executor, "_prepare", late)
    monkeypatch.setattr(app.engine().store, "sweep", nothing)
    ref = root.run_no_wait(1)
    assert reached.wait(PATIENCE)
    app.runs.cancel(ref.id)
    may_go_on.set()
    monkeypatch.undo()
    assert task.run(2) == 2  # it is served as before
    assert begun == [2]
    until(lambda: all(run.status.is_terminal for run in app.runs.children(ref.id)), "what was not begun has ended")


@pytest.mark.parametrize("kind", ["async", "sync", "durable", "another version"])
def test_what_begins_has_its_lease_after_its_input_was_read(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A large input takes a while, in which the process may stand still, and others begin the run."""
    begun: list[int] = []

    async def begins(input: int, ctx: Context) -> int:
        begun.append(ctx.attempt_number)
        return input

    def begins_on_a_thread(input: int, ctx: Context) -> int:
        begun.append(ctx.attempt_number)
        return input

    code, lapses, read = preparing._code, lapsing(monkeypatch), list[int]()

    def slow(attempt: Attempt) -> Any:
        read.append(attempt.run.attempt)
        what = code(attempt)
        if attempt.run.attempt == lapses_in:
            lapses()
        return what

    monkeypatch.setattr(preparing, "_code", slow)
    lapses_in = 1
    task: Any
    if kind == "another version":  # of a run that goes on its version is read first
        lapses_in = 2

        @app.durable_task(name="begins", version="1", versions={"0": begins}, retries=1)
        async def goes_on(input: int, ctx: Context) -> int:
            if ctx.attempt_number == 1:
                raise ValueError("goes on in another attempt")
            return await begins(input, ctx)

        task = goes_on
    elif kind == "durable":
        task = app.durable_task(name="begins")(begins)
    else:
        task = app.task(name="begins")(begins if kind == "async" else begins_on_a_thread)
    assert task.run(1, timeout=PATIENCE) == 1
    assert begun == [lapses_in + 1]
    assert read == list(range(1, lapses_in + 2))
