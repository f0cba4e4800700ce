"""Runs of a user's module, wherever its database is, on a time that passes by itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from fanwood import Context, Fanwood, RunState, TaskRunTimedOut, UsageError, WaitTimeoutError
from fanwood.errors import EngineClosedError, StoreError
from fanwood.model.records import Around
from fanwood.store.memory.store import MemoryStore
from fanwood.testing import StuckError, TestApp, drain, on_memory, travel, tree
from fanwood.testing.world import World
from tests.testing import shop

MONTH = timedelta(days=30)


def test_that_a_module_s_tasks_run_in_memory_and_pauses_of_a_month_pass_at_once(fanwood_app: TestApp):
    begin = fanwood_app.now()
    assert shop.charge.run(7) == 70
    assert fanwood_app.now() - begin >= 2 * timedelta(days=15)  # (jitter may take half of a pause)
    assert tree() == "charge(7) COMPLETED after 2 retries -> 70"


def test_that_a_sleep_of_a_month_passes_at_once_in_both_colours(fanwood_app: TestApp):
    begin = fanwood_app.now()
    assert shop.remind.run(1) == "order 1: please pay"
    assert MONTH <= fanwood_app.now() - begin < MONTH + timedelta(seconds=1)
    assert shop.ship.run(1) == "box 1, sent"
    assert fanwood_app.now() - begin >= MONTH + timedelta(days=1)


async def test_the_same_in_an_async_test(fanwood_app: TestApp):
    begin = fanwood_app.now()
    assert await asyncio.gather(shop.remind.aio_run(1), shop.ship.aio_run(2)) == ["order 1: please pay", "box 2, sent"]
    assert MONTH <= fanwood_app.now() - begin < MONTH + timedelta(seconds=1)
    await asyncio.sleep(3600)  # of the test itself
    assert fanwood_app.now() - begin >= MONTH + timedelta(hours=1)


def test_that_nothing_happens_while_nobody_waits_and_travel_goes_there(fanwood_app: TestApp):
    begin = fanwood_app.now()
    ref = shop.remind.run_no_wait(3)
    drain()
    assert ref.status() is RunState.RUNNING
    travel(days=29)
    assert (ref.status(), fanwood_app.now() - begin) == (RunState.RUNNING, timedelta(days=29))
    travel(begin + MONTH)
    assert (ref.status(), fanwood_app.now() - begin) == (RunState.COMPLETED, MONTH)
    travel("1h30m")
    travel(timedelta(hours=1))
    fanwood_app.travel(1800)
    assert fanwood_app.now() - begin == MONTH + timedelta(hours=3)


async def test_travel_and_drain_in_an_async_test(fanwood_app: TestApp):
    ref = await shop.remind.aio_run_no_wait(3)
    drain()
    assert await ref.aio_status() is RunState.RUNNING
    travel(MONTH)
    assert await ref.aio_status() is RunState.COMPLETED


async def test_that_a_wait_s_time_out_is_on_the_same_time(fanwood_app: TestApp):
    ref = await shop.remind.aio_run_no_wait(3)
    with pytest.raises(WaitTimeoutError):
        await ref.aio_result(timeout="1d")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(86_400):
            await ref
    assert await ref == "order 3: please pay"


def test_the_same_of_a_thread_that_waits(fanwood_app: TestApp):
    ref = shop.remind.run_no_wait(3)
    with pytest.raises(WaitTimeoutError):
        ref.result(timeout=86_400)
    assert ref.result(timeout="31d") == "order 3: please pay"


@pytest.mark.parametrize("is_async", [False, True])
def test_that_a_limit_ends_a_task(fanwood_app: TestApp, is_async: bool):
    if is_async:

        @fanwood_app.task(execution_timeout="1h")
        async def long(n: int) -> int:
            await asyncio.sleep(n)
            return n
    else:

        @fanwood_app.task(execution_timeout="1h")
        def long(n: int) -> int:
            child.run(n)
            return n

        @fanwood_app.task
        def child(n: int) -> int:
            time.sleep(n)
            return n

    with pytest.raises(TaskRunTimedOut):
        long.run(7200)
    assert long.run(1800) == 1800


def test_cancelling_a_tree(fanwood_app: TestApp):
    ref = shop.handle.run_no_wait(1)
    drain()
    assert tree(ref) == "handle(1) RUNNING\n    charge(1) WAITING after a retry ConnectionError: try later"
    ref.cancel()
    assert tree() == (
        "handle(1) CANCELLED by request\n"
        "    charge(1) CANCELLED after a retry its ancestor <id> was cancelled: by request"
    )


def test_a_workflow_with_steps_of_both_colours(fanwood_app: TestApp):
    flow = fanwood_app.workflow(name="flow", input_validator=dict[str, int])

    @flow.task
    def first(input: dict[str, int], ctx: Context) -> int:
        time.sleep(60)
        return input["n"]

    @flow.task(parents=[first])
    async def second(input: dict[str, int], ctx: Context) -> int:
        await asyncio.sleep(60)
        return ctx.task_output(first) + 1

    assert flow.run({"n": 1}) == {"first": 1, "second": 2}
    assert '    flow:second({"n":1}) [second] COMPLETED -> 2' in tree().splitlines()


def test_what_a_lifespan_would_be(fanwood_app: TestApp):
    fanwood_app.lifespan = {"rate": 3}

    @fanwood_app.task
    def rated(n: int, ctx: Context) -> int:
        return n * ctx.lifespan["rate"]

    assert rated.run(2) == 6


# --- objects, and where they are -----------------------------------------------------------------------------------


def test_that_a_closed_object_is_opened_again_on_what_there_was(fanwood_app: TestApp):
    ref = shop.remind.run_no_wait(1)
    drain()
    shop.app.close()
    shop.app.close()
    assert ref.status() is RunState.QUEUED
    assert ref.result() == "order 1: please pay"
    with shop.app:
        assert shop.double.run(1) == 2
    assert len(shop.app.runs.list()) == 2


async def test_that_closing_is_awaited(fanwood_app: TestApp):
    assert await shop.double.aio_run(1) == 2
    await shop.app.aio_close()
    await fanwood_app.aio_close()
    assert await shop.double.aio_run(1) == 2


def test_that_time_stands_still_where_nobody_is_left_who_would_look():
    with World().there() as world:  # whose processes have all closed what they had, and who waits for something else
        while world.turn():
            pass
        now = world.time.now
        assert [world.pass_time(None) for _ in range(3)] == [False] * 3
        assert world.time.now == now


def test_that_two_objects_of_one_database_share_it_and_others_do_not(fanwood_app: TestApp):
    first, second = Fanwood("sqlite:////nowhere/one.db"), Fanwood("sqlite:////nowhere/one.db")
    other = Fanwood("sqlite:////nowhere/other.db")

    @first.task
    async def child(n: int) -> int:
        return n + 1

    @second.task
    async def parent(n: int) -> int:
        return await child.aio_run(n)

    @other.task
    async def stranger(n: int) -> int:
        return await child.aio_run(n)

    assert parent.run(1) == 2
    assert (len(first.runs.list()), len(other.runs.list())) == (1, 0)
    with pytest.raises(Exception, match="can't be a child of stranger"):
        stranger.run(1)


def test_that_afterwards_everything_is_as_it_was(tmp_path):
    url = f"sqlite:///{tmp_path}/real.db"
    with Fanwood(url, local_worker=True) as app:

        @app.task
        def twice(n: int) -> int:
            return n * 2

        assert twice.run(1) == 2  # in reality; its engine lives on meanwhile
        clock, ids, sleep = app.clock, app.ids, time.sleep
        with on_memory() as inside:
            assert app.runs.list() == []
            assert twice.run(2) == 4
            with on_memory():
                assert app.runs.list() == []
            assert len(app.runs.list()) == 1
        assert (app.clock, app.ids, time.sleep) == (clock, ids, sleep)
        assert [run.input for run in app.runs.list(limit=5)] == [None]
        assert twice.run(3) == 6
        assert len(app.runs.list()) == 2
        with pytest.raises(EngineClosedError, match="This test is over"):
            inside.runs.list()
    with pytest.raises(UsageError, match="in a test only"):
        drain()
    with pytest.raises(StoreError):
        shop.app.runs.list()  # its database is where it was: nowhere


async def test_that_a_loop_of_others_is_as_it_was_afterwards():
    loop = asyncio.get_running_loop()
    before = vars(loop).copy()
    with on_memory():
        assert await shop.double.aio_run(1) == 2
    after = vars(loop)
    assert {name for name in before.keys() | after if before.get(name) is not after.get(name)} <= {
        "_ready",
        "_timer_cancelled_count",
    }


async def test_that_a_loop_that_can_not_be_on_virtual_time_is_refused(fanwood_app: TestApp):
    uvloop = pytest.importorskip("uvloop")

    async def run():
        with pytest.raises(UsageError, match="asyncio's own"):
            await shop.double.aio_run(1)

    await asyncio.to_thread(lambda: uvloop.run(run()))


# --- what never ends -----------------------------------------------------------------------------------------------


@pytest.fixture
def impatient():
    with on_memory(patience=0.1) as app:
        yield app


def test_that_a_wait_without_an_end_is_told(impatient: TestApp):
    @impatient.task
    async def hangs(n: int) -> int:
        return await asyncio.get_running_loop().create_future()

    with pytest.raises(
        StuckError, match=r"(?s)waits for hangs, and nothing is left.*hangs\(1\) is RUNNING, at .*test_time"
    ):
        hangs.run(1)


async def test_the_same_in_an_async_test_of_two_that_wait_for_each_other(impatient: TestApp):
    event = asyncio.Event()

    @impatient.task
    async def hangs(n: int) -> int:
        await event.wait()
        return n

    with pytest.raises(StuckError, match="nothing is left that could end it"):
        await hangs.aio_run(1)


@pytest.mark.parametrize("pause", [0, 3600])
@pytest.mark.parametrize("in_async_test", [False, True])
def test_that_a_flow_that_goes_on_for_ever_is_stopped(impatient: TestApp, pause: int, in_async_test: bool):
    @impatient.task
    async def rolls(n: int) -> int:
        while True:
            await asyncio.sleep(pause)

    with pytest.raises(StuckError, match=r"(?s)waits for rolls.*rolls\(1\) is RUNNING"):
        asyncio.run(rolls.aio_run(1)) if in_async_test else rolls.run(1)


def test_that_a_real_wait_is_told_with_its_place(impatient: TestApp):
    never = threading.Event()

    @impatient.task
    def blocks(n: int) -> int:
        never.wait(60)
        return n

    with pytest.raises(StuckError, match=r"(?s)something real for 0\.1 s.*never\.wait"):
        blocks.run(1)
    never.set()


def test_that_time_stands_still_for_what_is_real(fanwood_app: TestApp):
    """A thread, and a socket, each within a time-out that is short in virtual time."""

    @fanwood_app.task
    async def reads(n: int) -> list[str]:
        ready = threading.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        async with asyncio.timeout(60):
            threading.Timer(0.05, ready.set).start()
            assert await asyncio.to_thread(ready.wait, 20)
            async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"hello\n")
                line = await reader.readline()
                writer.close()
                await writer.wait_closed()
        return [line.decode()]

    begin = fanwood_app.now()
    assert reads.run(1) == ["hello\n"]
    assert fanwood_app.now() - begin < timedelta(seconds=60)


def test_that_a_thread_of_a_task_may_run_children(fanwood_app: TestApp):
    @fanwood_app.task
    async def parent(n: int) -> int:
        return await asyncio.to_thread(lambda: child.run(n))

    @fanwood_app.task
    async def child(n: int) -> int:
        await asyncio.sleep(3600)
        return n + 1

    assert parent.run(1) == 2


def test_that_a_sync_task_may_run_a_loop_of_its_own(fanwood_app: TestApp):
    @fanwood_app.task
    def parent(n: int) -> int:
        async def both() -> int:
            await asyncio.sleep(86_400)
            one = await child.aio_run(n)
            assert await asyncio.to_thread(lambda: 1) == 1
            async with asyncio.timeout(7200):
                return one + await child.aio_run(n)

        return asyncio.run(both())

    @fanwood_app.task
    async def child(n: int) -> int:
        await asyncio.sleep(3600)
        return n + 1

    begin = fanwood_app.now()
    assert parent.run(1) == 4
    assert timedelta(hours=26) <= fanwood_app.now() - begin < timedelta(hours=26, seconds=1)


def test_a_loop_that_a_test_runs_in_a_thread_of_its_own(fanwood_app: TestApp):
    """As the test clients of web frameworks do."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: asyncio.run(_twice(shop.remind.aio_run)))
        assert answer.result(60) == ["order 1: please pay", "order 1: please pay"]
        assert pool.submit(shop.remind.run, 2).result(60) == "order 2: please pay"


