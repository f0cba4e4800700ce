"""Where async tasks execute: on loops of the user's, which stop and end as he likes."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from fanwood import Context, TaskRunError
from fanwood.sdk.running.attempt import Attempt
from fanwood.worker.executor import Executor
from tests.conftest import MakeApp


def test_a_loop_that_is_stopped_and_not_closed_hangs_nobody(make_app: MakeApp) -> None:
    app = make_app(sweep=0.02)
    go_on = threading.Event()

    @app.task
    async def child(n: int) -> int:
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        return n

    @app.task
    async def parent(n: int) -> int:
        return sum([await child.aio_run(i) for i in range(n)])

    async def begin() -> Any:
        ref = await parent.aio_run_no_wait(3)
        while not await app.runs.aio_children(ref.id):
            await asyncio.sleep(0.001)
        return ref

    with asyncio.Runner() as runner:
        ref = runner.run(begin())
        go_on.set()
        assert ref.result(timeout=60) == 3
        assert runner.run(child.aio_run(7)) == 7  # and the loop, once it goes on, is as good as before


@pytest.mark.parametrize("how", ["task", "durable"])
def test_what_outlives_one_loop_after_another_ends_all_the_same(make_app: MakeApp, how: str) -> None:
    """It was taken for what cancels itself after the third. (Each loop ends while all that there is runs on it.)"""
    app, begun, go_on = make_app(sweep=0.02), list[int](), threading.Event()

    async def work(n: int, ctx: Context) -> int:
        begun.append(n)
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        return n

    task = app.task(work) if how == "task" else app.durable_task(work)
    refs: list[Any] = []

    async def begin(loop: int) -> None:
        refs.append(await task.aio_run_no_wait(loop))
        while loop not in begun:
            await asyncio.sleep(0.001)

    for loop in range(6):
        asyncio.run(begin(loop))
    go_on.set()
    assert [ref.result(timeout=60) for ref in refs] == [*range(6)]


def test_what_cancels_itself_is_not_handed_back_for_ever(make_app: MakeApp) -> None:
    app, times = make_app(), list[int]()

    @app.task
    async def task(n: int) -> None:
        times.append(n)
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await asyncio.sleep(60)

    async def run() -> None:
        with pytest.raises(TaskRunError, match="CancelledError"):
            await task.aio_run(1)

    asyncio.run(run())
    assert len(times) == 4


def test_what_goes_back_from_a_stopped_loop_may_be_here_again_at_once(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was forgotten as what had gone back, and nobody executed it. (Who asks for the result sees that the loop was
    stopped; the sweep sees it too, but the engine, whose it is, claims nothing meanwhile.)"""
    app, begun, hand_back = make_app(sweep=60), threading.Event(), Executor._hand_back
    end = time.monotonic() + 60

    def slowly(executor: Executor, attempt: Attempt) -> None:
        with executor._place.lock:  # nothing begins meanwhile
            hand_back(executor, attempt)
            while executor._running.get(attempt.run.id) in (None, attempt):
                assert time.monotonic() < end
                time.sleep(0.001)

    monkeypatch.setattr(Executor, "_hand_back", slowly)

    @app.task
    async def waits(n: int) -> int:
        if not begun.is_set():
            begun.set()
            await asyncio.sleep(3600)
        return n

    async def begin() -> Any:
        ref = await waits.aio_run_no_wait(3)
        while not begun.is_set():
            await asyncio.sleep(0.001)
        return ref

    with asyncio.Runner() as runner:
        ref = runner.run(begin())
        assert ref.result(timeout=60) == 3


def test_what_begins_on_a_loop_while_it_ends_begins_anew_elsewhere(make_app: MakeApp) -> None:
    """`asyncio.run` cancels the tasks that it finds, and waits for those; what comes afterwards it leaves as it is."""
    app = make_app(sweep=0.02)
    cancelled, begun = threading.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    @app.task
    async def stubborn(_: None, ctx: Context) -> int:
        if ctx.attempt_number == 1:
            loops.append(asyncio.get_running_loop())
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
                while not begun.is_set():
                    await asyncio.sleep(0.001)
        return ctx.attempt_number

    @app.task
    async def late(_: None) -> str:
        if asyncio.get_running_loop() is loops[0]:
            begun.set()
            await asyncio.Event().wait()
        return "elsewhere"

    async def main() -> Any:
        ref = await stubborn.aio_run_no_wait(None)
        while not loops:
            await asyncio.sleep(0.001)
        return ref

    refs: list[Any] = []
    starts = threading.Thread(target=lambda: cancelled.wait(60) and refs.append(late.run_no_wait(None)))
    starts.start()
    first = asyncio.run(main())
    starts.join()
    assert refs[0].result(timeout=60) == "elsewhere"
    assert first.result(timeout=60) == 2
