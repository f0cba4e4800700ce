"""Waiting holds no slot: any tree finishes on any number of slots."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from fanwood import Context, TaskRunError, WaitTimeoutError
from tests.chaos.scale import scaled
from tests.serving import serving


def binary(app: Any, colour: str) -> Any:
    """A binary recursion: async, sync, or in turn."""

    @app.task
    async def async_node(input: int) -> int:
        if input == 0:
            return 1
        child = sync_node if colour == "mixed" else async_node
        return 1 + sum(await child.aio_run_many([child.create_bulk_run_item(input - 1) for _ in range(2)]))

    @app.task
    def sync_node(input: int) -> int:
        if input == 0:
            return 1
        child = async_node if colour == "mixed" else sync_node
        return 1 + sum(child.run_many([child.create_bulk_run_item(input - 1) for _ in range(2)]))

    return sync_node if colour == "sync" else async_node


@pytest.mark.parametrize("colour", ["async", "sync", "mixed"])
def test_a_binary_recursion_on_one_slot(make_app: Any, colour: str) -> None:
    app = make_app(slots=1, waiting_threads=2000)
    depth = scaled(8, 5)
    assert binary(app, colour).run(depth, timeout=150) == 2 ** (depth + 1) - 1


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_hundreds_of_parents_on_eight_slots(make_app: Any, colour: str) -> None:
    app = make_app(slots=8, waiting_threads=2000)

    if colour == "async":

        @app.task
        async def child(input: int) -> int:
            return input

        @app.task
        async def parent(input: int) -> int:
            return sum(await child.aio_run_many([child.create_bulk_run_item(i) for i in range(3)])) + input

    else:

        @app.task
        def child(input: int) -> int:
            return input

        @app.task
        def parent(input: int) -> int:
            return sum(child.run_many([child.create_bulk_run_item(i) for i in range(3)])) + input

    results = parent.run_many([parent.create_bulk_run_item(i) for i in range(200)], timeout=150)
    assert results == [3 + i for i in range(200)]


def test_no_more_than_the_slots_execute_at_a_time(make_app: Any) -> None:
    app = make_app(slots=2)
    lock = threading.Lock()
    now, most = 0, 0

    @app.task
    def leaf(input: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        both.wait(60)
        with lock:
            now -= 1

    @app.task
    async def parent() -> None:
        await leaf.aio_run_many([leaf.create_bulk_run_item(i) for i in range(20)])

    both = threading.Barrier(2)
    parent.run()
    assert most == 2


def test_concurrent_waits_of_one_run_on_one_slot(make_app: Any) -> None:
    """One coroutine's wait ends while another of the same run begins to wait: the slot must be free for its child."""
    app = make_app(slots=1)

    @app.task
    async def child(input: int) -> int:
        return input

    @app.task
    async def parent(input: int) -> int:
        async def chain(start: int) -> int:
            total = 0
            for step in range(6):
                for _ in range((start * 7 + step) % 5):
                    await asyncio.sleep(0)
                total += await child.aio_run(100 * start + step)
            return total

        return sum(await asyncio.gather(*(chain(n) for n in range(5))))

    expected = sum(100 * n + step for n in range(5) for step in range(6))
    items = [parent.create_bulk_run_item(n) for n in range(4)]
    assert parent.run_many(items, timeout=60) == [expected] * 4


def test_a_wait_that_is_given_up_by_asyncio_leaves_the_slot_in_order(make_app: Any) -> None:
    app = make_app(slots=1)
    gate = asyncio.Event()

    @app.task
    async def stuck(input: int) -> None:
        await gate.wait()

    @app.task
    async def quick(input: int) -> int:
        return input

    @app.task
    async def parent() -> int:
        refs = [await stuck.aio_run_no_wait(n) for n in range(2)]
        for ref in refs:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await ref
            with pytest.raises(WaitTimeoutError):
                await ref.aio_result(timeout=0.01)
        gate.set()
        return await quick.aio_run(5)

    assert parent.run(timeout=60) == 5


def test_too_many_waiting_threads_is_an_error_that_says_so(make_app: Any) -> None:
    app = make_app(slots=4, waiting_threads=3)

    @app.task
    def deep(input: int) -> int:
        return deep.run(input - 1) + 1 if input else 0

    assert deep.run(3) == 3
    with pytest.raises(TaskRunError, match="waiting_threads"):
        deep.run(5)
    assert deep.run(2) == 2


def test_durable_tasks_wait_on_few_threads(make_app: Any) -> None:
    """For children, sleeps, events, for moments; and those of other tasks are let in among them."""
    app = make_app(slots=2, waiting_threads=2)
    most: list[int] = []

    @app.task
    def child(n: int) -> int:
        return n

    @app.durable_task
    def waits(n: int, ctx: Context) -> int:
        most.append(sum(thread.name.startswith("fanwood-task") for thread in threading.enumerate()))
        found = child.run(n)
        if n % 3 == 0:
            ctx.sleep_for("1.1s")
        elif n % 3 == 1:
            ctx.wait_for_event("go", lookback_window="1h")
        else:
            ctx.sleep_for(0.001)
        return found + child.run(n)

    @app.task
    def plain(n: int) -> int:
        return child.run(n)

    refs = [waits.run_no_wait(n) for n in range(24)]
    assert plain.run(5, timeout=60) == 5
    app.events.push("go", {})
    assert [ref.result(60) for ref in refs] == [2 * n for n in range(24)]
    assert max(most) <= 2 + 2 + 14  # of 24: there is the loop's, and some of those that end


def test_release_slot_lets_others_in(make_app: Any) -> None:
    app = make_app(slots=1)
    gate = threading.Event()

    @app.task
    def outside(input: dict[str, Any], ctx: Context) -> str:
        ctx.release_slot()
        assert gate.wait(60)
        return inside.run(2)

    @app.task
    def inside(input: int) -> str:
        gate.set()
        return f"in {input}"

    ref = outside.run_no_wait({})
    assert inside.run(1, timeout=60) == "in 1"
    assert ref.result(timeout=60) == "in 2"


@pytest.mark.parametrize("colour", ["async", "sync"])
@pytest.mark.parametrize("in_bulk", [False, True])
def test_a_parent_whose_child_nobody_serves_says_so(
    make_app: Any, caplog: pytest.LogCaptureFixture, colour: str, in_bulk: bool
) -> None:
    app = make_app(local_worker=False, no_worker_warning=0.1)

    @app.task
    async def served(input: int) -> int:
        return input

    @app.task
    async def build_report(input: int) -> int:
        return input

    items = [served.create_bulk_run_item(1)] * in_bulk + [build_report.create_bulk_run_item(1)]

    @app.task
    async def async_parent() -> int:
        return len(await served.aio_run_many(items))

    @app.task
    def sync_parent() -> int:
        return len(served.run_many(items))

    parent = async_parent if colour == "async" else sync_parent
    said = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "No live worker serves build_report" in record.getMessage():
                said.set()

    listener = Listener()
    logging.getLogger("fanwood").addHandler(listener)
    worker = app.worker("half", workflows=[served, async_parent, sync_parent])
    with serving(worker):
        ref = parent.run_no_wait()
        assert said.wait(60)
        ref.cancel()
    logging.getLogger("fanwood").removeHandler(listener)
    assert "serves served" not in caplog.text
