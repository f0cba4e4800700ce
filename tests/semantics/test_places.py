"""Where runs execute: loops that stop, threads and processes of tasks, several objects in one process."""

from __future__ import annotations

import asyncio
import contextvars
import faulthandler
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

import pytest

from fanwood import Context, Fanwood, TaskRunError, with_context
from tests.conftest import MakeApp


def test_what_is_closed_is_opened_again_by_its_next_use(app: Fanwood) -> None:
    @app.task
    async def task(n: int) -> int:
        return n

    async def request(n: int) -> int:
        async with app:
            return await task.aio_run(n)

    assert [asyncio.run(request(n)) for n in range(3)] == [0, 1, 2]
    assert len(app.runs.list()) == 3


def test_the_context_of_the_first_call_is_not_that_of_all_runs(app: Fanwood) -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")

    @app.task
    def sync_task() -> str:
        return who.get()

    @app.task
    async def async_task() -> str:
        return who.get()

    who.set("the first request")
    assert [sync_task.run(), async_task.run()] == ["nobody", "nobody"]


# --- threads ---------------------------------------------------------------------------------------------------------


def test_threads_of_a_task_keep_its_place_or_are_refused(app: Fanwood) -> None:
    @app.task
    def child(n: int) -> int:
        return n

    ways: dict[str, Callable[[ThreadPoolExecutor], list[int]]] = {
        "lost": lambda pool: list(pool.map(child.run, range(3))),
        "with_context": lambda pool: list(pool.map(with_context(child.run), range(3))),
        "detached": lambda pool: [pool.submit(child.run, n, detached=True).result() for n in range(3)],
        "to_thread": lambda _: asyncio.run(asyncio.to_thread(lambda: [child.run(n) for n in range(3)])),
    }

    @app.task
    def parent(way: str) -> list[int]:
        with ThreadPoolExecutor(2) as pool:
            return ways[way](pool)

    with pytest.raises(TaskRunError, match=r"child is started on a thread that parent \(run .*with_context"):
        parent.run("lost")
    for way, children in [("with_context", 3), ("detached", 0), ("to_thread", 3)]:
        ref = parent.run_no_wait(way)
        assert ref.result(timeout=60) == [0, 1, 2]
        assert len(app.runs.children(ref.id)) == children, way
    with ThreadPoolExecutor(1) as pool:  # that of a script is no task's
        assert pool.submit(child.run, 5).result() == 5


def test_a_thread_that_a_task_was_the_first_to_need_is_its_loops(app: Fanwood) -> None:
    @app.task
    def child(n: int) -> int:
        return n

    @app.task
    async def parent(n: int) -> int:
        return await asyncio.to_thread(child.run, n)

    async def main() -> list[int]:
        return [await parent.aio_run(1), await asyncio.to_thread(child.run, 2)]

    assert asyncio.run(main()) == [1, 2]
    assert sorted(run.task_name for run in app.runs.list()) == ["child", "parent"]


def test_the_waits_of_a_loop_in_a_sync_task_are_one_thread(make_app: MakeApp) -> None:
    app = make_app(waiting_threads=1)
    all_wait = threading.Event()

    @app.task
    async def child(n: int) -> int:
        await asyncio.to_thread(all_wait.wait, 60)
        return n

    @app.task
    def parent(n: int) -> int:
        async def together() -> int:
            waits = [asyncio.ensure_future(child.aio_run(i)) for i in range(n)]
            await asyncio.sleep(0)
            all_wait.set()
            return sum(await asyncio.gather(*waits))

        return asyncio.run(together())

    assert parent.run(20) == 190


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_is_forked_at_any_moment_works(app: Fanwood) -> None:
    """The engine is busy: at any moment it may be within SQLite, whose locks the new process would have for ever."""
    over = threading.Event()
    logging.disable(logging.CRITICAL)  # a stream that is being written to is locked as well

    @app.task
    async def task(n: int) -> int:
        return n

    def keep_busy() -> None:
        while not over.is_set():
            task.run_many([task.create_bulk_run_item(n) for n in range(50)])

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                try:  # whatever comes of it, it is not to go on with the tests
                    faulthandler.dump_traceback_later(100, exit=True)
                    os._exit(0 if task.run(7, timeout=60) == 7 else 1)
                finally:
                    os._exit(2)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        over.set()
        busy.join()
        logging.disable(logging.NOTSET)
    assert task.run(8) == 8


def test_a_root_of_a_process_that_a_task_forked_is_said(app: Fanwood) -> None:
    @app.task
    def task(n: int) -> int:
        return n

    @app.task
    def forking() -> str:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            lines: list[str] = []
            handler = logging.Handler()
            handler.emit = lambda record: lines.append(record.getMessage())
            logging.getLogger("fanwood").addHandler(handler)
            task.run(1, timeout=60)
            os.write(write, "".join(lines).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        return os.read(read, 10_000).decode()

    assert "task is started in process" in forking.run()


# --- who waits for whom ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("above", range(5))
def test_a_run_that_waits_for_what_waits_for_it_is_told_at_once(app: Fanwood, above: int) -> None:
    @app.task
    async def down(ids: list[str], ctx: Context) -> int:
        ids = [*ids, ctx.task_run_id]
        if len(ids) == 5:
            return await app.runs.aio_get_result(ids[above])
        return await down.aio_run(ids)

    with pytest.raises(TaskRunError, match="itself" if above == 4 else "an ancestor of it"):
        down.run([], timeout=60)


def test_a_run_may_wait_for_what_is_older_and_no_ancestor(app: Fanwood) -> None:
    @app.task
    async def leaf(n: int) -> int:
        return n

    @app.task
    async def deep(ids: list[str]) -> int:
        if len(ids) == 5:
            return sum([await app.runs.aio_get_result(id_) for id_ in ids])
        return await deep.aio_run([*ids, (await leaf.aio_run_no_wait(1)).id])

    assert deep.run([leaf.run_no_wait(1).id], timeout=60) == 5


class Old(TypedDict):
    n: int


class New(TypedDict):
    number: int


def test_a_stored_input_that_no_longer_fits_names_task_and_field(make_app: MakeApp) -> None:
    old, new = make_app(local_worker=False), make_app()

    @old.task(name="pay")
    def pay_old(amount: Old) -> None: ...

    @new.task(name="pay")
    def pay_new(amount: New) -> int:
        return amount["number"]

    ref = pay_old.run_no_wait({"n": 7})
    assert pay_new.run({"number": 7}) == 7
    with pytest.raises(TaskRunError, match=r"the input of pay, stored by .*other code.*: 1 problem number:"):
        new.runs.get_result(ref.id, timeout=60)