async def _twice(run: Callable[[int], Awaitable[str]]) -> list[str]:
    return [await run(1), await run(1)]


def test_an_object_that_has_no_worker_of_its_own(fanwood_app: TestApp):
    app = Fanwood("sqlite:////dev/null/y.db", local_worker=False)

    @app.task
    def one(n: int) -> int:
        return n + 1

    assert one.run(1) == 2


async def test_that_a_worker_is_there_already(fanwood_app: TestApp):
    with pytest.raises(UsageError, match="there is a worker already"):
        await shop.app.worker().aio_start()


def test_what_is_refused(fanwood_app: TestApp):
    @fanwood_app.task
    async def travels(n: int) -> int:
        travel(n)
        return n

    @fanwood_app.task
    def drains(n: int) -> int:
        drain()
        return n

    for task in (travels, drains):
        with pytest.raises(Exception, match="called by a test, and not by code of a task"):
            task.run(1)
    for wrong in (datetime(2001, 1, 1, tzinfo=UTC), -1, "soon", None):
        with pytest.raises(UsageError, match="travel"):
            travel(wrong)
    with pytest.raises(UsageError, match="there is no run"):
        tree("01900000-0000-7000-8000-000000000000")


def test_that_a_year_of_short_pauses_takes_no_time(fanwood_app: TestApp, monkeypatch: pytest.MonkeyPatch):
    """What engines do again and again is left out where it changes nothing."""
    asked: list[int] = []
    real = MemoryStore.look_around

    async def counted(store: MemoryStore, worker_id: int, host: str) -> Around:
        asked.append(worker_id)
        return await real(store, worker_id, host)

    monkeypatch.setattr(MemoryStore, "look_around", counted)

    @fanwood_app.task
    async def polls(n: int) -> int:
        for _ in range(n):
            await asyncio.sleep(7 * 86_400)
        return n

    begin = fanwood_app.now()
    assert polls.run(52) == 52
    assert (fanwood_app.now() - begin).days == 52 * 7
    assert len(asked) < 10
