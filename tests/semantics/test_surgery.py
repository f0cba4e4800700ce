"""What is done to whole subtrees by hand: pausing, going on, other priorities, what failed, results by hand."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest

from fanwood import InputValidationError, RunNotFoundError, RunState, TaskRunError, UsageError, after
from tests.faults.processes import until


def test_nothing_begins_once_the_call_has_returned(make_app: Any) -> None:
    """Neither what waits in the worker for a slot, nor what is spawned; what executes goes on."""
    app = make_app(slots=2)
    lock, go, begun = threading.Lock(), threading.Event(), list[int]()

    @app.task
    def leaf(input: int) -> int:
        with lock:
            begun.append(input)
        go.wait(60)
        return input

    @app.task
    async def root(input: int) -> list[int]:
        first = await leaf.aio_run_many([leaf.create_bulk_run_item(n) for n in range(20)])
        return [*first, *await leaf.aio_run_many([leaf.create_bulk_run_item(n) for n in range(100, 105)])]

    ref = root.run_no_wait(0)
    until(lambda: len(begun) == 2, "both slots are busy")
    assert app.runs.pause(ref.id, by="ann")
    assert not app.runs.pause(ref.id)
    at_return = len(begun)
    go.set()
    until(
        lambda: sum(run.status is RunState.WAITING for run in app.runs.children(ref.id)) >= 18,
        "what was queued waits, as claims met it",
    )
    assert len(begun) == at_return == 2
    (waiting, *_) = [run for run in app.runs.children(ref.id) if run.status is RunState.WAITING]
    assert waiting.waits == "resume"
    assert "is paused by ann" in app.runs.why(waiting.id).text
    assert app.runs.get(ref.id).status is RunState.RUNNING
    assert app.runs.resume(ref.id)
    assert not app.runs.resume(ref.id)
    assert len(ref.result(timeout=60)) == 25


def test_a_root_that_has_not_begun_waits(make_app: Any) -> None:
    app = make_app()

    @app.task
    async def root() -> str:
        return "done"

    with pytest.raises(RunNotFoundError):
        app.runs.pause("0" * 32)
    with pytest.raises(UsageError):
        app.runs.pause(root.run_no_wait().id, by=7)
    done = root.run_no_wait()
    assert done.result(timeout=60) == "done"
    assert app.runs.pause(done.id)  # as it may be replayed
    assert app.runs.replay(done.id)
    until(lambda: app.runs.get(done.id).waits == "resume", "the claim has met it")
    assert app.runs.resume(done.id)
    assert done.result(timeout=60) == "done"


def test_code_of_a_durable_task_pauses_once(make_app: Any) -> None:
    app = make_app()

    @app.task
    async def other() -> str:
        return "done"

    @app.durable_task
    async def keeper() -> list[bool]:
        ref = await other.aio_run_no_wait(detached=True)
        paused = await app.runs.aio_pause(ref.id)
        return [paused, await app.runs.aio_resume(ref.id)]

    assert keeper.run(timeout=60) == [True, True]


def test_another_priority_reorders_what_a_worker_has_claimed_ahead(make_app: Any) -> None:
    """What was first is last, and what its parent spawns later as well."""
    app = make_app(slots=3)
    go, later, order = threading.Event(), threading.Event(), list[int]()

    @app.task
    def leaf(input: int) -> int:
        order.append(input)
        go.wait(60)
        return input

    @app.task
    async def root(input: int) -> int:
        while input and not later.is_set():
            await asyncio.sleep(0.01)
        first = await leaf.aio_run_many([leaf.create_bulk_run_item(input + n) for n in range(10)])
        return len(first) + len(await leaf.aio_run_many([leaf.create_bulk_run_item(input + 50)]))

    quick = root.run_no_wait(100)
    until(lambda: app.runs.get(quick.id).status is RunState.RUNNING, "it has a slot")
    slow = root.run_no_wait(0)
    until(lambda: len(order) == 2, "the other slots are busy")
    later.set()
    until(lambda: len(order) == 3, "it waits, and has let go of its slot")
    assert app.runs.reprioritize(slow.id, -5, by="ann") == 1
    assert app.runs.reprioritize(slow.id, -5) == -5
    for wrong in (2**31, -(2**31) - 1, 2**63, 1.0, True, float("nan"), None, "3"):
        with pytest.raises(UsageError):
            app.runs.reprioritize(slow.id, wrong)
    with pytest.raises(RunNotFoundError):
        app.runs.reprioritize("0" * 32, 1)
    go.set()
    assert (slow.result(timeout=60), quick.result(timeout=60)) == (11, 11)
    assert {run.priority for run in app.runs.children(slow.id)} == {-5}
    assert {run.priority for run in app.runs.children(quick.id)} == {1}
    last_of_quick = max(at for at, number in enumerate(order) if 100 <= number < 110)
    assert sum(number < 100 for number in order[:last_of_quick]) < 8, order  # (one claimed run in eight is the oldest)
    assert app.runs.logs(slow.id)[0].message == "given priority -5 by ann; it had 1"


def test_only_what_failed_is_done_again(make_app: Any) -> None:
    """Also below what had completed all the same; what completed is not done again, and what is elsewhere is let be."""
    app = make_app()
    broken, begun = threading.Event(), list[str]()
    broken.set()

    @app.task
    async def leaf(input: str) -> str:
        begun.append(input)
        if input.endswith("bad") and broken.is_set():
            raise ValueError(input)
        return input

    @app.task
    async def middle(input: str) -> list[str]:
        begun.append(input)
        items = [leaf.create_bulk_run_item(f"{input} {how}") for how in ("good", "bad")]
        found = await leaf.aio_run_many(items, return_exceptions=True)
        if input == "strict" and any(isinstance(each, Exception) for each in found):
            raise RuntimeError(input)
        return [str(each)[:11] for each in found if not isinstance(each, Exception)]

    @app.task
    async def root() -> list[Any]:
        begun.append("root")
        items = [middle.create_bulk_run_item(name) for name in ("lax", "strict")]
        found = await middle.aio_run_many(items, return_exceptions=True)
        return [
            *(each if isinstance(each, list) else type(each).__name__ for each in found),
            await leaf.aio_run("alone"),
        ]

    ref = root.run_no_wait()
    assert ref.result(timeout=60) == [["lax good"], "TaskRunError", "alone"]
    assert app.runs.retry_failures(ref.id) == 3  # nothing was mended: the two leaves, and what is strict
    assert ref.result(timeout=60) == [["lax good"], "TaskRunError", "alone"]
    again = ["root", "lax", "lax bad", "strict", "strict bad"]
    assert sorted(begun) == sorted([*again, *again, "lax good", "strict good", "alone"])
    begun.clear()
    broken.clear()
    (lax, _, _) = app.runs.children(ref.id)
    assert app.runs.retry_failures(lax.id) == 1
    assert app.runs.get_result(lax.id) == ["lax good", "lax bad"]
    assert sorted(begun) == ["lax", "lax bad"]
    assert app.runs.retry_failures(ref.id) == 2
    assert ref.result(timeout=60) == [["lax good", "lax bad"], ["strict good", "strict bad"], "alone"]
    assert sorted(begun) == sorted(["lax", "lax bad", "root", "strict", "strict bad"])
    assert app.runs.retry_failures(ref.id) == 0
    with pytest.raises(RunNotFoundError):
        app.runs.retry_failures("0" * 32)


@pytest.mark.parametrize("of", ["the root", "a run that shares it"])
def test_what_failed_for_those_who_share_it_is_done_again(make_app: Any, of: str) -> None:
    """Though all who asked for it have completed."""
    app, failing = make_app(), [True]

    @app.task
    def rate(input: str) -> int:
        if failing:
            raise ValueError("no rate")
        return 7

    @app.task
    def leaf(input: int) -> int:
        try:
            return input * rate.run("EUR", share="tree")
        except TaskRunError:
            return 0

    @app.task
    def top(input: int) -> int:
        return sum(leaf.run_many([leaf.create_bulk_run_item(n) for n in (1, 2)]))

    ref = top.run_no_wait(0)
    assert ref.result(timeout=60) == 0
    failing.clear()
    which = ref.id if of == "the root" else app.runs.children(ref.id)[0].id
    assert app.runs.retry_failures(which) == 1
    until(lambda: app.runs.get(which).status is RunState.COMPLETED, "it has run again")
    assert app.runs.get(which).output == (21 if which == ref.id else 7)
    if which == ref.id:
        assert app.runs.retry_failures(which) == 0


def test_a_hedge_that_failed_is_nothing_to_retry(make_app: Any) -> None:
    """What it was to help has completed, and nobody asks for it again: it would be retried for ever."""
    app, turns, seen = make_app(), itertools.count(), threading.Event()

    @app.task
    def leaf(input: int) -> int:
        if next(turns):
            raise ValueError("the second one")
        seen.wait(60)
        return input

    @app.task
    def top(input: int) -> int:
        return leaf.run(input, hedge=after(0.001))

    ref = top.run_no_wait(1)
    until(lambda: any(run.status is RunState.FAILED for run in app.runs.children(ref.id)), "its hedge has failed")
    seen.set()
    assert ref.result(timeout=60) == 1
    assert app.runs.retry_failures(ref.id) == 0


def test_a_result_by_hand(make_app: Any) -> None:
    """It ends what hangs, its parent goes on with it, and it must be of the type that the task returns."""
    app = make_app()
    begun, stopped = threading.Event(), threading.Event()

    @app.task
    async def hangs() -> int:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise
        return 0

    @app.task
    async def root() -> int:
        return 1 + await hangs.aio_run()

    ref = root.run_no_wait()
    assert begun.wait(60)
    (child,) = app.runs.children(ref.id)
    with pytest.raises(InputValidationError):
        app.runs.patch(child.id, output="forty")
    with pytest.raises(RunNotFoundError):
        app.runs.patch("0" * 32, output=1)
    assert app.runs.patch(child.id, output=41, by="ann") is RunState.RUNNING
    assert ref.result(timeout=60) == 42
    assert stopped.wait(60)
    assert [line.message for line in app.runs.logs(child.id)] == ["patched by ann; it was RUNNING"]
    assert app.runs.patch(child.id, output=1) is RunState.COMPLETED  # (its parent has ended)
    assert app.runs.patch(ref.id, output=2) is RunState.COMPLETED
    assert app.runs.get_result(ref.id) == 2
